import { PostriderError, typePattern, type LogEvent } from '@postrider/schema'
import type { Attempt } from '@postrider/relay'
import type { StreamRecord } from './records.ts'

/**
 * How an event becomes a record.
 * - `cloudevents`: CloudEvents 1.0, binary mode of the Kafka binding: attributes as `ce_` headers.
 * - `debezium`: what Debezium's outbox event router makes: headers `id` and `eventType`.
 * In both the value is the payload's bytes, unparsed, and the key is the ordering key.
 */
export type KafkaProfile = 'cloudevents' | 'debezium'

type Header = readonly [name: string, value: Buffer]

const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const tracestatePattern = /^[\x20-\x7e]{1,512}$/
const reservedNames: ReadonlySet<string> = new Set(['content-type', 'traceparent', 'tracestate', 'id', 'eventtype'])
const reservedPrefixes = ['ce_', 'postrider-'] as const
const specversion: Header = ['ce_specversion', Buffer.from('1.0')]

/** Name of the header with the event's id, for those who look for an event in a topic. */
export function idHeader(profile: KafkaProfile): 'ce_id' | 'id' {
  return profile === 'cloudevents' ? 'ce_id' : 'id'
}

/**
 * The record of an attempt. Key, value and attributes are the same on every attempt; `postrider-attempt` is not.
 * A payload that is absent becomes a tombstone. `source` stands for that of an event without one. Headers of the producer go along, but for names that are used here.
 * Throws `cannot_encode`.
 */
export function encode({ event, number, replay }: Attempt, profile: KafkaProfile, source: string): StreamRecord {
  if (!typePattern.test(event.type)) throw cannotEncode(event, 'type', 'is not words joined by dots')
  const timestampMs = Date.parse(event.time)
  if (Number.isNaN(timestampMs)) throw cannotEncode(event, 'time', 'is not a time')
  const headers = profile === 'cloudevents' ? cloudEventHeaders(event, source) : debeziumHeaders(event)
  headers.push(...traceHeaders(event.headers))
  for (const [name, value] of Object.entries(event.headers)) {
    if (!isReserved(name)) headers.push([name, Buffer.from(value)])
  }
  headers.push(['postrider-position', Buffer.from(event.position)], ['postrider-attempt', Buffer.from(String(number))])
  if (replay !== undefined) {
    headers.push(['postrider-replay', Buffer.from(replay.operation)])
    if (replay.originalId !== null) headers.push(['postrider-original-id', Buffer.from(replay.originalId)])
  }
  return { key: event.key === null ? null : Buffer.from(event.key), value: valueOf(event), headers, timestampMs }
}

function cloudEventHeaders(event: LogEvent, standard: string): Header[] {
  const source = event.source === '' ? standard : event.source
  if (source === '') throw cannotEncode(event, 'source', 'is empty; CloudEvents needs one')
  const headers: Header[] = [
    specversion,
    ['ce_id', Buffer.from(event.id)],
    ['ce_source', Buffer.from(source)],
    ['ce_type', Buffer.from(event.type)],
    ['ce_time', Buffer.from(event.time)],
  ]
  if (event.subject !== null) headers.push(['ce_subject', Buffer.from(event.subject)])
  if (event.key !== null) headers.push(['ce_partitionkey', Buffer.from(event.key)])
  // Padded to 20 digits, so that the order of strings is the order of numbers.
  headers.push(['ce_sequence', Buffer.from(event.position.padStart(20, '0'))])
  if (event.tenant !== null) headers.push(['ce_tenant', Buffer.from(event.tenant)])
  headers.push(['content-type', Buffer.from(event.contentType)])
  return headers
}

function debeziumHeaders(event: LogEvent): Header[] {
  return [
    ['id', Buffer.from(event.id)],
    ['eventType', Buffer.from(event.type)],
    ['content-type', Buffer.from(event.contentType)],
  ]
}

/** W3C trace context; what breaks its form is left out, as the standard asks. */
function traceHeaders({ traceparent, tracestate }: LogEvent['headers']): Header[] {
  if (traceparent === undefined || !traceparentPattern.test(traceparent)) return []
  const headers: Header[] = [['traceparent', Buffer.from(traceparent)]]
  if (tracestate !== undefined && tracestatePattern.test(tracestate.trim()))
    headers.push(['tracestate', Buffer.from(tracestate.trim())])
  return headers
}

function isReserved(name: string): boolean {
  const lower = name.toLowerCase()
  return reservedNames.has(lower) || reservedPrefixes.some((prefix) => lower.startsWith(prefix))
}

function valueOf({ payloadText, payloadBytes }: LogEvent): Buffer | null {
  if (payloadBytes !== null) return Buffer.from(payloadBytes.buffer, payloadBytes.byteOffset, payloadBytes.byteLength)
  return payloadText === null ? null : Buffer.from(payloadText)
}

function cannotEncode(event: LogEvent, path: string, problem: string): PostriderError {
  return new PostriderError('cannot_encode', `${path} ${problem}`, { id: event.id, type: event.type, path })
}
