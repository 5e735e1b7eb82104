import { PostriderError } from '@postrider/schema'
import type { ReceivedHeaders } from './headers.ts'

/** An event as a handler sees it: the same by whatever transport it came. */
export interface ReceivedEvent {
  readonly transport: 'webhook' | 'kafka'
  /** The same on every attempt and by every transport, for ever; what {@link once} remembers. */
  readonly id: string
  readonly type: string
  /** Which service it comes from; null when the sender does not say. */
  readonly source: string | null
  readonly subject: string | null
  /** Ordering key: events of one key are sent in the order of their inserts. */
  readonly key: string | null
  readonly tenant: string | null
  /** When it happened, ISO 8601; null when the sender does not say. */
  readonly time: string | null
  /** Media type of {@link bytes}. */
  readonly contentType: string
  /**
   * The payload. JSON is parsed at the first look; integers above 2^53 lose digits there, so read those from {@link bytes}.
   * Of another media type it is {@link bytes}, and null when there is none.
   *
   * @throws PostriderError `malformed_event` for JSON that is none
   */
  readonly data: unknown
  /** The payload as it stands in the log; null when there is none. */
  readonly bytes: Uint8Array | null
  /** Of the request or record; names in lower case. */
  readonly headers: ReceivedHeaders
  /** Place in the log of the sender: grows in the order of inserts, with gaps. Null when the sender does not say. */
  readonly position: bigint | null
  /** From 1; null when the sender does not say. */
  readonly attempt: number | null
  /** There when an operator sends the event once more. */
  readonly replay: ReplayMark | null
  /** Where it stands in Kafka; null for a webhook. */
  readonly record: RecordPlace | null
}

/** An operator sends the event once more. */
export interface ReplayMark {
  /** Number of the operation. */
  readonly operation: string
  /** The id that it has in the log, when it was sent `--as-new`; else null. */
  readonly originalId: string | null
}

export interface RecordPlace {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** What an event is made of. */
export type EventParts = Omit<ReceivedEvent, 'data'>

const idPattern = /^[\x21-\x7e]{1,255}$/
const typePattern = /^[\x21-\x7e]{1,255}$/
const jsonPattern = /^[^;]*[/+]json\s*(?:;|$)/i

/**
 * The event of these parts.
 *
 * @throws PostriderError `malformed_event` for an id or a type that cannot be one
 */
export function eventOf(parts: EventParts): ReceivedEvent {
  if (!idPattern.test(parts.id)) throw malformed('its id is not 1 to 255 characters of visible ASCII')
  if (!typePattern.test(parts.type)) throw malformed('its type is not 1 to 255 characters of visible ASCII')
  return new Received(parts)
}

class Received implements ReceivedEvent {
  readonly transport: ReceivedEvent['transport']
  readonly id: string
  readonly type: string
  readonly source: string | null
  readonly subject: string | null
  readonly key: string | null
  readonly tenant: string | null
  readonly time: string | null
  readonly contentType: string
  readonly bytes: Uint8Array | null
  readonly headers: ReceivedHeaders
  readonly position: bigint | null
  readonly attempt: number | null
  readonly replay: ReplayMark | null
  readonly record: RecordPlace | null
  #data: { readonly value: unknown } | undefined

  constructor(parts: EventParts) {
    this.transport = parts.transport
    this.id = parts.id
    this.type = parts.type
    this.source = parts.source
    this.subject = parts.subject
    this.key = parts.key
    this.tenant = parts.tenant
    this.time = parts.time
    this.contentType = parts.contentType
    this.bytes = parts.bytes
    this.headers = parts.headers
    this.position = parts.position
    this.attempt = parts.attempt
    this.replay = parts.replay
    this.record = parts.record
  }

  get data(): unknown {
    this.#data ??= { value: parsePayload(this.bytes, this.contentType) }
    return this.#data.value
  }
}

function parsePayload(bytes: Uint8Array | null, contentType: string): unknown {
  if (bytes === null || !jsonPattern.test(contentType)) return bytes
  return parseJson(bytes, 'the payload')
}

/** @throws PostriderError `malformed_event` */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(utf8.decode(bytes)) as unknown
  } catch (cause) {
    // The parser's own message quotes the payload, which may be anybody's secret.
    throw malformed(`${what} is not JSON in UTF-8`, { cause })
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function malformed(problem: string, options?: ErrorOptions): PostriderError {
  return new PostriderError('malformed_event', problem, {}, options)
}

/** Of a replay as the sinks mark it. */
export function replayOf(headers: ReceivedHeaders): ReplayMark | null {
  const operation = headers['postrider-replay']
  return operation === undefined ? null : { operation, originalId: headers['postrider-original-id'] ?? null }
}

/** A position as the sinks write it, padded or not. */
export function positionOf(text: string | undefined): bigint | null {
  return text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : null
}
