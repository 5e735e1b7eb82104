import { PostriderError, type ErrorCode } from '@postrider/schema'
import { isSignedWith, messageIdPattern, readVerifyingSecret } from '@postrider/schema/signature'
import { readHeaders, type HeaderSource, type ReceivedHeaders } from './headers.ts'

/** Why a request was not accepted, finer than the code of the error. */
export type VerifyFailure =
  | 'missing_header'
  | 'bad_id'
  | 'bad_timestamp'
  | 'too_old'
  | 'too_new'
  | 'bad_signature'
  | 'no_match'
  | 'body_too_large'

/** A request whose signature is good. */
export interface Verified {
  /** The id of the event: the same on every attempt. */
  readonly id: string
  /** Unix seconds of this attempt. */
  readonly timestamp: number
  /** From 1, or null when the sender does not say. Not covered by the signature. */
  readonly attempt: number | null
  /** Event type, or null when the sender does not say. Not covered by the signature. */
  readonly type: string | null
}

export type VerifyResult =
  | (Verified & { readonly ok: true })
  | { readonly ok: false; readonly reason: VerifyFailure; readonly error: PostriderError }

export interface SignedRequest {
  /** The body exactly as it came, before any parser. */
  readonly body: string | Uint8Array
  readonly headers: HeaderSource
}

export interface VerifyOptions {
  /** Any of them may have signed: `whsec_…`, `whpk_…`, or `whsk_…`. While a secret is changed, the old and the new one. */
  readonly secrets: readonly string[]
  /** How far the sender's clock may be off, and how long a recorded request stays good. Seconds, 1 to 86,400; default 300. */
  readonly toleranceSeconds?: number
  /** Bytes of a body; default 1,048,576. The largest payload of Postrider, in the format that needs most, is below. */
  readonly maxBodyBytes?: number
  /** Clock in milliseconds; default `Date.now`. */
  readonly now?: () => number
}

export interface Verifier {
  /** @throws PostriderError `missing_signature`, `malformed_request`, `stale_request`, `wrong_signature`, `body_too_large` */
  verify(request: SignedRequest): Verified
  /** The same as an answer, for those who want no exception. */
  check(request: SignedRequest): VerifyResult
}

export const defaultMaxBodyBytes = 1_048_576
const maxSignatures = 10
const maxSignatureChars = 4096
const timestampPattern = /^\d{1,12}$/

const codes: Readonly<Record<VerifyFailure, ErrorCode>> = {
  missing_header: 'missing_signature',
  bad_id: 'malformed_request',
  bad_timestamp: 'malformed_request',
  bad_signature: 'malformed_request',
  too_old: 'stale_request',
  too_new: 'stale_request',
  no_match: 'wrong_signature',
  body_too_large: 'body_too_large',
}

/**
 * Checks one request. For many prepare a verifier with {@link createVerifier}.
 *
 * @throws PostriderError as {@link Verifier.verify} does, and `invalid_options`
 */
export function verify(request: SignedRequest, options: VerifyOptions): Verified {
  return createVerifier(options).verify(request)
}

/**
 * A strict verifier of Standard Webhooks 1.0.0, HMAC and ed25519. Limits come before any hashing, comparison takes
 * constant time, and a signature of an unknown version is passed over.
 *
 * @throws PostriderError `invalid_options` when a secret cannot be read; the message never repeats it
 */
export function createVerifier(options: VerifyOptions): Verifier {
  const { toleranceSeconds = 300, maxBodyBytes = defaultMaxBodyBytes, now = Date.now } = options
  const problems = [
    ...wholeNumber('toleranceSeconds', toleranceSeconds, 1, 86_400),
    ...wholeNumber('maxBodyBytes', maxBodyBytes, 1, 2 ** 30),
  ]
  if (problems.length > 0) throw new PostriderError('invalid_options', `createVerifier: ${problems.join('; ')}`, { problems })
  const keys = options.secrets.map(readVerifyingSecret)

  function check(request: SignedRequest): VerifyResult {
    const headers = readHeaders(request.headers)
    const body = typeof request.body === 'string' ? Buffer.from(request.body) : request.body
    if (body.length > maxBodyBytes) return refuse('body_too_large', `the body has ${body.length} bytes, over ${maxBodyBytes}`)
    const id = headers['webhook-id']
    const time = headers['webhook-timestamp']
    const signatures = headers['webhook-signature']
    if (id === undefined || time === undefined || signatures === undefined)
      return refuse('missing_header', 'one of webhook-id, webhook-timestamp and webhook-signature is missing')
    if (!messageIdPattern.test(id)) return refuse('bad_id', 'webhook-id is not 1 to 64 letters, digits, _ or -')
    if (!timestampPattern.test(time)) return refuse('bad_timestamp', 'webhook-timestamp is not unix seconds')

    const timestamp = Number(time)
    const age = now() / 1000 - timestamp
    if (age > toleranceSeconds) return refuse('too_old', `webhook-timestamp is more than ${toleranceSeconds} s ago`)
    if (age < -toleranceSeconds) return refuse('too_new', `webhook-timestamp is more than ${toleranceSeconds} s ahead`)

    const list = listOf(signatures)
    if (list === null) return refuse('bad_signature', `webhook-signature has over ${maxSignatures} signatures, or is too long`)
    const content = { id, timestamp, body }
    if (!keys.some((key) => isSignedWith(key, list, content)))
      return refuse('no_match', 'no signature is of these bytes by one of the secrets')
    return { ok: true, id, timestamp, attempt: attemptOf(headers), type: headers['postrider-event-type'] ?? null }
  }

  return {
    check,
    verify(request) {
      const result = check(request)
      if (!result.ok) throw result.error
      const { ok: _ok, ...verified } = result
      return verified
    },
  }
}

/** What the sender counts, or null when it does not say. */
export function attemptOf(headers: ReceivedHeaders): number | null {
  const text = headers['postrider-attempt']
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null
}

/** Separated by a blank; by a comma too, where several headers of the name were joined. Null for one over the limits. */
function listOf(signatures: string): readonly string[] | null {
  if (signatures.length > maxSignatureChars) return null
  const list = signatures.split(/,? /)
  return list.length > maxSignatures ? null : list
}

function refuse(reason: VerifyFailure, problem: string): VerifyResult {
  return { ok: false, reason, error: new PostriderError(codes[reason], problem) }
}

/** The problem with a number of the options, if there is one. */
export function wholeNumber(name: string, value: number, least: number, most: number): string[] {
  if (Number.isInteger(value) && value >= least && value <= most) return []
  return [`${name}: expected a whole number from ${least} to ${most}, got ${String(value)}`]
}
