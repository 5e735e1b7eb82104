import type { Arrival } from './recorder.ts'

/** What became of the order. */
export interface Verdict {
  /** Keys of which a job came before the one in front of it had been accepted. */
  readonly brokenKeys: number
  readonly missing: number
  /** Accepted once more: at least once is allowed, order is judged by the first time. */
  readonly repeats: number
}

export function judge(arrivals: readonly Arrival[], keys: readonly string[], jobsOfKey: number): Verdict {
  let [brokenKeys, missing, repeats] = [0, 0, 0]
  for (const key of keys) {
    const ofKey = arrivals.filter((arrival) => arrival.key === key)
    let isBroken = false
    let before = -Infinity
    for (let n = 1; n <= jobsOfKey; n++) {
      const all = ofKey.filter((arrival) => arrival.n === n)
      const taken = all.filter(({ accepted }) => accepted)
      if (all.some(({ cameAt }) => cameAt < before)) isBroken = true
      if (taken.length === 0) missing++
      else repeats += taken.length - 1
      before = Math.min(Infinity, ...taken.map(({ answeredAt }) => answeredAt))
    }
    if (isBroken) brokenKeys++
  }
  return { brokenKeys, missing, repeats }
}
