import type { Outcome } from '@postrider/relay'
import type { Item } from './item.ts'
import { behind } from './outcome.ts'

/** What is under way of a key. All of it goes one way; what goes another way waits until that is done. */
interface Course {
  readonly way: string
  readonly items: Set<Item>
  readonly waiting: Item[]
}

/**
 * Keeps the order of a key over all topics. The events of a key go out in the order in which they came; when one is not
 * delivered, those that came after it are not sent.
 */
export class KeyOrder {
  readonly #courses = new Map<string, Course>()
  /** Position of the event of a key that failed in this turn of the event loop: whoever called may not know it yet. */
  readonly #failed = new Map<string, bigint>()
  readonly #wayOf: (item: Item) => string
  readonly #start: (item: Item) => void

  /** @param wayOf two events of a key keep their order when they go the same way */
  constructor(wayOf: (item: Item) => string, start: (item: Item) => void) {
    this.#wayOf = wayOf
    this.#start = start
  }

  /** Starts it now, or when those before it are done. */
  add(item: Item): void {
    const { key, position } = item.attempt.event
    if (key === null) return this.#start(item)
    const failed = this.#failed.get(key)
    if (failed !== undefined && BigInt(position) > failed) return answer(item, behind)
    const course = this.#courses.get(key)
    if (course === undefined) return this.#begin(key, item, [])
    if (course.waiting.length === 0 && item.refusal === null && course.way === this.#wayOf(item)) {
      course.items.add(item)
      this.#start(item)
    } else course.waiting.push(item)
  }

  /** Answers an item, and what follows from that for those behind it. Once for each; later calls do nothing. */
  settle(item: Item, outcome: Outcome): void {
    if (item.settled) return
    answer(item, outcome)
    const { key } = item.attempt.event
    const course = key === null ? undefined : this.#courses.get(key)
    if (key === null || course === undefined) return
    if (outcome.kind !== 'delivered') return this.#broken(key, course, item)
    course.items.delete(item)
    if (course.items.size > 0) return
    this.#courses.delete(key)
    const next = course.waiting.shift()
    if (next !== undefined) this.#begin(key, next, course.waiting)
  }

  /** Keys that are under way now. */
  get size(): number {
    return this.#courses.size
  }

  #begin(key: string, first: Item, rest: Item[]): void {
    const course: Course = { way: this.#wayOf(first), items: new Set([first]), waiting: rest }
    this.#courses.set(key, course)
    this.#start(first)
    for (let [next] = rest; next !== undefined && this.#courses.get(key) === course; [next] = rest) {
      if (next.refusal !== null || this.#wayOf(next) !== course.way) return
      rest.shift()
      course.items.add(next)
      this.#start(next)
    }
  }

  /** Those before it go on, those behind it are not sent. */
  #broken(key: string, course: Course, item: Item): void {
    this.#fail(key, BigInt(item.attempt.event.position))
    const place = course.waiting.indexOf(item)
    const unsent = course.waiting.splice(Math.max(0, place))
    let after = place >= 0
    if (!after) {
      for (const other of course.items) {
        if (other === item) after = true
        // What the driver has now ends with the others of its batch.
        else if (after && !other.inFlight) unsent.push(other)
      }
      course.items.delete(item)
    }
    for (const other of unsent) {
      course.items.delete(other)
      answer(other, behind)
    }
    if (course.items.size === 0) this.#courses.delete(key)
  }

  #fail(key: string, position: bigint): void {
    if (this.#failed.size === 0) setImmediate(() => this.#failed.clear())
    const known = this.#failed.get(key)
    if (known === undefined || position < known) this.#failed.set(key, position)
  }
}

function answer(item: Item, outcome: Outcome): void {
  if (item.settled) return
  item.settled = true
  item.answer(outcome)
}
