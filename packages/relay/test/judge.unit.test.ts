import { describe, expect, it } from 'vitest'
import { judge, type Verdict } from '../src/judge.ts'
import { retryPolicies } from '../src/options.ts'
import type { Answer, DeliveryError } from '../src/sink.ts'

const error: DeliveryError = { code: 'status_5xx', message: 'answered 500' }
const retry = (more: Partial<Answer & { kind: 'retry' }> = {}): Answer => ({ kind: 'retry', error, ...more })
const policy = { delaysMs: [1_000, 2_000, 3_000], jitter: 0.2, maxAgeMs: 60_000 }
const again = (delayMs: number, counts = true): Verdict => ({ kind: 'retry', delayMs, counts, error })
const dead: Verdict = { kind: 'dead', error }

describe('judge', () => {
  it.each<[string, Answer, number, number, number, Verdict]>([
    ['delivered is delivered', { kind: 'delivered' }, 1, 0, 0, { kind: 'delivered' }],
    ['delivered is delivered, however old', { kind: 'delivered' }, 99, 1e9, 0, { kind: 'delivered' }],
    ['the first failure waits for the first delay', retry(), 1, 0, 0, again(1_000)],
    ['the third failure waits for the third delay', retry(), 3, 0, 0, again(3_000)],
    ['jitter is only added', retry(), 1, 0, 1, again(1_200)],
    ['after the last delay it is dead', retry(), 4, 0, 0, dead],
    ['a floor of the destination is kept', retry({ afterMs: 5_000 }), 1, 0, 0, again(5_000)],
    ['a floor below the delay changes nothing', retry({ afterMs: 10 }), 1, 0, 0.5, again(1_100)],
    ['a ceiling of the outcome ends it sooner', retry({ maxAttempts: 2 }), 2, 0, 0, dead],
    ['below that ceiling it goes on', retry({ maxAttempts: 2 }), 1, 0, 0, again(1_000)],
    ['too old is dead', retry(), 1, 60_000, 0, dead],
    ['a rejected one is dead at once', { kind: 'reject', error }, 1, 0, 0, dead],
    ['a throttled one waits and spends no attempt', { kind: 'throttled', error, afterMs: 700 }, 99, 0, 1, again(700, false)],
    ['a throttled one that is too old is dead', { kind: 'throttled', error, afterMs: 700 }, 1, 60_000, 0, dead],
  ])('%s', (_name, outcome, attempt, ageMs, chance, verdict) => {
    expect(judge(outcome, attempt, ageMs, policy, () => chance)).toEqual(verdict)
  })

  it('has a standard schedule of 13 attempts over 71.7 hours', () => {
    const { delaysMs } = retryPolicies.standard
    expect(delaysMs.length + 1).toBe(13)
    expect(delaysMs.reduce((sum, delay) => sum + delay, 0) / 3_600_000).toBeCloseTo(71.71, 2)
  })
})
