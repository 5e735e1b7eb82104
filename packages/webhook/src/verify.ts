import { createHmac, timingSafeEqual, verify as verifyWith } from 'node:crypto'
import { readVerifyingSecret, type SigningKey } from './secret.ts'

/** Why a request was not accepted. */
export type VerifyFailure = 'missing_header' | 'bad_id' | 'bad_timestamp' | 'too_old' | 'too_new' | 'bad_signature' | 'no_match'

export type VerifyResult =
  | {
      readonly ok: true
      /** The event's id: the same on every attempt; remember it to take an event once. */
      readonly id: string
      /** Unix seconds of this attempt. */
      readonly timestamp: number
      /** From 1, or null when the sender does not say. Not covered by the signature. */
      readonly attempt: number | null
      /** Event type, or null when the sender does not say. Not covered by the signature. */
      readonly type: string | null
    }
  | { readonly ok: false; readonly reason: VerifyFailure }

/** Headers as fetch, Node or a plain object has them. */
export type HeaderSource = { get(name: string): string | null } | Readonly<Record<string, string | readonly string[] | undefined>>

export interface VerifyRequest {
  /** The body exactly as it came, before any parser. */
  readonly body: string | Uint8Array
  readonly headers: HeaderSource
}

export interface VerifyOptions {
  /** Any of them may have signed: `whsec_…`, `whpk_…`, or `whsk_…`. */
  readonly secrets: readonly string[]
  /** How far the sender's clock may be off, and how long a recorded request stays good. Default 300. */
  readonly toleranceSeconds?: number
  /** Clock in milliseconds; default `Date.now`. */
  readonly now?: () => number
}

const maxSignatures = 10
const maxHeaderChars = 4096
const idPattern = /^[A-Za-z0-9_-]{1,64}$/ // No dot: `a.T` + `x` and `a` + `T.x` would have one signature.
const timestampPattern = /^\d{1,12}$/
const forms = { v1: /^[A-Za-z0-9+/]{43}=$/, v1a: /^[A-Za-z0-9+/]{86}==$/ } as const

/** Checks one request. For many prepare a verifier with {@link createVerifier}. */
export function verify(request: VerifyRequest & VerifyOptions): VerifyResult {
  return createVerifier(request)(request)
}

/**
 * A strict verifier of Standard Webhooks 1.0.0, HMAC and ed25519. Limits come before any hashing, comparison takes
 * constant time, and a signature of an unknown version is passed over.
 * Throws `invalid_options` when a secret cannot be read; a bad request is an answer, not an exception.
 */
export function createVerifier(options: VerifyOptions): (request: VerifyRequest) => VerifyResult {
  const { toleranceSeconds = 300, now = Date.now } = options
  const keys = options.secrets.map(readVerifyingSecret)

  return ({ body, headers }) => {
    const id = header(headers, 'webhook-id')
    const time = header(headers, 'webhook-timestamp')
    const signatures = header(headers, 'webhook-signature')
    if (id === null || time === null || signatures === null) return refuse('missing_header')
    if (!idPattern.test(id)) return refuse('bad_id')
    if (!timestampPattern.test(time)) return refuse('bad_timestamp')

    const timestamp = Number(time)
    const age = now() / 1000 - timestamp
    if (age > toleranceSeconds) return refuse('too_old')
    if (age < -toleranceSeconds) return refuse('too_new')

    if (signatures.length > maxHeaderChars) return refuse('bad_signature')
    const list = signatures.split(' ')
    if (list.length > maxSignatures) return refuse('bad_signature')
    const content = Buffer.concat([Buffer.from(`${id}.${time}.`), typeof body === 'string' ? Buffer.from(body) : body])
    if (!keys.some((key) => matches(list, key, content))) return refuse('no_match')

    const attempt = header(headers, 'postrider-attempt')
    return {
      ok: true,
      id,
      timestamp,
      attempt: attempt !== null && /^\d{1,9}$/.test(attempt) ? Number(attempt) : null,
      type: header(headers, 'postrider-event-type'),
    }
  }
}

function refuse(reason: VerifyFailure): VerifyResult {
  return { ok: false, reason }
}

function matches(signatures: readonly string[], { version, key }: SigningKey, content: Buffer): boolean {
  const prefix = `${version},`
  const given = signatures
    .filter((signature) => signature.startsWith(prefix) && forms[version].test(signature.slice(prefix.length)))
    .map((signature) => Buffer.from(signature.slice(prefix.length), 'base64'))
  if (given.length === 0) return false
  if (version === 'v1a') return given.some((one) => verifyWith(null, content, key, one))
  const expected = createHmac('sha256', key).update(content).digest()
  return given.some((one) => timingSafeEqual(expected, one))
}

/** One value, whatever the case of its name; several values of one name count as one list. */
function header(headers: HeaderSource, name: string): string | null {
  if (isHeaders(headers)) return headers.get(name)
  const direct = headers[name] ?? Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
  if (direct === undefined) return null
  return typeof direct === 'string' ? direct : direct.join(' ')
}

function isHeaders(headers: HeaderSource): headers is { get(name: string): string | null } {
  return typeof headers['get'] === 'function'
}
