import { attempt, type Ended } from './attempt.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { Queue } from './slots.ts'

/** An attempt that failed, with what waits behind it. */
export interface Failure {
  readonly result: Result
  readonly rest: Carried[]
  readonly charged: boolean
}

/** An attempt that has begun and not ended. */
export interface InFlight {
  startedAt: number
  /** What waits for it. */
  rest(): readonly Carried[]
}

/** Events that are carried together, and what has become of them so far. */
export class Carrying {
  readonly lane: Lane
  readonly queue: Queue = new Queue()
  readonly finished: Result[] = []
  readonly spared: Result[] = []
  /** Failed, with what comes behind them. */
  readonly failed: Failure[] = []
  readonly blocked: Carried[] = []
  readonly unstarted: Carried[] = []
  readonly inFlight: Map<Carried, InFlight> = new Map()
  /** Events that wait for a slot. */
  waiting = 0
  /** Nobody waits for what ends from here on: it is left to be settled with another page. */
  isOver = false
  readonly #relay: string

  constructor(lane: Lane, relay: string) {
    this.lane = lane
    this.#relay = relay
  }

  /** A slot: true when there is one at once, false when nothing starts any more; else null, and `go` is told. */
  takeSlot(go: (started: boolean) => void): boolean | null {
    this.waiting++
    const taken = this.lane.route.slots.take(this.queue, (started) => {
      this.waiting--
      go(started)
    })
    if (taken !== null) this.waiting--
    return taken
  }

  /** One attempt, from its slot to its end. */
  try(carried: Carried, inFlight: InFlight, onEnd: (ended: Ended | null) => void, onUndelivered: (() => void) | undefined): void {
    inFlight.startedAt = performance.now()
    this.inFlight.set(carried, inFlight)
    attempt(this.lane, this.#relay, carried, (ended) => this.#ended(carried, ended, onEnd), onUndelivered)
  }

  #ended(carried: Carried, ended: Ended | null, onEnd: (ended: Ended | null) => void): void {
    const { slots, circuit } = this.lane.route
    this.inFlight.delete(carried)
    slots.give()
    if (ended === null || ended.result.outcome.kind === 'expired') circuit.unused()
    if (circuit.shut) this.queue.close()
    if (!this.isOver) return onEnd(ended)
    // Parked meanwhile: its row is there, and what is behind it waits in deliveries.
    if (ended !== null) this.lane.late.push(ended.spared ? asSpared(ended.result) : ended.result)
    this.lane.parked.delete(carried.position)
    this.lane.bell.ring()
  }
}

/** It came too late to stay in the log: its row waits on, and has paid nothing. */
function asSpared(result: Result): Result {
  const { outcome } = result
  return outcome.kind === 'retry' || outcome.kind === 'throttled' || outcome.kind === 'gone'
    ? { ...result, verdict: { kind: 'retry', delayMs: 0, counts: false, error: outcome.error } }
    : result
}

/** True when later events of the key must wait behind this one. */
export function isInTheWay({ verdict }: Result, lane: Lane): boolean {
  return verdict.kind === 'retry' || (verdict.kind === 'dead' && lane.route.onDead === 'block')
}

/** Dead, and perhaps not by its own fault: what is behind it, and may pass it, waits until that is known. */
export function isInDoubt({ outcome, verdict }: Result): boolean {
  return verdict.kind === 'dead' && outcome.kind === 'retry' && outcome.scope !== 'event'
}
