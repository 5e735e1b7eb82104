import type { Bell } from './wait.ts'

/**
 * Who waits for a slot. A page gives up all its waiters at once, when it starts no more events.
 */
export class Queue {
  readonly waiters: Set<() => void> = new Set()
  closed = false

  /** Nothing of this queue starts any more; those who wait are told so. */
  close(): void {
    this.closed = true
    for (const wake of this.waiters) wake()
    this.waiters.clear()
  }
}

/**
 * The deliveries that a sink may have in flight in this relay, and its quiet times:
 * a destination that asked for a pause gets nothing until it is over.
 */
export class Slots {
  readonly #size: number
  #used = 0
  #quietUntil = 0
  #quietTimer: NodeJS.Timeout | undefined
  readonly #waiting: { readonly queue: Queue; readonly wake: () => void }[] = []
  readonly #vacancy = new Set<Bell>()

  constructor(size: number) {
    this.#size = size
  }

  /** Something could start. */
  get open(): boolean {
    return this.#used < this.#size && performance.now() >= this.#quietUntil
  }

  /** A slot, as soon as there is one; false when the queue was closed before. First come, first served. */
  take(queue: Queue): boolean | Promise<boolean> {
    if (queue.closed) return false
    if (this.open && this.#waiting.length === 0) {
      this.#used++
      return true
    }
    return new Promise((resolve) => {
      const wake = (): void => resolve(!queue.closed)
      queue.waiters.add(wake)
      this.#waiting.push({ queue, wake })
    })
  }

  give(): void {
    this.#used--
    this.#admit()
  }

  /** Nothing starts for this long; what is in flight goes on. */
  quiet(ms: number): void {
    this.#quietUntil = Math.max(this.#quietUntil, performance.now() + ms)
    this.#admitLater()
  }

  #admitLater(): void {
    clearTimeout(this.#quietTimer)
    const rest = this.#quietUntil - performance.now()
    if (rest <= 0) return this.#admit()
    // A timer may fire a little early, and then has to be set again.
    this.#quietTimer = setTimeout(() => this.#admitLater(), Math.min(Math.ceil(rest), 2_147_483_647))
    this.#quietTimer.unref()
  }

  /** Waits until something could start, or the bell of this lane rings. */
  async vacancy(lane: { readonly bell: Bell; readonly released: AbortSignal }): Promise<void> {
    this.#vacancy.add(lane.bell)
    await lane.bell.wait(Infinity, lane.released)
    this.#vacancy.delete(lane.bell)
  }

  #admit(): void {
    while (this.open) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      if (next.queue.closed) continue
      next.queue.waiters.delete(next.wake)
      this.#used++
      next.wake()
    }
    // All of them: one that finds nothing to carry does not pass its turn on.
    if (this.open) for (const bell of this.#vacancy) bell.ring()
  }
}
