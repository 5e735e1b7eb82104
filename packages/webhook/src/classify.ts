import type { Answer as SinkAnswer } from '@postrider/relay'
import type { ErrorCode } from '@postrider/schema'
import { Cut } from './exchange.ts'
import { parseRetryAfter } from './retry-after.ts'
import { Unreachable } from './unreachable.ts'

/** What matters of an answer. */
export interface Answer {
  readonly status: number
  readonly retryAfter?: string | undefined
  /** The receiver sent `postrider-retry: never`. */
  readonly never?: boolean
}

type Failure = Extract<SinkAnswer, { readonly kind: 'retry' | 'reject' }>

/** Attempts for a 4xx that may heal by a deployment of the receiver, but mostly does not. */
const clientErrorAttempts = 5
/** RFC 9110 section 15.5: the content of this request is at fault, another may pass. */
const aboutTheEvent: ReadonlySet<number> = new Set([400, 406, 409, 411, 412, 414, 416, 417, 422, 424])
const longestFloorMs = 24 * 3_600_000
const throttle = { leastMs: 1_000, standardMs: 10_000, mostMs: 3_600_000 } as const

/** Answer → outcome: pure, without a clock. */
export function classifyAnswer(answer: Answer, permanent: ReadonlySet<number>, nowMs: number): SinkAnswer {
  const { status, never = false } = answer
  if (status >= 200 && status <= 299) return { kind: 'delivered', status }
  if (status === 410) return { kind: 'gone', status, error: failure('gone', 'answered 410') }
  if (never)
    return { kind: 'reject', status, error: failure('payload_refused', `answered ${status} with postrider-retry: never`) }
  if (status === 413 || status === 415 || status === 431 || permanent.has(status)) {
    return { kind: 'reject', status, error: failure('payload_refused', `answered ${status}`) }
  }

  const afterMs = answer.retryAfter === undefined ? null : parseRetryAfter(answer.retryAfter, nowMs)
  if (status === 429 || (status === 503 && afterMs !== null)) {
    // Never zero: it spends no attempt, so nothing else would slow it down.
    const pauseMs = Math.min(throttle.mostMs, Math.max(throttle.leastMs, afterMs ?? throttle.standardMs))
    return { kind: 'throttled', status, error: failure('throttled', `answered ${status}`), afterMs: pauseMs }
  }

  const floor = afterMs === null ? {} : { afterMs: Math.min(longestFloorMs, afterMs) }
  if (status >= 300 && status <= 399) {
    return { kind: 'retry', status, error: failure('redirect', `answered ${status}; redirects are not followed`), ...floor }
  }
  if (status === 408 || status === 425)
    return { kind: 'retry', status, error: failure('status_4xx', `answered ${status}`), ...floor }
  if (status >= 400 && status <= 499) {
    return {
      kind: 'retry',
      status,
      error: failure('status_4xx', `answered ${status}`),
      // Some of these are about what was asked, the others about where: a credential that has run out fails every event.
      ...(aboutTheEvent.has(status) ? { scope: 'event' as const } : {}),
      maxAttempts: clientErrorAttempts,
      ...floor,
    }
  }
  if (status >= 500 && status <= 599)
    return { kind: 'retry', status, error: failure('status_5xx', `answered ${status}`), ...floor }
  return { kind: 'retry', status, error: failure('malformed_response', `answered ${status}, which HTTP does not know`), ...floor }
}

/** No answer → outcome. The messages are our own: those of Node and undici carry addresses. */
export function classifyFailure(error: Error & { readonly code?: unknown }): Failure {
  if (error instanceof Unreachable) {
    if (error.stage === 'blocked') return { kind: 'reject', error: failure('blocked_target', 'target not allowed') }
    return { kind: 'retry', error: failure(error.stage, error.message) }
  }
  if (error instanceof Cut) {
    if (error.why === 'deadline') return retry('timeout', 'no answer within the total deadline')
    if (error.why === 'interrupted') return retry('interrupted', 'the relay stopped before the answer')
    return retry('malformed_response', 'no end of 1xx answers')
  }
  const code = typeof error.code === 'string' ? error.code : error.name
  if (code === 'UND_ERR_HEADERS_TIMEOUT') return retry('timeout', 'no headers in time')
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return retry('malformed_response', 'headers over 16 KiB')
  // What undici cannot parse mostly has a name only, and no code.
  if (code.startsWith('HPE_') || code === 'HTTPParserError' || code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH')
    return retry('malformed_response', `not HTTP (${code})`)
  if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') return retry('interrupted', 'the sink was closed')
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
    return { kind: 'reject', error: failure('cannot_encode', 'not possible as an HTTP request') }
  }
  if (/^ERR_(?:SSL|TLS)_/.test(code)) return retry('tls', `refused by TLS (${code})`)
  return retry('connect', `connection broke before an answer (${code})`)
}

function retry(code: ErrorCode, message: string): Failure {
  return { kind: 'retry', error: failure(code, message) }
}

function failure(code: ErrorCode, message: string): { code: ErrorCode; message: string } {
  return { code, message }
}
