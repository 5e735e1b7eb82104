import { Random } from './random.ts'
import type { Fault } from './fault.ts'

/** A time at which the fault strikes, and for how long. Milliseconds from the start of the writers. */
export interface Blow {
  readonly atMs: number
  readonly forMs: number
}

/** Everything about a run that its seed decides. The same seed, fault and length give the same plan. */
export interface Plan {
  readonly seed: number
  readonly fault: string
  readonly seconds: number
  /** Connections that write at the same time. */
  readonly writers: number
  readonly keys: number
  /** Pause of a writer between two transactions, on average, in ms. */
  readonly pauseMs: number
  readonly relays: number
  readonly lanes: number
  readonly pageSize: number
  readonly pageMs: number
  readonly slowMs: number
  readonly concurrency: number
  readonly blows: readonly Blow[]
}

/** What may be said about a plan, whatever its seed: for runs that are made smaller. */
export type Given = Partial<Pick<Plan, 'writers' | 'keys' | 'relays' | 'lanes' | 'pageSize' | 'concurrency'>> & {
  /** So many blows at most. */
  readonly blows?: number
}

/** Nothing strikes before the road works, and after the last blow there is time to see that it works again. */
const firstMs = 1_200
const restMs = 1_500

export function planOf(seed: number, fault: Fault, seconds: number, given: Given = {}): Plan {
  const random = randomOf(seed, fault.name).stream('plan')
  const drawn = {
    writers: random.int(2, 5),
    keys: random.int(3, 30),
    pauseMs: random.int(5, 18),
    relays: random.int(1, 3),
    lanes: random.int(1, 6),
    pageSize: random.pick([2, 5, 20, 50, 200]),
    pageMs: random.pick([50, 200, 1_000]),
    slowMs: random.pick([100, 300, 1_000]),
    concurrency: random.pick([4, 16, 32]),
  }
  const { blows: most, ...numbers } = given
  const plan = { ...drawn, ...numbers }
  for (const [name, [low, high]] of Object.entries(fault.limits ?? {})) {
    const what = name as keyof typeof plan
    plan[what] = Math.min(high, Math.max(low, plan[what]))
  }
  const blows = blowsOf(random, fault, seconds * 1_000)
  return { seed, fault: fault.name, seconds, ...plan, blows: blows.slice(0, most ?? blows.length) }
}

/** Chance of a run: each use of it takes its own stream. */
export function randomOf(seed: number, fault: string): Random {
  return new Random(`${seed}/${fault}`)
}

function blowsOf(random: Random, { blows, lastsMs, allBlows = false }: Fault, lengthMs: number): Blow[] {
  const found: Blow[] = []
  let from = firstMs
  while (found.length < blows) {
    const forMs = random.int(...lastsMs)
    const latest = lengthMs - restMs - forMs
    if (latest < from && !allBlows) break
    const atMs = random.int(from, from + Math.max(0, Math.floor((latest - from) / (blows - found.length))))
    found.push({ atMs, forMs })
    from = atMs + forMs + 400
  }
  // A short run has one at least: it begins at once, and the run lasts longer than it was asked to.
  return found.length > 0 || blows === 0 ? found : [{ atMs: firstMs, forMs: lastsMs[0] }]
}
