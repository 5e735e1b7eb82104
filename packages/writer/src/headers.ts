import { headerNamePattern, limits } from '@postrider/schema'
import { type Place, refuse } from './refuse.ts'

/** Header name → value; names in any case, stored in lower case. A header that is undefined counts as absent. */
export type EventHeaders = Readonly<Record<string, string | undefined>>

const valuePattern = /^[\t\x20-\x7e]*$/
/** Names that sinks write themselves. */
const reserved = /^(?:webhook-|ce-|postrider-)/

/** W3C Trace Context, section 3.2: version-traceid-parentid-flags; versions after 00 may add fields. */
const traceparent = /^(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/
/** W3C Trace Context, section 3.3: up to 32 members `key=value`, the key plain or `tenant@system`. */
const tracestateMember =
  /^(?:[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/
const tracestateMembers = 32

/** The headers as a JSON object, or undefined when there are none. */
export function encodeHeaders(headers: EventHeaders, place: Place): string | undefined {
  // Those of fetch, a Map, an array: none has its headers as members, so they would be lost without a word.
  if (typeof headers !== 'object' || headers === null || Symbol.iterator in headers) {
    return refuse('invalid_event', place, 'headers is not a plain object', { path: 'headers' })
  }
  const stored = new Map<string, string>()
  for (const [given, value] of Object.entries(headers)) {
    if (value === undefined) continue
    const name = given.toLowerCase()
    const path = `headers.${given}`
    checkLength(`the name of ${path}`, name.length, limits.headerNameLength, path, place)
    const fault = stored.has(name) ? 'is given twice, in different cases' : faultOf(name, value)
    if (fault !== undefined) return refuse('invalid_event', place, `${path} ${fault}`, { path })
    checkLength(path, value.length, limits.headerValueLength, path, place)
    stored.set(name, value)
  }
  if (stored.size > limits.headers) {
    const details = { path: 'headers', limit: limits.headers, actual: stored.size }
    return refuse('invalid_event', place, `there are ${stored.size} headers, the limit is ${limits.headers}`, details)
  }
  return stored.size === 0 ? undefined : JSON.stringify(Object.fromEntries(stored))
}

function checkLength(what: string, actual: number, limit: number, path: string, place: Place): void {
  if (actual <= limit) return
  refuse('invalid_event', place, `${what} has ${actual} characters, the limit is ${limit}`, { path, limit, actual })
}

function faultOf(name: string, value: unknown): string | undefined {
  if (!headerNamePattern.test(name)) return 'is not a header name (RFC 9110 section 5.6.2)'
  if (reserved.test(name)) return 'is reserved: webhook-, ce- and postrider- are written by the sinks'
  if (typeof value !== 'string') return `is a ${typeof value}, not a string`
  if (!valuePattern.test(value)) return 'has a value with characters other than visible ASCII, space and tab'
  if (name === 'traceparent' && !isTraceparent(value)) return `is not a trace parent as W3C Trace Context writes it: "${value}"`
  if (name === 'tracestate' && !isTracestate(value)) return `is not a trace state as W3C Trace Context writes it: "${value}"`
  return undefined
}

function isTraceparent(value: string): boolean {
  const parts = traceparent.exec(value)
  return parts !== null && (parts[1] !== '00' || parts[2] === undefined)
}

function isTracestate(value: string): boolean {
  // Empty members are allowed, and so is white space around each.
  const members = value
    .split(',')
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''))
    .filter((member) => member !== '')
  return members.length <= tracestateMembers && members.every((member) => tracestateMember.test(member))
}
