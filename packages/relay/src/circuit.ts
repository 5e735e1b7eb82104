import { sql } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'
import type { Verdict } from './judge.ts'
import type { Carried, Result } from './lane.ts'
import type { CircuitPolicy } from './options.ts'
import type { DeliveryError, Answer } from './sink.ts'
import type { Slots } from './slots.ts'
import { Bell } from './wait.ts'

/** What the database knows of a circuit. */
export interface CircuitRow {
  readonly state: 'closed' | 'open' | 'half_open'
  /** Until it may be probed, or until the right of the probing relay ends. */
  readonly in_ms: number | null
}

/** An event is spared this often; then it pays, so that one that fails by itself cannot be the probe for ever. */
const sparedTimes = 3
/** A destination that says that it is gone is asked again after this time. */
const goneRecheckMs = 5 * 60_000
/** So long a failure waits for others, or for a success, to tell whose it was. */
const doubtMs = 1_000
/** A destination that took something so short a time ago is up. */
const aliveMs = 1_000
/** When fewer different events than the policy asks for can fail, because the others wait behind them: so many will do. */
const leastEvents = 3
/** When another relay was quicker with the probe, or its right to probe has ended unused. */
const askAgainMs = 1_000
/** After it was closed, a failure before so many successes opens it again at once. */
const trialSuccesses = 3

type Change =
  | { readonly kind: 'open'; readonly error: DeliveryError; readonly failures: number }
  | { readonly kind: 'gone'; readonly error: DeliveryError }
  | { readonly kind: 'close' }

/**
 * The circuit of a sink, as this relay sees it; the truth is in `postrider.circuits`, for all relays.
 *
 * It opens when so many *different* events have failed in a row (or a few have, so often in all): one event that fails
 * again and again says nothing about its destination. While it is open nothing is sent. Then one relay sends one real event, and by its result the circuit
 * closes, and the destination is loaded step by step; or it stays open for twice as long.
 *
 * A failure that belongs to an outage is not charged to its event: the event is *spared*, and stays in the log as it was.
 */
export class Circuit {
  readonly #sink: string
  readonly #slots: Slots
  readonly #policy: CircuitPolicy | null
  readonly #changed: () => void
  #state: 'closed' | 'open' | 'half_open' = 'closed'
  #probeAt = 0
  /** Successes that are missing until the destination is trusted again. */
  #onTrial = 0
  /** Different events that failed since the last success, and how often in all. */
  readonly #failed = new Set<bigint>()
  #failures = 0
  #answeredAt = -Infinity
  /** Rung when it is known whose the failures are. */
  readonly #judged = new Set<Bell>()
  readonly #spared = new Map<bigint, number>()
  #unsaved: Change | null = null
  #quietMs = 0

  /** @param changed there is something to save */
  constructor(sink: string, slots: Slots, policy: CircuitPolicy | null, changed: () => void) {
    this.#sink = sink
    this.#slots = slots
    this.#policy = policy
    this.#changed = changed
  }

  /** Nothing is sent but probes. */
  get shut(): boolean {
    return this.#state !== 'closed'
  }

