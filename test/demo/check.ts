import type { Written } from './diary.ts'
import type { Received } from './inbox.ts'

/** What the comparison says; everything counts events. */
export interface Findings {
  /** Different events that were taken. */
  readonly delivered: number
  /** Committed and never taken. */
  readonly lost: number
  /** Taken and never committed. */
  readonly phantom: number
  /** Taken after a later event of their order, by the service's diary or by the place in the log. */
  readonly outOfOrder: number
  /** From just before COMMIT to the request that was taken. */
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Compares what the service has committed with what the receiver has taken, each in the order of its own record. Pure. */
export function check(committed: readonly Written[], received: readonly Received[]): Findings {
  const truth = new Map(committed.map((written) => [written.id, written]))
  const taken = new Set<string>()
  const last = new Map<number, { readonly place: number; readonly sequence: string }>()
  const latencies: number[] = []
  let phantom = 0
  let outOfOrder = 0
  for (const { id, sequence, atMs } of received) {
    taken.add(id)
    const written = truth.get(id)
    if (written === undefined) {
      phantom++
      continue
    }
    latencies.push(Math.max(0, atMs - written.committingMs))
    const before = last.get(written.orderId)
    if (before !== undefined && (written.place < before.place || sequence < before.sequence)) outOfOrder++
    else last.set(written.orderId, { place: written.place, sequence })
  }
  const lost = committed.reduce((count, { id }) => count + (taken.has(id) ? 0 : 1), 0)
  return {
    delivered: taken.size,
    lost,
    phantom,
    outOfOrder,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
  }
}

/** The smallest value that this share of all does not exceed, to a tenth; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0) * 10) / 10
}
