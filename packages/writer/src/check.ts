import { inspect } from 'node:util'
import { isDate } from 'node:util/types'
import { limits } from '@postrider/schema'
import { encodeHeaders, type EventHeaders } from './headers.ts'
import { quote, unfit } from './json.ts'
import { type Place, refuse } from './refuse.ts'

/** What may be said of one event beside its type and its data. An option that is undefined counts as absent. */
export interface EmitOptions {
  /** Any UUID: give one to make a retried request write the same event id. Default: a new UUIDv7. */
  readonly id?: string | undefined
  /** Ordering key, 1 to 512 characters. Default: what the catalogue's `key` makes of the data, else none. */
  readonly key?: string | undefined
  /** What the event is about, within its source (CloudEvents `subject`). */
  readonly subject?: string | undefined
  readonly tenant?: string | undefined
  /** Instead of the writer's source. */
  readonly source?: string | undefined
  /** Media type of the payload. Default `application/json`, for bytes `application/octet-stream`. */
  readonly contentType?: string | undefined
  /** Up to 32, of visible ASCII; names are stored in lower case. `traceparent` and `tracestate` carry the trace (W3C). */
  readonly headers?: EventHeaders | undefined
  /** When it happened: a Date, or ISO 8601 with its zone (RFC 3339). Default: when it was written. */
  readonly time?: Date | string | undefined
  /** Not to be delivered before this time. Default: at once. */
  readonly deliverAt?: Date | string | undefined
  /** Not to be delivered after this time; what still waits then has expired, and says so. Default: never. */
  readonly expiresAt?: Date | string | undefined
  /**
   * What the order within a key follows. `insert` (default): the order of the inserts, which is the order of the commits
   * for writers that share a row lock. `commit`: also for writers that share nothing; holds a lock on the key until the
   * transaction ends, so it needs a key.
   */
  readonly order?: 'insert' | 'commit' | undefined
}

const optionNames: ReadonlySet<string> = new Set<keyof EmitOptions | 'type' | 'data'>([
  'type',
  'data',
  'id',
  'key',
  'subject',
  'tenant',
  'source',
  'contentType',
  'headers',
  'time',
  'deliverAt',
  'expiresAt',
  'order',
])

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
/** RFC 9110 section 8.3.1: type/subtype with parameters. */
const mediaType =
  /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+(?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+=(?:[\w!#$%&'*+.^`|~-]+|"[\t\x20\x21\x23-\x5b\x5d-\x7e]*"))*$/
/** RFC 3339 with the offsets that PostgreSQL takes. */
const timestamp = /^(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)$/

/** A misspelt option would silently change what the event means. */
export function checkOptionNames(options: object, place: Place): void {
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) refuse('invalid_event', place, `there is no option "${name}"`, { path: name })
  }
}

/** The id in lower case. */
export function checkId(id: string, place: Place): string {
  const lower = typeof id === 'string' ? id.toLowerCase() : ''
  if (uuid.test(lower)) return lower
  return refuse('invalid_event', place, `id is not a UUID: ${show(id)}`, { path: 'id', actual: show(id) })
}

/** The members of an event that the options make, as `,"name":value` each. `source` is the writer's, as a JSON string. */
export function encodeOptions(options: EmitOptions, key: string | undefined, source: string, place: Place): string {
  const { subject, tenant, contentType, headers, time, deliverAt, expiresAt, order } = options
  let text = `,"source":${options.source === undefined ? source : attribute('source', options.source, limits.attributeLength, place)}`
  if (key !== undefined) text += `,"key":${attribute('key', key, limits.keyLength, place)}`
  if (subject !== undefined) text += `,"subject":${attribute('subject', subject, limits.attributeLength, place)}`
  if (tenant !== undefined) text += `,"tenant":${attribute('tenant', tenant, limits.attributeLength, place)}`
  if (contentType !== undefined) text += `,"content_type":${checkMediaType(contentType, place)}`
  if (time !== undefined) text += `,"time":"${instant('time', time, place)}"`
  if (deliverAt !== undefined) text += `,"deliver_at":"${instant('deliverAt', deliverAt, place)}"`
  if (expiresAt !== undefined) text += `,"expires_at":"${instant('expiresAt', expiresAt, place)}"`
  if (order !== undefined && order !== 'insert') text += checkOrder(order, key, place)
  if (headers !== undefined) {
    const encoded = encodeHeaders(headers, place)
    if (encoded !== undefined) text += `,"headers":${encoded}`
  }
  return text
}

/** What is wrong with an attribute of text, or undefined. */
export function attributeFault(value: unknown, limit: number): string | undefined {
  if (typeof value !== 'string') return `is not a string: ${show(value)}`
  if (value === '') return 'is empty'
  // PostgreSQL counts characters; a string's length counts those beyond the basic plane twice.
  if (value.length > limit && [...value].length > limit) return `has ${[...value].length} characters, the limit is ${limit}`
  return unfit(value)
}

function attribute(path: string, value: string, limit: number, place: Place): string {
  const fault = attributeFault(value, limit)
  if (fault !== undefined) return refuse('invalid_event', place, `${path} ${fault}`, { path, limit, actual: show(value) })
  return quote(value) as string
}

function checkMediaType(value: string, place: Place): string {
  const text = attribute('contentType', value, limits.attributeLength, place)
  if (mediaType.test(value)) return text
  return refuse('invalid_event', place, `contentType is not a media type: ${show(value)}`, {
    path: 'contentType',
    actual: show(value),
  })
}

function checkOrder(order: unknown, key: string | undefined, place: Place): string {
  if (order !== 'commit')
    return refuse('invalid_event', place, `order is neither 'insert' nor 'commit': ${show(order)}`, { path: 'order' })
  if (key === undefined)
    return refuse('invalid_event', place, `order 'commit' is the order within a key, and there is no key`, { path: 'order' })
  return ',"order":"commit"'
}

function instant(path: string, value: Date | string, place: Place): string {
  const text = isDate(value) ? isoOf(value) : value
  if (typeof text === 'string' && isTimestamp(text)) return text
  const wanted = 'a valid Date or ISO 8601 with its zone, in the years 0001 to 9999'
  return refuse('invalid_event', place, `${path} is not ${wanted}: ${show(value)}`, { path, actual: show(value) })
}

function isoOf(date: Date): string {
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

function isTimestamp(text: string): boolean {
  const day = timestamp.exec(text)?.[1]
  if (day === undefined || day.startsWith('0000')) return false
  // Date takes 30 February and makes it 2 March; PostgreSQL refuses it.
  const parsed = new Date(`${day}T00:00:00Z`)
  return !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(day)
}

/** Short enough for a message, whatever it is. */
function show(value: unknown): string {
  const text = inspect(value, { depth: 0, breakLength: Infinity, maxStringLength: 80 })
  return text.length > 120 ? `${text.slice(0, 117)}...` : text
}
