/**
 * How often what led to an event has passed through webhooks: our member of the W3C trace state. Receivers that hand on the
 * trace context, as OpenTelemetry does by itself, hand it on too, so an event that goes round in a circle can be told.
 */
const member = 'postrider'
const visible = /^[\x20-\x7e]+$/
const countPattern = /^postrider=(\d{1,3})$/
/** W3C Trace Context, section 3.3: 32 members at most; and 512 characters, which every participant has to carry. */
const mostMembers = 32
const mostChars = 512

/** Hops so far; 0 where the trace state does not say. */
export function hopsOf(tracestate: string | undefined): number {
  for (const one of membersOf(tracestate)) {
    const [, count] = countPattern.exec(one) ?? []
    if (count !== undefined) return Number(count)
  }
  return 0
}

/** The trace state with one hop more; ours comes first, and what has no room goes at the end, as the standard has it. */
export function withHop(tracestate: string | undefined): string {
  const others = membersOf(tracestate).filter((one) => !one.startsWith(`${member}=`))
  let text = `${member}=${Math.min(999, hopsOf(tracestate) + 1)}`
  for (const one of others.slice(0, mostMembers - 1)) {
    if (text.length + 1 + one.length > mostChars) break
    text += `,${one}`
  }
  return text
}

function membersOf(tracestate: string | undefined): readonly string[] {
  return tracestate === undefined
    ? []
    : tracestate
        .split(',')
        .map((one) => one.trim())
        .filter((one) => visible.test(one))
}
