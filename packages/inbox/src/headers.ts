/** Headers as fetch, Node or a plain object has them: pairs, or names with one value or several. */
export type HeaderSource =
  | Iterable<readonly [name: string, value: string]>
  | Readonly<Record<string, string | readonly string[] | undefined>>

/** Names in lower case; several values of a name are joined by `, ` (RFC 9110 section 5.3), so that none is lost unseen. */
export type ReceivedHeaders = Readonly<Record<string, string>>

/** Without a prototype, so that a header called `constructor` is only a header. */
export function readHeaders(source: HeaderSource): ReceivedHeaders {
  const headers = Object.create(null) as Record<string, string>
  const entries = Symbol.iterator in source ? source : Object.entries(source)
  for (const [given, value] of entries as Iterable<readonly [string, unknown]>) {
    const name = given.toLowerCase()
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof one !== 'string') continue
      const before = headers[name]
      headers[name] = before === undefined ? one : `${before}, ${one}`
    }
  }
  return headers
}
