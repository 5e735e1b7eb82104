import { isUint8Array } from 'node:util/types'
import { limits } from '@postrider/schema'
import { checkId, checkOptionNames, type EmitOptions, encodeOptions } from './check.ts'
import { uuidv7 } from './id.ts'
import { encodeJson } from './json.ts'
import { formatPath } from './path.ts'
import { type Place, refuse } from './refuse.ts'

/** An event that is ready to be sent. */
export interface Encoded {
  readonly id: string
  readonly type: string
  /** The object that `postrider.emit` takes, as JSON text. */
  readonly json: string
}

/** What stays the same for all events of a type. */
export interface Defaults {
  /** The writer's source as a JSON string. */
  readonly source: string
  readonly makeKey: ((data: unknown) => string | undefined) | undefined
}

/** Checks everything about an event whose data are valid, and writes it as JSON. */
export function encodeEvent(data: unknown, options: EmitOptions, defaults: Defaults, place: Place): Encoded {
  checkOptionNames(options, place)
  const id = options.id === undefined ? uuidv7() : checkId(options.id, place)
  const key = options.key === undefined ? defaults.makeKey?.(data) : options.key
  const attributes = encodeOptions(options, key, defaults.source, place)
  const payload = isUint8Array(data) ? encodeBytes(data, place) : encodePayload(data, place)
  // The type is a name of the catalogue, which holds no character to escape.
  return { id, type: place.type, json: `{"id":"${id}","type":"${place.type}"${attributes}${payload}}` }
}

function encodePayload(data: unknown, place: Place): string {
  const text = encodeJson(data, (keys, reason) => {
    const path = formatPath('payload', keys)
    return refuse('invalid_payload', place, `${path} ${reason}`, { path })
  })
  // A character is at least one byte and at most three for each unit of length, so that most texts need no counting.
  if (text.length * 3 > limits.payloadBytes) checkSize(Buffer.byteLength(text), place)
  return `,"payload":${text}`
}

function encodeBytes(data: Uint8Array, place: Place): string {
  checkSize(data.byteLength, place)
  return `,"payload_base64":"${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')}"`
}

function checkSize(actual: number, place: Place): void {
  const limit = limits.payloadBytes
  if (actual <= limit) return
  refuse('payload_too_large', place, `payload has ${actual} bytes, the limit is ${limit}`, { path: 'payload', limit, actual })
}
