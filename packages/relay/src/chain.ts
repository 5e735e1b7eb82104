import { expiryOf, type Ended } from './attempt.ts'
import { isInDoubt, isInTheWay, type Carrying, type InFlight } from './carrying.ts'
import type { Carried } from './lane.ts'

/** Events of one key, carried one after the other. */
export class Chain implements InFlight {
  startedAt = 0
  readonly #carrying: Carrying
  readonly #events: readonly Carried[]
  readonly #onOver: () => void
  #index = 0

  /** @param onOver nothing of it is under way any more; not called when the page ends before */
  constructor(carrying: Carrying, events: readonly Carried[], onOver: () => void) {
    this.#carrying = carrying
    this.#events = events
    this.#onOver = onOver
  }

  rest(): readonly Carried[] {
    return this.#events.slice(this.#index + 1)
  }

  /** Carries the next event, and those behind it when it has ended. */
  go(): void {
    for (; this.#index < this.#events.length; this.#index++) {
      const carried = this.#carried
      const over = expiryOf(carried)
      if (over !== null) {
        this.#carrying.finished.push(over)
        continue
      }
      const started = this.#carrying.takeSlot((later) => (later ? this.#try() : this.#leave()))
      if (started === true) this.#try()
      else if (started === false) this.#leave()
      return
    }
    this.#onOver()
  }

  get #carried(): Carried {
    const carried = this.#events[this.#index]
    if (carried === undefined) throw new RangeError('a chain was carried beyond its end')
    return carried
  }

  #try(): void {
    this.#carrying.try(this.#carried, this, (ended) => this.#ended(ended), undefined)
  }

  #ended(ended: Ended | null): void {
    const { lane, finished, spared, failed } = this.#carrying
    if (ended === null) return this.#leave()
    const { result, charged } = ended
    if (ended.spared) {
      spared.push(result)
      return this.#leave()
    }
    if (isInTheWay(result, lane) || (!charged && isInDoubt(result))) {
      failed.push({ result, rest: [...this.rest()], charged })
      return this.#onOver()
    }
    finished.push(result)
    this.#index++
    this.go()
  }

  /** This one and those behind it stay where they are. */
  #leave(): void {
    this.#carrying.unstarted.push(this.#carried, ...this.rest())
    this.#onOver()
  }
}
