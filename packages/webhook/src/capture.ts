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
      if (value !== undefined) kept[name] = redact(shortened(value))
    }
    const location = first(ended.headers['location'])
    if (location !== undefined && URL.canParse(location, url.href)) kept['location'] = new URL(location, url.href).origin

    const encoding = first(ended.headers['content-encoding'])
    if (encoding !== undefined) kept['content-encoding'] = shortened(encoding)
    // Compressed bytes are never inflated, and mean nothing as text.
    const body = encoding === undefined || encoding === 'identity' ? redact(asText(ended.body)) : ''
    return { url: shownUrl, headers: kept, ...(body === '' ? {} : { body }) }
  }
}

/** PostgreSQL refuses half a surrogate pair, which a cut may leave. */
function shortened(value: string): string {
  return value.slice(0, maxHeaderChars).toWellFormed()
}

/** Whatever the bytes are: broken UTF-8 becomes U+FFFD, a character cut at the end is left out, NUL goes (PostgreSQL refuses it). */
function asText(bytes: Buffer): string {
  return new TextDecoder().decode(bytes, { stream: true }).replaceAll('\0', '')
}

/**
 * Error pages like to repeat the request: static headers (`Authorization`) and long parts of the path, which for some
 * services is the credential itself.
 */
function createRedaction(url: URL, headers: Readonly<Record<string, string>>): (text: string) => string {
  const words = [
    ...Object.values(headers)
      .flatMap((value) => [value, ...value.split(/[\s,;]+/)])
      .filter((word) => word.length >= 8),
    ...[...url.searchParams.values()].filter((word) => word.length >= 8),
    ...url.pathname.split('/').filter((word) => word.length >= 16),
  ]
  const secrets = [...new Set(words)].sort((a, b) => b.length - a.length)
  return (text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text)
}

function first(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
