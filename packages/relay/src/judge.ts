import type { RetryPolicy } from './options.ts'
import type { Answer, DeliveryError } from './sink.ts'

/**
 * What the relay decides about an attempt.
 * `counts` tells whether the attempt is charged to the event.
 */
export type Verdict =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly counts: boolean; readonly error: DeliveryError }
  | { readonly kind: 'dead'; readonly error: DeliveryError }
  /** Its time was over before it could be sent. */
  | { readonly kind: 'expired' }

const delivered: Verdict = Object.freeze({ kind: 'delivered' })

/**
 * Outcome + attempt + policy → verdict. Pure: no I/O, no clock, no chance but the one that is given.
 * @param attempt number of this attempt since the last time an operator sent the event again, from 1
 * @param ageMs time since the first attempt (or the first since an operator sent it again)
 * @param chance gives a number from 0 to 1 for the jitter
 */
export function judge(outcome: Answer, attempt: number, ageMs: number, policy: RetryPolicy, chance: () => number): Verdict {
  switch (outcome.kind) {
    case 'delivered':
      return delivered
    case 'reject':
      return { kind: 'dead', error: outcome.error }
    case 'gone':
      // Never charged: the sink stands still, and its events with it.
      return { kind: 'retry', delayMs: 0, counts: false, error: outcome.error }
    case 'throttled':
      return unspent(outcome.error, outcome.afterMs, ageMs, policy)
    case 'retry': {
      if (outcome.free === true) return unspent(outcome.error, outcome.afterMs ?? 0, ageMs, policy)
      const planned = policy.delaysMs[attempt - 1]
      if (planned === undefined || attempt >= (outcome.maxAttempts ?? Infinity) || ageMs >= policy.maxAgeMs) {
        return { kind: 'dead', error: outcome.error }
      }
      const delayMs = Math.max(planned * (1 + policy.jitter * chance()), outcome.afterMs ?? 0)
      return { kind: 'retry', delayMs: Math.round(delayMs), counts: true, error: outcome.error }
    }
  }
}

/** Nothing is charged but time. */
function unspent(error: DeliveryError, delayMs: number, ageMs: number, { maxAgeMs }: RetryPolicy): Verdict {
  return ageMs >= maxAgeMs ? { kind: 'dead', error } : { kind: 'retry', delayMs, counts: false, error }
}
