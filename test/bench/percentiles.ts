/** Times of many calls, in ms. */
export interface Percentiles {
  readonly calls: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export function percentilesOf(times: ArrayLike<number>): Percentiles {
  const sorted = Float64Array.from(times).sort()
  const at = (share: number): number =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN)
  return { calls: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: at(1) }
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100
}
