import { createHash } from 'node:crypto'
import type { AttemptDetail } from '@postrider/relay'
import type { Ended } from './exchange.ts'
import type { WebhookSettings } from './check-options.ts'

const keptHeaders = ['content-type', 'retry-after', 'server', 'date', 'x-request-id', 'cf-ray'] as const
const maxHeaderChars = 256

/** Turns an exchange into what `attempts.detail` may hold: small, text that PostgreSQL takes, and no credential. */
export type Capture = (ended: Ended) => AttemptDetail

export function createCapture({ url, headers, capture }: Pick<WebhookSettings, 'url' | 'headers' | 'capture'>): Capture {
  const redact = createRedaction(url, headers)
  const shownUrl = `${url.origin}/#${createHash('sha256')
    .update(url.pathname + url.search)
    .digest('hex')
    .slice(0, 8)}`

  return (ended) => {
    if (!ended.answered || capture === 'none') return { url: shownUrl }
    const kept: Record<string, string> = {}
    for (const name of keptHeaders) {
      const value = first(ended.headers[name])
      if (value !== undefined) kept[name] = shortened(redact(value))
    }
    const location = first(ended.headers['location'])
    if (location !== undefined && URL.canParse(location, url.href))
      kept['location'] = shortened(redact(new URL(location, url.href).origin))

    const encoding = first(ended.headers['content-encoding'])
    if (encoding !== undefined) kept['content-encoding'] = shortened(redact(encoding))
    // Compressed bytes are never inflated, and mean nothing as text.
    const body = encoding === undefined || encoding === 'identity' ? redact(asText(ended.body)) : ''
    return { url: shownUrl, headers: kept, ...(body === '' ? {} : { body }) }
  }
}

/** PostgreSQL refuses half a surrogate pair, which a cut may leave, and NUL, which no parser of HTTP should let through. */
function shortened(value: string): string {
  return value.slice(0, maxHeaderChars).replaceAll('\0', '').toWellFormed()
}

/** Whatever the bytes are: broken UTF-8 becomes U+FFFD, a character cut at the end is left out, NUL goes (PostgreSQL refuses it). */
function asText(bytes: Buffer): string {
  return new TextDecoder().decode(bytes, { stream: true }).replaceAll('\0', '')
}

/** What is a secret when it is so long or longer; replacing shorter words would spoil the text. */
const secretChars = { header: 8, parameter: 8, path: 16 } as const
/** Of a secret that the end of the text has cut off, so much is taken for it. */
const leastChars = 8

/**
 * Error pages like to repeat the request: static headers (`Authorization`) and long parts of the path, which for some
 * services is the credential itself. Applied before anything is shortened, or half a secret would stay.
 */
function createRedaction(url: URL, headers: Readonly<Record<string, string>>): (text: string) => string {
  const longer = (words: Iterable<string>, than: number): string[] => [...words].filter((word) => word.length >= than)
  const parameters = url.search
    .slice(1)
    .split('&')
    .map((pair) => pair.slice(pair.indexOf('=') + 1))
  const words = [
    ...longer(
      Object.values(headers).flatMap((value) => [value, ...value.split(/[\s,;]+/)]),
      secretChars.header,
    ),
    ...longer([...parameters, ...url.searchParams.values()], secretChars.parameter),
    ...longer(
      url.pathname.split('/').flatMap((part) => [part, decoded(part)]),
      secretChars.path,
    ),
  ]
  const secrets = [...new Set(words)].sort((a, b) => b.length - a.length)
  return (text) =>
    withoutEnd(
      secrets.reduce((rest, secret) => rest.replaceAll(secret, redacted), text),
      secrets,
    )
}

const redacted = '[redacted]'

/** Of a body only the beginning is read: it may end within a secret. */
function withoutEnd(text: string, secrets: readonly string[]): string {
  for (const secret of secrets) {
    for (let length = Math.min(secret.length - 1, text.length); length >= leastChars; length--) {
      if (text.endsWith(secret.slice(0, length))) return `${text.slice(0, -length)}${redacted}`
    }
  }
  return text
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function first(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