  /** How long until a probe may be asked for, in ms; 0 is now. */
  get probeInMs(): number {
    if (this.#state === 'closed' || !this.#slots.shutByCircuit) return Infinity
    return Math.max(0, this.#probeAt - performance.now(), this.#slots.quietMs)
  }

  /**
   * Takes in what came of an attempt. Answers whether the event is spared: it was not its fault, and it stays where it was.
   * @param now by `performance.now()`
   */
  heard(carried: Carried, outcome: Answer, verdict: Verdict, now: number): boolean {
    switch (outcome.kind) {
      case 'delivered':
      case 'reject':
        this.#answered(now)
        if (this.#spared.size > 0) this.#spared.delete(carried.position)
        return false
      case 'throttled':
        this.#answered(now)
        this.#slots.rampFrom(this.#slots.half)
        this.#slots.quiet(outcome.afterMs)
        this.#quietMs = Math.max(this.#quietMs, outcome.afterMs)
        this.#changed()
        return verdict.kind === 'retry' && this.#spare(carried)
      case 'gone':
        this.#opened(outcome.error, goneRecheckMs)
        this.#save({ kind: 'gone', error: outcome.error })
        return true
      case 'retry':
        if (outcome.scope === 'event' || outcome.error.code === 'interrupted') {
          if (outcome.scope === 'event') this.#answered(now)
          return false
        }
        return this.#failedBy(carried, outcome.error)
    }
  }

  /** A failure that was charged, of a page that has not been settled: since then the circuit has opened. */
  spareLater({ carried, outcome }: Result): boolean {
    return this.shut && outcome.kind === 'retry' && outcome.scope !== 'event' && this.#spare(carried)
  }

  /** Waits a moment, after failures, until it is known whether the destination is down, or takes other events. */
  async judged(signal: AbortSignal): Promise<void> {
    const now = performance.now()
    if (this.#policy === null || this.shut || this.#failed.size === 0 || now - this.#answeredAt < aliveMs) return
    const bell = new Bell()
    this.#judged.add(bell)
    await bell.wait(doubtMs, signal)
    this.#judged.delete(bell)
  }

  #tellJudged(): void {
    for (const bell of this.#judged) bell.ring()
  }

  #failedBy(carried: Carried, error: DeliveryError): boolean {
    if (this.#policy === null) return false
    this.#failed.add(carried.position)
    this.#failures++
    if (this.#state === 'closed') {
      const enough = this.#onTrial > 0 ? 1 : this.#policy.failures
      if (this.#failed.size < enough && (this.#failed.size < leastEvents || this.#failures < enough)) return false
      this.#opened(error, this.#policy.openMs)
      this.#save({ kind: 'open', error, failures: this.#failed.size })
    } else if (this.#state === 'half_open') {
      this.#shutFor(this.#policy.openMs)
      this.#save({ kind: 'open', error, failures: 1 })
    }
    return this.#spare(carried)
  }

  #answered(now: number): void {
    if (this.#failed.size > 0) this.#failed.clear()
    this.#failures = 0
    this.#answeredAt = now
    if (this.#judged.size > 0) this.#tellJudged()
    this.#slots.succeeded()
    if (this.#onTrial > 0) this.#onTrial--
    if (this.#state === 'closed') return
    this.#close()
    this.#save({ kind: 'close' })
  }

  /** How often an event has failed with its destination and was not charged. */
  timesSpared({ position }: Carried): number {
    return this.#spared.get(position) ?? 0
  }

  #spare({ position }: Carried): boolean {
    const times = (this.#spared.get(position) ?? 0) + 1
    if (this.#spared.size >= 10_000) this.#spared.clear()
    if (times > sparedTimes) this.#spared.delete(position)
    else this.#spared.set(position, times)
    return times <= sparedTimes
  }

  #opened({ code, message }: DeliveryError, ms: number): void {
    if (this.#state === 'closed')
      publish('postrider:circuit', { sink: this.#sink, state: 'open', errorCode: code, error: message })
    this.#shutFor(ms)
  }

  #shutFor(ms: number): void {
    this.#state = 'open'
    this.#probeAt = performance.now() + ms
    this.#slots.shut('circuit')
    this.#tellJudged()
  }

  #close(): void {
    this.#state = 'closed'
    this.#onTrial = trialSuccesses
    this.#failed.clear()
    this.#slots.rampFrom(1)
    this.#slots.reopen('circuit')
    publish('postrider:circuit', { sink: this.#sink, state: 'closed', errorCode: null, error: null })
  }

  #save(change: Change): void {
    this.#unsaved = change
    this.#changed()
  }

  /** Asks to be the one relay that sends one real event to see. */
  async probe({ db, schema }: Database, relay: string, deadlineMs: number): Promise<boolean> {
    // Another event was to go, and did not.
    if (this.#state === 'half_open' && this.#slots.permitted) return true
    if (this.probeInMs > 0) return false
    this.#probeAt = performance.now() + askAgainMs
    if (this.#unsaved !== null) return false
    const { rows } = await sql<{ granted: boolean }>`
      select ${schema}.half_open_circuit(${this.#sink}, ${relay}, ${deadlineMs + 5_000}) as granted`.execute(db)
    if (rows[0]?.granted !== true || !this.shut) return false
    this.#state = 'half_open'
    this.#probeAt = performance.now() + deadlineMs + 5_000
    this.#slots.permitOne()
    publish('postrider:circuit', { sink: this.#sink, state: 'half_open', errorCode: null, error: null })
    return true
  }

  /** What had a slot was not sent after all. If it was to be the probe, another may be. */
  unused(): void {
    if (this.#state === 'half_open') this.#slots.permitOne()
  }

  /** Writes what has changed here, so that every relay goes by it. */
  async save({ db, schema }: Database, relay: string): Promise<void> {
    const quietMs = this.#quietMs
    if (quietMs > 0) {
      await sql`select ${schema}.quiet_sink(${this.#sink}, ${quietMs})`.execute(db)
      if (this.#quietMs === quietMs) this.#quietMs = 0
    }
    const change = this.#unsaved
    if (change === null) return
    if (change.kind === 'close') await sql`select ${schema}.close_circuit(${this.#sink})`.execute(db)
    else if (change.kind === 'gone') {
      await sql`select ${schema}.gone_sink(${this.#sink}, ${relay}, ${goneRecheckMs}, ${change.error.message})`.execute(db)
    } else {
      const { openMs, mostMs } = this.#policy ?? { openMs: 0, mostMs: 0 }
      await sql`select ${schema}.open_circuit(
        ${this.#sink}, ${relay}, ${openMs}, ${mostMs}, ${change.error.code}, ${change.error.message}, ${change.failures})`.execute(
        db,
      )
    }
    // What was heard meanwhile is another change.
    if (this.#unsaved === change) this.#unsaved = null
  }

  get unsaved(): boolean {
    return this.#unsaved !== null || this.#quietMs > 0
  }

  /** Takes over what the database knows; null when it never heard of trouble here. */
  apply(row: CircuitRow | null): void {
    if (this.#unsaved !== null) return
    if (row === null || row.state === 'closed') {
      if (this.#state !== 'closed') this.#close()
    } else if (this.#state !== 'half_open' || (row.state === 'open' && performance.now() >= this.#probeAt)) {
      // While the right to probe holds here, an open one was read before it was granted.
      this.#shutFor(Math.max(0, row.in_ms ?? 0))
      if (this.#probeAt <= performance.now()) this.#slots.nudge()
    }
  }
}
