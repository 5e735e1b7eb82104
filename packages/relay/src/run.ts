import { expiryOf, type Ended } from './attempt.ts'
import { isInDoubt, isInTheWay, type Carrying, type Failure } from './carrying.ts'
import type { Carried } from './lane.ts'

const nothing = (): readonly Carried[] => []

/** Events of a key on their way to a sink that keeps their order by itself: handed over without waiting for one another. */
export class Run {
  readonly #carrying: Carrying
  readonly #events: readonly Carried[]
  readonly #onOver: () => void
  #index = 0
  /** Handed over, and not ended. */
  #inFlight = 0
  /** Nothing more of the key is handed over. */
  #isBroken = false
  #failure: Failure | null = null
  /** Handed over and not sent, or never handed over. */
  readonly #left: Carried[] = []

  /** @param onOver nothing of it is under way any more; not called when the page ends before */
  constructor(carrying: Carrying, events: readonly Carried[], onOver: () => void) {
    this.#carrying = carrying
    this.#events = events
    this.#onOver = onOver
  }

  /** Hands over one event after the other. */
  go(): void {
    for (; this.#index < this.#events.length; this.#index++) {
      const carried = this.#carried
      if (this.#isBroken) {
        this.#left.push(carried)
        continue
      }
      const over = expiryOf(carried)
      if (over !== null) {
        this.#carrying.finished.push(over)
        continue
      }
      const started = this.#carrying.takeSlot((later) => this.#goOnSoon(later))
      if (started === null) return
      this.#start(carried, started)
    }
    this.#endIfOver()
  }

  /**
   * A slot is given back in the middle of the answers to a batch. All that were given in the same turn are heard first: one of
   * them may say that nothing of the key may follow.
   */
  #goOnSoon(started: boolean): void {
    if (!started) return this.#goOn(false)
    setImmediate(() => {
      if (!this.#carrying.isOver) return this.#goOn(true)
      const { slots, circuit } = this.#carrying.lane.route
      slots.give()
      circuit.unused()
    })
  }

  #goOn(started: boolean): void {
    const { slots, circuit } = this.#carrying.lane.route
    const isTooLate = started && this.#isBroken
    this.#start(this.#carried, started && !isTooLate)
    this.#index++
    if (isTooLate) {
      slots.give()
      circuit.unused()
    }
    this.go()
  }

  get #carried(): Carried {
    const carried = this.#events[this.#index]
    if (carried === undefined) throw new RangeError('a run was carried beyond its end')
    return carried
  }

  #start(carried: Carried, started: boolean): void {
    if (!started) {
      this.#isBroken = true
      this.#left.push(carried)
      return
    }
    this.#inFlight++
    this.#carrying.try(
      carried,
      { startedAt: 0, rest: nothing },
      (ended) => this.#ended(carried, ended),
      // A slot that is given back must not be taken by one that comes behind.
      () => (this.#isBroken = true),
    )
  }

  #ended(carried: Carried, ended: Ended | null): void {
    const { lane, finished, spared, failed } = this.#carrying
    this.#inFlight--
    if (ended === null) {
      this.#isBroken = true
      this.#left.push(carried)
    } else if (ended.spared) {
      spared.push(ended.result)
      this.#left.push(carried)
    } else if (isInTheWay(ended.result, lane) || (!ended.charged && isInDoubt(ended.result))) {
      // A second one of the key is the fault of the sink: it waits behind the first.
      const failure: Failure = { result: ended.result, rest: [], charged: ended.charged }
      this.#failure ??= failure
      failed.push(failure)
    } else finished.push(ended.result)
    this.#endIfOver()
  }

  #endIfOver(): void {
    if (this.#inFlight === 0 && this.#index === this.#events.length) this.#onOver()
  }

  /** The page ends: says what becomes of what was left. */
  close(): void {
    // What was to go on in a moment stays.
    const left = [...this.#left, ...this.#events.slice(this.#index)].sort((a, b) => (a.position < b.position ? -1 : 1))
    if (this.#failure !== null) this.#failure.rest.push(...left)
    else if (this.#inFlight > 0) this.#carrying.blocked.push(...left)
    else this.#carrying.unstarted.push(...left)
  }
}
