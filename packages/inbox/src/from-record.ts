import { eventOf, malformed, positionOf, replayOf, type ReceivedEvent } from './event.ts'
import type { ReceivedHeaders } from './headers.ts'
import { readStructured, type Attributes } from './read-envelope.ts'
import { attemptOf } from './verify.ts'

type Bytes = string | Uint8Array

/** A record, whatever client has read it: kafkajs, @platformatic/kafka, @confluentinc/kafka-javascript, … */
export interface KafkaRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: string | number | bigint
  readonly key?: Bytes | null
  /** null: a tombstone. */
  readonly value?: Bytes | null
  /** Names with values, or pairs. Of several values of a name the last counts. */
  readonly headers?: RecordHeaders | undefined
  /** Milliseconds since the epoch. */
  readonly timestamp?: string | number | bigint
}

export type RecordHeaders =
  | Readonly<Record<string, Bytes | readonly Bytes[] | undefined>>
  | Iterable<readonly [name: Bytes, value: Bytes]>

/**
 * The event of a record: CloudEvents 1.0 in binary mode (`ce_id` and the others) or structured mode, or as Debezium's outbox
 * router writes it (`id`, and `eventType` or `type`).
 *
 * @throws PostriderError `malformed_event`
 */
export function eventFromRecord(record: KafkaRecord): ReceivedEvent {
  const headers = readRecordHeaders(record.headers ?? {})
  const value = record.value === undefined || record.value === null ? null : bytesOf(record.value)
  const attributes = attributesOf(record, headers, value)
  const { id, type, source, subject, tenant, contentType, bytes } = attributes
  if (id === null) throw malformed('the record has no ce_id, and no id as Debezium writes it')
  if (type === null) throw malformed('the record has no ce_type, and no eventType: let Debezium place it (type:header:eventType)')
  return eventOf({
    transport: 'kafka',
    id,
    type,
    source,
    subject,
    key: attributes.key ?? textOf(record.key),
    tenant,
    time: attributes.time ?? timeOf(record.timestamp),
    contentType,
    bytes,
    headers,
    position: positionOf(headers['postrider-position'] ?? attributes.sequence ?? undefined),
    attempt: attemptOf(headers),
    replay: replayOf(headers),
    record: { topic: record.topic, partition: record.partition, offset: offsetOf(record.offset) },
  })
}

function attributesOf(record: KafkaRecord, headers: ReceivedHeaders, value: Uint8Array | null): Attributes {
  const contentType = headers['content-type'] ?? headers['ce_datacontenttype'] ?? 'application/json'
  const read = (name: string): string | null => headers[name] ?? null
  if (value !== null && contentType.toLowerCase().startsWith('application/cloudevents')) return readStructured(value)
  if (headers['ce_id'] !== undefined) {
    if (headers['ce_specversion'] !== '1.0') throw malformed('ce_specversion is not 1.0')
    return {
      id: read('ce_id'),
      type: read('ce_type'),
      source: read('ce_source'),
      subject: read('ce_subject'),
      key: read('ce_partitionkey'),
      tenant: read('ce_tenant'),
      time: read('ce_time'),
      sequence: read('ce_sequence'),
      contentType,
      bytes: value,
    }
  }
  return {
    id: unquote(read('id')),
    type: unquote(read('eventtype') ?? read('type')),
    source: null,
    subject: null,
    key: textOf(record.key),
    tenant: null,
    time: null,
    sequence: null,
    contentType,
    bytes: value,
  }
}

/** Debezium's header converter for JSON writes a text with its quotes. */
function unquote(value: string | null): string | null {
  return value === null ? null : value.replace(/^"(.*)"$/s, '$1')
}

/** Names in lower case, as those of requests. */
function readRecordHeaders(source: RecordHeaders): ReceivedHeaders {
  const headers = Object.create(null) as Record<string, string>
  const entries = Symbol.iterator in source ? source : Object.entries(source)
  for (const [name, given] of entries as Iterable<readonly [Bytes, Bytes | readonly Bytes[] | null | undefined]>) {
    const value = Array.isArray(given) ? (given as readonly Bytes[]).at(-1) : (given as Bytes | null | undefined)
    const text = textOf(value)
    if (text !== null) headers[(textOf(name) ?? '').toLowerCase()] = text
  }
  return headers
}

function textOf(value: Bytes | null | undefined): string | null {
  if (value === null || value === undefined) return null
  return typeof value === 'string' ? value : bytesOf(value).toString('utf8')
}

function bytesOf(value: Bytes): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

function timeOf(timestamp: string | number | bigint | undefined): string | null {
  const time = new Date(Number(timestamp ?? Number.NaN))
  return Number.isNaN(time.getTime()) ? null : time.toISOString()
}

function offsetOf(offset: KafkaRecord['offset']): bigint {
  try {
    return BigInt(offset)
  } catch (cause) {
    throw malformed('the offset of the record is not a whole number', { cause })
  }
}
