const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const day = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
const longDay = '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day'
const month = `(?<month>${months.join('|')})`
const clock = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)'

/** The three spellings of a date that RFC 9110 section 5.6.7 asks a recipient to read. */
const dateForms: readonly RegExp[] = [
  new RegExp(`^${day}, (?<day>\\d\\d) ${month} (?<year>\\d{4}) ${clock} GMT$`),
  new RegExp(`^${longDay}, (?<day>\\d\\d)-${month}-(?<year>\\d\\d) ${clock} GMT$`),
  new RegExp(`^${day} ${month} (?<day>[ \\d]\\d) ${clock} (?<year>\\d{4})$`),
]

/**
 * Milliseconds to wait, from a `Retry-After` header (RFC 9110 section 10.2.3): seconds or a date; a date that is past
 * means now. Anything else is null. Strict, because `Date.parse` takes `120.5` and `-5` for dates.
 */
export function parseRetryAfter(value: string, nowMs: number): number | null {
  const text = value.trim()
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000
  const at = parseHttpDate(text, nowMs)
  return at === null ? null : Math.max(0, at - nowMs)
}

function parseHttpDate(text: string, nowMs: number): number | null {
  for (const form of dateForms) {
    const parts = form.exec(text)?.groups
    if (parts === undefined) continue
    const year = fullYear(parts['year'] ?? '', nowMs)
    const [date, hour, minute, second] = [parts['day'], parts['hour'], parts['minute'], parts['second']].map(Number) as [
      number,
      number,
      number,
      number,
    ]
    const at = new Date(0)
    at.setUTCFullYear(year, months.indexOf(parts['month'] ?? ''), date)
    // 60 is a leap second; the others must be in their range, or Date would carry them over into the next day.
    if (at.getUTCDate() !== date || hour > 23 || minute > 59 || second > 60) return null
    return at.setUTCHours(hour, minute, second)
  }
  return null
}

/** Two digits mean the year within the next 50 or the last 49 (RFC 9110). */
function fullYear(text: string, nowMs: number): number {
  if (text.length === 4) return Number(text)
  const now = new Date(nowMs).getUTCFullYear()
  const year = now - (now % 100) + Number(text)
  if (year > now + 50) return year - 100
  return year < now - 49 ? year + 100 : year
}
