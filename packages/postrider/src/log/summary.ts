import type { AttemptMessage } from './attempt.ts'

/** Latencies kept for the percentiles of one sink. */
const kept = 1_024

interface Tally {
  delivered: number
  retried: number
  throttled: number
  dead: number
  /** Lines of retries that were left to `debug`, because there were too many of their kind. */
  suppressed: number
  seen: number
  readonly latenciesMs: number[]
}

/** Figures of one sink since the last summary. */
export interface Summary {
  readonly sink: string
  readonly fields: Readonly<Record<string, number>>
}

/** Counts attempts for each sink until they are taken. */
export interface Summaries {
  add(attempt: AttemptMessage, suppressed: boolean): void
  /** What happened since the last time, and begins anew. A sink to which nothing happened is not there. */
  take(): Summary[]
}

export function createSummaries(): Summaries {
  const tallies = new Map<string, Tally>()
  return {
    add(attempt, suppressed) {
      let tally = tallies.get(attempt.sink)
      if (tally === undefined)
        tallies.set(
          attempt.sink,
          (tally = { delivered: 0, retried: 0, throttled: 0, dead: 0, suppressed: 0, seen: 0, latenciesMs: [] }),
        )
      if (suppressed) tally.suppressed++
      if (attempt.verdict === 'dead') tally.dead++
      else if (attempt.outcome === 'throttled') tally.throttled++
      // What was spared failed too, and goes again; what has expired came to nothing, as what is dead.
      else if (attempt.verdict === 'retry' || attempt.verdict === 'spared') tally.retried++
      else if (attempt.verdict === 'expired') tally.dead++
      else {
        tally.delivered++
        sample(tally, attempt.queueMs + attempt.durationMs)
      }
    },
    take() {
      const taken = [...tallies].map(([sink, { latenciesMs, seen: _, ...counts }]) => ({
        sink,
        fields: { ...counts, ...percentiles(latenciesMs) },
      }))
      tallies.clear()
      return taken
    },
  }
}

/** Every latency has the same chance to be kept (reservoir sampling, algorithm R). */
function sample(tally: Tally, latencyMs: number): void {
  tally.seen++
  if (tally.latenciesMs.length < kept) {
    tally.latenciesMs.push(latencyMs)
    return
  }
  const index = Math.floor(Math.random() * tally.seen)
  if (index < kept) tally.latenciesMs[index] = latencyMs
}

/** From commit (or the due time) to the answer. */
function percentiles(latenciesMs: readonly number[]): Readonly<Record<string, number>> {
  if (latenciesMs.length === 0) return {}
  const sorted = latenciesMs.toSorted((a, b) => a - b)
  const at = (part: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0)
  return { p50_ms: at(0.5), p95_ms: at(0.95) }
}
