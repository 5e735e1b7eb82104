/** What goes wrong, and when. */
import type { ErrorName } from './state.ts'

export type Fault =
  /** The records are written, and the connection closes without an answer. */
  | { readonly do: 'drop-ack' }
  /** The records are written, and an error is answered. */
  | { readonly do: 'write-then-error'; readonly error: ErrorName }
  /** Nothing is written, and an error is answered. */
  | { readonly do: 'error'; readonly error: ErrorName }
  /** The leader moves just before the request is looked at; to the next node, unless one is named. */
  | { readonly do: 'move-leader'; readonly to?: number }
  /** The topic is deleted just before the request is looked at. */
  | { readonly do: 'delete-topic' }
  /** The answer comes late. */
  | { readonly do: 'delay'; readonly ms: number }
  /** The connection closes before anything is done. */
  | { readonly do: 'close' }
  /** Nothing is done and nothing is answered; the connection stays open. */
  | { readonly do: 'hang' }

export type Api = 'ApiVersions' | 'Metadata' | 'InitProducerId' | 'Produce' | 'ListOffsets' | 'Fetch'

/** Where a fault may strike: in a request of a node, and for requests that name partitions, once for each of them. */
export interface Spot {
  readonly api: Api
  readonly node: number
  readonly topic?: string
  readonly partition?: number
}

export interface Rule {
  /** All that is named must be equal. Default: any produce request. */
  readonly when?: Partial<Spot>
  /** How often. Default 1. */
  readonly times?: number
  readonly fault: Fault
}

export class Faults {
  private rules: { readonly when: Partial<Spot>; left: number; readonly fault: Fault }[] = []
  private random: ((spot: Spot) => Fault | undefined) | undefined

  /** Adds a rule; of several that fit, the oldest strikes. */
  add({ when = {}, times = 1, fault }: Rule): void {
    this.rules.push({ when: { api: 'Produce', ...when }, left: times, fault })
  }

  /** Strikes a share of the produce requests with faults drawn by a seeded generator: equal seeds draw alike. */
  addRandom(seed: number, rate: number, kinds: readonly Fault[]): void {
    const random = seeded(seed)
    this.random = ({ api }) => {
      if (api !== 'Produce' || random() >= rate) return undefined
      return kinds[Math.floor(random() * kinds.length)]
    }
  }

  /** From here on all goes well. */
  clear(): void {
    this.rules = []
    this.random = undefined
  }

  next(spot: Spot): Fault | undefined {
    const rule = this.rules.find(
      ({ when, left }) => left > 0 && Object.entries(when).every(([name, value]) => spot[name as keyof Spot] === value),
    )
    if (rule === undefined) return this.random?.(spot)
    rule.left--
    return rule.fault
  }
}

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
