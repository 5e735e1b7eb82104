import { withHop } from './hops.ts'

const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const tracestatePattern = /^[\x20-\x7e]{1,512}$/

/**
 * W3C trace context for the request itself: that of the event, with one hop more in `tracestate`. (The attributes of a
 * CloudEvent stay as they are: they tell where the event came from.)
 */
export function traceHeaders(headers: Readonly<Record<string, string>>): readonly string[] {
  const { traceparent } = headers
  if (traceparent === undefined || !traceparentPattern.test(traceparent)) return []
  return ['traceparent', traceparent, 'tracestate', withHop(headers['tracestate'])]
}

/** W3C trace context among the headers of an event; what breaks its form is left out, as the standard asks. */
export function traceContext(
  headers: Readonly<Record<string, string>>,
): readonly (readonly ['traceparent' | 'tracestate', string])[] {
  const { traceparent, tracestate } = headers
  if (traceparent === undefined || !traceparentPattern.test(traceparent)) return []
  if (tracestate === undefined || !tracestatePattern.test(tracestate.trim())) return [['traceparent', traceparent]]
  return [
    ['traceparent', traceparent],
    ['tracestate', tracestate.trim()],
  ]
}
