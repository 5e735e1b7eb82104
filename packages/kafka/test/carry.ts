import { setTimeout as delay } from 'node:timers/promises'
import type { Attempt, Outcome, Sink } from '@postrider/relay'

const never = new AbortController().signal

/**
 * Carries events as a relay does: all of a key are handed over in order, and those that were not delivered come again, from the
 * first of their key on. Answers every outcome that was not a delivery.
 */
export async function carry(sink: Sink, attempts: readonly Attempt[], deadlineMs = 20_000): Promise<Outcome[]> {
  const until = performance.now() + deadlineMs
  const troubles: Outcome[] = []
  let left = [...attempts]
  while (left.length > 0) {
    const outcomes = await Promise.all(left.map((attempt) => sink.deliver(attempt, never)))
    troubles.push(...outcomes.filter(({ kind }) => kind !== 'delivered'))
    left = left.filter((_, index) => outcomes.at(index)!.kind !== 'delivered')
    if (performance.now() > until) throw new Error(`${left.length} events left: ${JSON.stringify(troubles.at(-1))}`)
    const afterMs = outcomes.map((outcome) => (outcome.kind === 'retry' ? (outcome.afterMs ?? 50) : 0))
    if (left.length > 0) await delay(Math.min(2_000, Math.max(...afterMs)))
  }
  return troubles
}
