/**
 * An event as it stands in the log: immutable, with the meaning of the CloudEvents 1.0 attributes.
 * The payload is never parsed on its way: `payloadText` is the JSON text as PostgreSQL prints it.
 */
export interface LogEvent {
  /** Place in the log; grows in the order of inserts. A decimal string, because it may pass 2^53. */
  readonly position: string
  /** UUID; the same on every attempt, to every sink, for ever. */
  readonly id: string
  readonly type: string
  /** Ordering key: events of one key arrive in the order of their inserts. */
  readonly key: string | null
  readonly source: string
  readonly subject: string | null
  readonly tenant: string | null
  /** When it happened, ISO 8601 in UTC with milliseconds. */
  readonly time: string
  /** Media type of the payload. */
  readonly contentType: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON payload as text, or null when the payload is binary or absent. */
  readonly payloadText: string | null
  /** Binary payload, or null. */
  readonly payloadBytes: Uint8Array | null
}

/** Limits that every producer meets, whatever its language. The same numbers stand in migrations/0002_emit.sql; a test compares them. */
export const limits = {
  /** Bytes of a payload at the edge, where a writer says no: JSON as it writes it (compact, in UTF-8), or raw bytes. */
  payloadBytes: 262_144,
  /**
   * Bytes of a payload in the database, where `postrider.emit` says no: JSON as PostgreSQL writes it, or raw bytes.
   * Twice the edge, because PostgreSQL puts a blank after each comma and colon (at most half as much again) and writes
   * numbers without exponents. So what passes a writer passes here, but for a large payload made of numbers such as 1e-300.
   */
  storedPayloadBytes: 524_288,
  /** Characters of type, key, source, subject, tenant. */
  typeLength: 128,
  keyLength: 512,
  attributeLength: 512,
  /** Headers of one event. */
  headers: 32,
  headerNameLength: 128,
  headerValueLength: 4096,
} as const

/** `order.placed`: up to ten segments of letters, digits and `_`, joined by dots. */
export const typePattern: RegExp = /^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,9}$/

/** Header names are HTTP tokens in lower case (RFC 9110 section 5.6.2). */
export const headerNamePattern: RegExp = /^[a-z0-9!#$%&'*+.^_`|~-]+$/

/** A filter on event types: segments, where `*` is any one segment and `**` (last) is one or more of the rest. */
export const typeFilterPattern: RegExp = /^(?:\*\*|(?:[A-Za-z0-9_]+|\*)(?:\.(?:[A-Za-z0-9_]+|\*))*(?:\.\*\*)?)$/
