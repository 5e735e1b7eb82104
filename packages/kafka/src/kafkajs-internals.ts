import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { PostriderError } from '@postrider/schema'

/**
 * The parts of kafkajs that are used: connections, encoders and decoders. Its `Producer` is not: by its answers per broker, its
 * target topics and its sequences it can lose records or stand still. These parts have no promise of stability, so exactly one
 * version is accepted.
 */
export const kafkajsVersion = '2.2.4'

export interface Protocol {
  readonly request: object
  readonly response: { decode(raw: unknown): Promise<unknown>; parse(data: unknown): Promise<unknown> }
}

export interface Definition {
  readonly versions: readonly string[]
}

export interface RequestQueue {
  pending: unknown[]
  throttledUntil: number
  throttleCheckTimeoutId: unknown
  scheduleCheckPendingRequests(): void
}

export interface Connection {
  readonly requestQueue: RequestQueue
  socket?: Socket
  isConnected(): boolean
}

export interface ConnectionPool {
  readonly pool: readonly Connection[]
  send(protocol: Protocol): Promise<unknown>
}

export interface Broker {
  readonly versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number }>>
  lookupRequest(apiKey: number, definition: Definition): (options: object) => Protocol
  connect(): Promise<void>
  isConnected(): boolean
}

export interface KafkajsEncoder {
  writeArray(values: readonly unknown[]): KafkajsEncoder
  writeBoolean(value: boolean): KafkajsEncoder
  writeString(value: string | null): KafkajsEncoder
  writeInt16(value: number): KafkajsEncoder
  writeInt32(value: number): KafkajsEncoder
  writeBuffer(bytes: Buffer): KafkajsEncoder
}

export interface Internals {
  readonly Broker: new (options: object) => Broker
  readonly ConnectionPool: new (options: object) => ConnectionPool
  readonly Encoder: new () => KafkajsEncoder
  readonly crc32C: (bytes: Buffer) => number
  readonly apiKeys: Readonly<Record<string, number>>
  readonly requests: Readonly<Record<string, Definition>>
  readonly createLogger: (options: object) => object
  readonly compression: {
    readonly Types: Readonly<Record<'None' | 'GZIP' | 'ZSTD', number>>
    readonly Codecs: Record<number, () => object>
  }
}

/** Throws `client_missing` for any other version than the known one. */
export function loadKafkajs(): Internals {
  const require = createRequire(import.meta.url)
  let version: string
  try {
    version = (require('kafkajs/package.json') as { version: string }).version
  } catch (cause) {
    throw new PostriderError('client_missing', `kafkajs ${kafkajsVersion} is not installed`, {}, { cause })
  }
  if (version !== kafkajsVersion)
    throw new PostriderError('client_missing', `kafkajs is ${version}; this needs ${kafkajsVersion} exactly`)
  const { requests } = require('kafkajs/src/protocol/requests') as Pick<Internals, 'requests'>
  const { createLogger } = require('kafkajs/src/loggers') as Pick<Internals, 'createLogger'>
  return {
    Broker: require('kafkajs/src/broker') as Internals['Broker'],
    ConnectionPool: require('kafkajs/src/network/connectionPool') as Internals['ConnectionPool'],
    Encoder: require('kafkajs/src/protocol/encoder') as Internals['Encoder'],
    crc32C: require('kafkajs/src/protocol/recordBatch/crc32C') as Internals['crc32C'],
    apiKeys: require('kafkajs/src/protocol/requests/apiKeys') as Internals['apiKeys'],
    requests,
    createLogger,
    compression: require('kafkajs/src/protocol/message/compression') as Internals['compression'],
  }
}
