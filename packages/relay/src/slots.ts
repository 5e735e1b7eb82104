import { Line } from './line.ts'
import type { Bell } from './wait.ts'

/**
 * Who waits for a slot. A page gives up all its waiters at once, when it starts no more events.
 */
export class Queue {
  /** Those who wait, in order; told whether they may start. */
  readonly waiters: Set<(started: boolean) => void> = new Set()
  closed = false

  /** Nothing of this queue starts any more; those who wait are told so. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const wake of this.waiters) wake(false)
    this.waiters.clear()
  }
}

interface Waiter {
  readonly queue: Queue
  readonly wake: (started: boolean) => void
}

/** Why nothing may start: the state of the sink (paused, gone, …), or its circuit. */
type Shut = 'state' | 'circuit'

/** How full the bucket of a rate can get, in seconds: an idle sink may begin this much at once. */
const burstSeconds = 0.1

/**
 * The deliveries that a sink may have in flight in this relay: its share of the limits of the sink, its quiet times, and
 * whether anything may start at all. There is no other door to a destination.
 */
export class Slots {
  #concurrency: number
  #perSecond: number
  /** The part of the sink's lanes that this relay holds: so much of its limits is ours. */
  #share = 1
  /** In flight at most: our part of the concurrency. */
  #most: number
  #used = 0
  #tokens = 1
  #filledAt = performance.now()
  #quietUntil = 0
  /** In flight at most while a destination is being loaded anew; and successes until it is twice as many. */
  #ramp = Infinity
  #rampLeft = 0
  /** May start although the circuit does not let anything through: the probe. */
  #permitted = 0
  readonly #shut = new Set<Shut>()
  #timer: NodeJS.Timeout | undefined
  readonly #waiting = new Line<Waiter>()
  readonly #vacancy = new Set<Bell>()

  /** @param perSecond deliveries begun in a second at most; Infinity for no limit */
  constructor(concurrency: number, perSecond: number = Infinity) {
    this.#concurrency = concurrency
    this.#perSecond = perSecond
    this.#most = Math.max(1, concurrency)
  }

  /** Something could start. */
  get open(): boolean {
    return this.#startsInMs() === 0
  }

  /** Nothing but the circuit keeps it shut. */
  get shutByCircuit(): boolean {
    return this.#shut.has('circuit') && this.#shut.size === 1
  }

  /** How many could be started within this time, should each end at once. */
  within(ms: number): number {
    return this.#rate === Infinity ? Infinity : Math.ceil(this.#tokens + (this.#rate * ms) / 1_000)
  }

