import { errorCodes, type ErrorCode } from '@postrider/schema'
import type { Answer, Appended, AttemptDetail, DeliveryError, Outcome } from './sink.ts'

/** No pause or delay that a sink asks for is longer than this: 7 days. */
const longestMs = 7 * 24 * 3_600_000

const delivered: Outcome = Object.freeze({ kind: 'delivered' })

/**
 * Takes what a sink has answered for what it is. A sink may be anybody's: an answer that is none, or holds what a database
 * cannot, must stop neither its lane nor the relay. What cannot be read counts as a failed attempt.
 */
export function outcomeOf(answer: unknown): Outcome {
  const given = (typeof answer === 'object' && answer !== null ? answer : {}) as Partial<Record<string, unknown>>
  const detail = detailOf(given['detail'])
  const status = statusOf(given['status'])
  // The usual answers first: they come for every event.
  if (given['kind'] === 'delivered' && detail === undefined) {
    const appended = appendedOf(given['appended'])
    if (appended === undefined) return status === undefined ? delivered : { kind: 'delivered', status }
    if (status === undefined) return { kind: 'delivered', appended }
  }
  const answered = { ...(status === undefined ? {} : { status }), ...(detail === undefined ? {} : { detail }) }
  const error = errorOf(given['error'])
  switch (given['kind']) {
    case 'delivered': {
      const appended = appendedOf(given['appended'])
      return { kind: 'delivered', ...answered, ...(appended === undefined ? {} : { appended }) }
    }
    case 'retry': {
      const maxAttempts = given['maxAttempts']
      return {
        kind: 'retry',
        error,
        ...answered,
        afterMs: msOf(given['afterMs']) ?? 0,
        ...(typeof maxAttempts === 'number' && maxAttempts > 0 ? { maxAttempts } : {}),
        ...(given['scope'] === 'event' ? { scope: 'event' } : {}),
        ...(given['free'] === true ? { free: true } : {}),
      }
    }
    case 'behind':
      return { kind: 'behind', ...answered }
    case 'throttled':
      // It spends no attempt, so that it must not come back at once.
      return { kind: 'throttled', error, ...answered, afterMs: Math.max(msOf(given['afterMs']) ?? 0, 100) }
    case 'reject':
      return { kind: 'reject', error, ...answered }
    case 'gone':
      return { kind: 'gone', error, ...answered }
    default:
      return threw(`the sink answered ${String(given['kind'])}, which is no outcome`)
  }
}

/** A sink that threw: a failed attempt. */
export function threw(error: unknown): Answer {
  return {
    kind: 'retry',
    error: { code: 'sink_threw', message: storable(error instanceof Error ? error.message : String(error)) },
  }
}

/** PostgreSQL stores neither U+0000 nor a lone surrogate: what a sink made of a hostile answer must not stop a settle. */
function storable(text: string): string {
  return text.replaceAll('\0', '').toWellFormed().slice(0, 16_384)
}

function errorOf(given: unknown): DeliveryError {
  const { code, message } = (typeof given === 'object' && given !== null ? given : {}) as Partial<Record<string, unknown>>
  return {
    code: typeof code === 'string' && Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : 'sink_threw',
    message: storable(typeof message === 'string' ? message : 'the sink gave no message'),
  }
}

function statusOf(given: unknown): number | undefined {
  return typeof given === 'number' && Number.isInteger(given) && Math.abs(given) < 2 ** 31 ? given : undefined
}

function msOf(given: unknown): number | undefined {
  return typeof given === 'number' && given >= 0 ? Math.min(given, longestMs) : undefined
}

function appendedOf(given: unknown): Appended | undefined {
  if (given === undefined) return undefined
  const { topic, partition, offset } = (typeof given === 'object' && given !== null ? given : {}) as Partial<
    Record<string, unknown>
  >
  const legal =
    typeof topic === 'string' &&
    /^[\w.-]{1,249}$/.test(topic) &&
    typeof partition === 'number' &&
    Number.isInteger(partition) &&
    partition >= 0 &&
    partition < 2 ** 31 &&
    typeof offset === 'string' &&
    /^\d{1,18}$/.test(offset)
  return legal ? { topic, partition, offset } : undefined
}

function detailOf(given: unknown): AttemptDetail | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  try {
    const text = JSON.stringify(given, (_name, value: unknown) => readable(value))
    return text.length > 65_536 ? { truncated: true } : (JSON.parse(text) as AttemptDetail)
  } catch {
    return { unreadable: true }
  }
}

/** jsonb refuses in a name what it refuses in a value. */
function readable(value: unknown): unknown {
  if (typeof value === 'string') return storable(value)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [storable(name), inner]))
}
