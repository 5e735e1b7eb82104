import { isPostriderError, type ErrorCode } from '@postrider/schema'

/** An answer over HTTP: one word, and never what a handler or a database said. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const statuses: Partial<Readonly<Record<ErrorCode, number>>> = {
  missing_signature: 401,
  wrong_signature: 401,
  stale_request: 401,
  malformed_request: 400,
  malformed_event: 400,
  body_incomplete: 408,
  body_too_large: 413,
}
/** Another one works on the event: soon it is done. 503 with Retry-After spends no attempt of the sender. */
const busySeconds = 2

export function answerWith(status: number, word: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { 'content-type': 'text/plain; charset=utf-8', ...headers }, body: `${word}\n` }
}

/** What an error means for the sender: 4xx when it has to mend something, 5xx with `Retry-After` when it shall try again. */
export function answerError(error: unknown, retryAfterSeconds: number): Answer {
  const code = isPostriderError(error) ? error.code : 'database_failed'
  if (code === 'event_busy') return answerWith(503, code, { 'retry-after': String(busySeconds) })
  const status = isPostriderError(error) ? statuses[error.code] : undefined
  if (status === undefined) return answerWith(500, code, { 'retry-after': String(retryAfterSeconds) })
  // The rest of a body that was not read must not be taken for the next request.
  return answerWith(status, code, status === 408 || status === 413 ? { connection: 'close' } : {})
}

/** Nobody shall send this again by itself. */
export function answerGivenUp(error: unknown): Answer {
  return answerWith(422, isPostriderError(error) ? error.code : 'database_failed', { 'postrider-retry': 'never' })
}
