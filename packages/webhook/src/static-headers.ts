import { headerNamePattern } from '@postrider/schema'

/** Headers that the sink or HTTP itself sets; a second one would confuse the receiver or break the framing. */
const reservedNames: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
])
const reservedPrefixes = ['ce-', 'postrider-', 'proxy-', 'webhook-'] as const

const maxHeaders = 32
const maxValueBytes = 4096
const maxTotalBytes = 16_384
/** Visible ASCII, spaces and tabs inside: HTTP libraries disagree on everything else. */
const valuePattern = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/

/** What is wrong with the static headers of a sink. A problem names the header, never its value. */
export function headerProblems(headers: Readonly<Record<string, unknown>>): string[] {
  const problems: string[] = []
  const entries = Object.entries(headers)
  if (entries.length > maxHeaders) problems.push(`headers: at most ${maxHeaders}, not ${entries.length}`)

  const seen = new Set<string>()
  let total = 0
  for (const [name, value] of entries) {
    const lower = name.toLowerCase()
    const at = `headers.${name.slice(0, 64)}`
    if (!headerNamePattern.test(lower)) problems.push(`${at}: not a header name`)
    if (reservedNames.has(lower) || reservedPrefixes.some((prefix) => lower.startsWith(prefix)))
      problems.push(`${at}: is reserved`)
    if (seen.has(lower)) problems.push(`${at}: is there twice`)
    if (typeof value !== 'string' || !valuePattern.test(value)) problems.push(`${at}: the value must be visible ASCII`)
    else if (value.length > maxValueBytes) problems.push(`${at}: the value is over ${maxValueBytes} bytes`)
    seen.add(lower)
    total += name.length + String(value).length
  }
  if (total > maxTotalBytes) problems.push(`headers: together over ${maxTotalBytes} bytes`)
  return problems
}
