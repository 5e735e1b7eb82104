import type { Settings } from '../config.ts'

/** Shorter texts are no secrets, and replacing them would spoil the log. */
const shortest = 8
const redacted = '[redacted]'
const credentials = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@"\\]+@/gi
const parameters = /([?&](?:password|token|secret|signature|[a-z_-]*key)=)[^&\s"\\]+/gi

/**
 * The last net under the log: a finished line without any known secret in it, without the user of a URL, and without
 * parameters that carry credentials. What is logged on purpose never holds them; messages of other people's errors may.
 */
export function createScrubber(secrets: Iterable<string>): (line: string) => string {
  const forms = [...new Set(secrets)]
    .filter((secret) => secret.length >= shortest)
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
    .sort((a, b) => b.length - a.length)
  const known = forms.length === 0 ? null : new RegExp([...new Set(forms)].map(escapePattern).join('|'), 'g')
  return (line) => {
    const plain = known === null ? line : line.replace(known, redacted)
    return plain.replace(credentials, `$1${redacted}@`).replace(parameters, `$1${redacted}`)
  }
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
}

/** Everything in a configuration that no log may show. The path of a webhook counts: for some receivers it is the key. */
export function secretsOf({ database, sinks }: Pick<Settings, 'database' | 'sinks'>): string[] {
  const found: string[] = []
  for (const url of [database.url, database.directUrl]) if (url !== false) found.push(url, ...passwordOf(url))
  for (const sink of Object.values(sinks)) {
    if (typeof sink.tls === 'object' && sink.tls.key !== undefined) found.push(sink.tls.key)
    if (sink.kind === 'kafka') {
      if (sink.sasl !== undefined) found.push(sink.sasl.password)
      continue
    }
    found.push(...Object.values(sink.headers ?? {}))
    if (sink.endpoints !== undefined) {
      if (sink.endpoints.secretKey !== undefined) found.push(sink.endpoints.secretKey)
      found.push(...(sink.endpoints.previousKeys ?? []))
      continue
    }
    const { secrets, url } = sink
    found.push(...[secrets.current].flat(), ...(secrets.previous ?? []).map(({ secret }) => secret))
    const { pathname, search } = new URL(url)
    found.push(pathname + search, search)
  }
  return found
}

/** None, when it is also the name of the user or of the database: those are no secrets, and stand in many messages. */
function passwordOf(url: string): string[] {
  const { username, password, pathname } = new URL(url)
  const plain = decoded(password)
  return plain === '' || plain === decoded(username) || `/${plain}` === decoded(pathname) ? [] : [plain, password]
}

/** A lone `%` in a password is taken by pg as it stands. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
