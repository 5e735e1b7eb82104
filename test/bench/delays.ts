import { setTimeout as sleep } from 'node:timers/promises'
import type { Written } from './pace.ts'
import { percentilesOf } from './percentiles.ts'
import type { Figures } from './rounds.ts'

/** From commit to receipt, event by event in the order of their numbers, in ms. @throws when one has not come in time */
export async function delaysOf(
  { from, to, committedAt }: Pick<Written, 'from' | 'to' | 'committedAt'>,
  receipts: (from: number, to: number) => Promise<Float64Array>,
  deadlineMs = 60_000,
): Promise<Float64Array> {
  for (const end = performance.now() + deadlineMs; ; await sleep(20)) {
    const received = await receipts(from, to)
    const missing = received.reduce((count, at) => count + (at === 0 ? 1 : 0), 0)
    if (missing === 0) return received.map((at, index) => at - committedAt[index]!)
    if (performance.now() > end) throw new Error(`${missing} of ${to - from} events have not come within ${deadlineMs} ms`)
  }
}

export function figuresOfDelays(delays: Float64Array): Figures {
  const { p50, p95, p99, max } = percentilesOf(delays)
  return { 'p50 ms': p50, 'p95 ms': p95, 'p99 ms': p99, 'max ms': max }
}

/** The delays of each part of the time, by when their events were committed. */
export function partsOf({ beganAt, committedAt }: Written, delays: Float64Array, seconds: number, parts: number): number[][] {
  const parted: number[][] = Array.from({ length: parts }, () => [])
  for (const [index, at] of committedAt.entries()) {
    const part = Math.min(parts - 1, Math.floor((parts * (at - beganAt)) / (1_000 * seconds)))
    parted[part]?.push(delays[index]!)
  }
  return parted
}