  /**
   * A slot: true when there is one at once, false when the queue was closed before. Else null, and `wake` is called once, at
   * the earliest within this call: with true when there is one, with false when the queue is closed. First come, first served.
   */
  take(queue: Queue, wake: (started: boolean) => void): boolean | null {
    if (queue.closed) return false
    if (this.#waiting.length === 0 && this.open) {
      this.#start()
      return true
    }
    queue.waiters.add(wake)
    this.#waiting.push({ queue, wake })
    // Not before it stands in the line: what is due now may be its own. When all are taken, the next that is given back tells.
    if (this.#startsInMs() !== Infinity) this.#admitLater()
    return null
  }

  give(): void {
    this.#used--
    this.#admit()
  }

  /** The limits of the sink as they are now. */
  limit(concurrency: number, perSecond: number): void {
    if (concurrency === this.#concurrency && perSecond === this.#perSecond) return
    this.#fill()
    this.#concurrency = concurrency
    this.#perSecond = perSecond
    this.#reckon()
  }

  /** The part of the sink's lanes that this relay holds, 0 to 1. */
  share(share: number): void {
    this.#fill()
    this.#share = share
    this.#reckon()
  }

  #reckon(): void {
    this.#most = Math.max(1, Math.floor(this.#concurrency * this.#share))
    this.#admit()
  }

  /** Nothing starts until this is opened again; what is in flight goes on. */
  shut(why: Shut): void {
    if (why === 'circuit') this.#permitted = 0
    this.#shut.add(why)
  }

  reopen(why: Shut): void {
    if (why === 'circuit') this.#permitted = 0
    if (this.#shut.delete(why)) this.#admit()
  }

  /** One may start although the circuit is open. */
  permitOne(): void {
    this.#permitted = 1
    this.#admit()
  }

  /** That one has not started yet. */
  get permitted(): boolean {
    return this.#permitted > 0 && this.shutByCircuit
  }

  /** How much longer the destination is to be left in peace, because it asked for that. */
  get quietMs(): number {
    return this.#quietUntil === 0 ? 0 : Math.max(0, this.#quietUntil - performance.now())
  }

  /** Nothing starts for this long; what is in flight goes on. */
  quiet(ms: number): void {
    this.#quietUntil = Math.max(this.#quietUntil, performance.now() + ms)
    this.#admitLater()
  }

  /** It is another destination now, or somebody knows better. */
  endQuiet(): void {
    this.#quietUntil = 0
    this.#admit()
  }

  /** The destination has recovered, or found it too much: few at first, and twice as many after as many successes. */
  rampFrom(first: number): void {
    this.#ramp = Math.max(1, Math.min(first, this.#ramp))
    this.#rampLeft = this.#ramp
  }

  /** The destination took one. */
  succeeded(): void {
    if (this.#ramp === Infinity || --this.#rampLeft > 0) return
    this.#ramp *= 2
    this.#rampLeft = this.#ramp
    if (this.#ramp >= this.#concurrency) this.#ramp = Infinity
    this.#admit()
  }

  /** Half of what may be in flight now. */
  get half(): number {
    return Math.floor(Math.min(this.#most, this.#ramp) / 2)
  }

  /** Waits until something could start, this time has passed, or the bell of this lane rings. */
  async vacancy(lane: { readonly bell: Bell; readonly released: AbortSignal }, ms: number): Promise<void> {
    this.#vacancy.add(lane.bell)
    this.#admitLater()
    await lane.bell.wait(ms, lane.released)
    this.#vacancy.delete(lane.bell)
  }

  /** Whoever waits for a vacancy looks again. */
  nudge(): void {
    for (const bell of this.#vacancy) bell.ring()
  }

  get #rate(): number {
    return this.#perSecond === Infinity ? Infinity : this.#perSecond * this.#share
  }

  /** 0: now. Infinity: not before something else happens. */
  #startsInMs(): number {
    if (this.permitted) return 0
    if (this.#used >= this.#most || this.#used >= this.#ramp || this.#shut.size > 0) return Infinity
    if (this.#perSecond === Infinity) return this.quietMs
    this.#fill()
    const tokenMs = this.#tokens >= 1 ? 0 : ((1 - this.#tokens) / this.#rate) * 1_000
    return Math.max(this.quietMs, tokenMs)
  }

  #start(): void {
    if (this.shutByCircuit) this.#permitted = 0
    if (this.#rate !== Infinity) this.#tokens--
    this.#used++
  }

  #fill(): void {
    const now = performance.now()
    const rate = this.#rate
    this.#tokens =
      rate === Infinity ? 1 : Math.min(Math.max(1, rate * burstSeconds), this.#tokens + (rate * (now - this.#filledAt)) / 1_000)
    this.#filledAt = now
  }

  #admitLater(): void {
    clearTimeout(this.#timer)
    const rest = this.#startsInMs()
    if (rest === 0) return this.#admit()
    if (rest === Infinity) return
    // A timer may fire a little early, and then has to be set again.
    this.#timer = setTimeout(() => this.#admitLater(), Math.min(Math.ceil(rest), 2_147_483_647))
    this.#timer.unref()
  }

  #admit(): void {
    while (this.open) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      if (next.queue.closed) continue
      next.queue.waiters.delete(next.wake)
      this.#start()
      next.wake(true)
    }
    // All of them: one that finds nothing to carry does not pass its turn on.
    if (this.open) this.nudge()
    else if (this.#waiting.length + this.#vacancy.size > 0 && this.#startsInMs() !== Infinity) this.#admitLater()
  }
}
