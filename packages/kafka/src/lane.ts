import { setTimeout as delay } from 'node:timers/promises'
import type { Outcome } from '@postrider/relay'
import { failureOf } from './classify.ts'
import type { AppendFailure, Driver } from './driver.ts'
import type { Item } from './item.ts'
import { outcomeOf } from './outcome.ts'
import { batchOverhead } from './record-size.ts'
import type { StreamRecord } from './records.ts'
import type { Tail } from './tail.ts'

export interface LaneOptions {
  readonly topic: string
  readonly partition: number
  readonly batchRecords: number
  readonly lingerMs: number
  /** null: an event that may be there already is sent all the same. */
  readonly tail: Tail | null
  readonly settle: (item: Item, outcome: Outcome) => void
  /** Bytes of a batch; changes when more is known of the topic. */
  readonly batchBytes: () => number
  readonly limit: () => number | null
  /** The topic fails, not only this partition. */
  readonly topicFailed: (failure: AppendFailure) => void
  readonly signal: AbortSignal
}

/** Below this, nothing new is sent: the answer would come too late. */
const leastMs = 200
/** Of a batch whose producer was lost while it was not known what became of it. */
const uncertainTries = 3
const firstQuietMs = 1_000
const longestQuietMs = 30_000
/** Ids of which it is not known whether they were written: the oldest are given up. */
const suspectsKept = 100_000
const tailKeptMs = 60_000

/** One partition: what waits for it, in order, and the one batch that is being appended. */
export class PartitionLane {
  readonly #driver: Driver
  readonly #options: LaneOptions
  #queue: Item[] = []
  #running = false
  #failures = 0
  #quiet: { readonly until: number; readonly failure: AppendFailure } | null = null
  readonly #suspects = new Set<string>()
  #tailUsedAt = 0

  constructor(driver: Driver, options: LaneOptions) {
    this.#driver = driver
    this.#options = options
  }

  add(item: Item): void {
    if (this.#quiet !== null) {
      const left = this.#quiet.until - performance.now()
      if (left > 0) return this.#settle(item, outcomeOf(this.#quiet.failure, this.#where, Math.ceil(left)))
      this.#quiet = null
    }
    this.#queue.push(item)
    if (this.#running) return
    this.#running = true
    // Not at once: what is handed over in the same turn goes into the same batch.
    setImmediate(() => void this.#run())
  }

  /** Answers all that waits here. */
  fail(failure: AppendFailure, afterMs: number): void {
    const left = this.#queue
    this.#queue = []
    for (const item of left) this.#settle(item, outcomeOf(failure, this.#where, afterMs))
  }

  get #where(): { topic: string; partition: number } {
    return { topic: this.#options.topic, partition: this.#options.partition }
  }

  #settle(item: Item, outcome: Outcome): void {
    this.#options.settle(item, outcome)
  }

  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        if (this.#options.lingerMs > 0 && this.#queue.length < this.#options.batchRecords) await delay(this.#options.lingerMs)
        const batch = this.#take()
        if (batch.length > 0) await this.#send(batch)
      }
    } finally {
      this.#running = false
    }
  }

  /** The next batch, in order. */
  #take(): Item[] {
    const most = this.#options.batchBytes()
    const batch: Item[] = []
    let bytes = batchOverhead
    let taken = 0
    for (const item of this.#queue) {
      if (batch.length === this.#options.batchRecords || (batch.length > 0 && bytes + item.bytes > most)) break
      taken++
      if (item.settled) continue
      batch.push(item)
      bytes += item.bytes
    }
    this.#queue.splice(0, taken)
    return batch
  }

  async #send(items: readonly Item[]): Promise<void> {
    const { topic, partition, signal } = this.#options
    let left = items.filter((item) => !item.settled)
    // The same array is given to the driver again, as long as it holds the same records.
    let records = recordsOf(left)
    for (let tries = 1; left.length > 0; tries++) {
      const expiresAt = Math.min(...left.map((item) => item.expiresAt))
      for (const item of left) item.inFlight = true
      let failure: AppendFailure | null = null
      try {
        const unknown = await this.#withoutThoseThere(left)
        if (unknown.length < left.length) {
          left = unknown
          records = recordsOf(left)
          if (left.length === 0) return
        }
      } catch (error) {
        // What could not be read is no fault of a record.
        failure = { ...failureOf(error), written: 'no', retry: 'backoff' }
        if (failure.scope === 'record') failure = { ...failure, scope: 'partition' }
      }
      const restMs = expiresAt - performance.now()
      if (failure === null && restMs < leastMs) failure = late(topic, partition)
      if (failure === null) {
        const result = await this.#driver.append({ topic, partition, records }, signal, restMs)
        if (result.ok) return this.#delivered(left, result.baseOffset)
        failure = result
        if (failure.written === 'unknown') this.#suspect(left)
      }
      for (const item of left) item.inFlight = false
      if (
        failure.written === 'unknown' &&
        failure.retry === 'now' &&
        tries < uncertainTries &&
        expiresAt - performance.now() > leastMs
      )
        continue
      if (failure.scope === 'record') return await this.#bisect(left, failure)
      return this.#failed(left, failure)
    }
  }

  #delivered(items: readonly Item[], baseOffset: bigint): void {
    this.#failures = 0
    const { topic, partition } = this.#options
    for (const [index, item] of items.entries()) {
      item.inFlight = false
      if (this.#suspects.size > 0) this.#suspects.delete(item.attempt.event.id)
      this.#settle(item, { kind: 'delivered', appended: { topic, partition, offset: String(baseOffset + BigInt(index)) } })
    }
  }

  /** A record is at fault: halves are sent until it stands alone. What follows it of its key is answered as behind it. */
  async #bisect(items: readonly Item[], failure: AppendFailure): Promise<void> {
    const [only] = items
    if (items.length === 1 && only !== undefined) {
      const limit = this.#options.limit()
      const size = `${only.leastBytes} bytes${limit === null ? '' : `, the limit of the topic is ${limit}`}`
      this.#settle(only, outcomeOf({ ...failure, message: `${failure.message} (${size})` }, this.#where, 0))
      return
    }
    const half = Math.ceil(items.length / 2)
    await this.#send(items.slice(0, half))
    await this.#send(items.slice(half))
  }

  #failed(items: readonly Item[], failure: AppendFailure): void {
    const afterMs = Math.min(longestQuietMs, firstQuietMs * 2 ** this.#failures) * (0.75 + Math.random() / 2)
    if (failure.scope === 'partition') {
      // Once may be chance. After that what comes is answered at once, and does not wait for the same.
      if (this.#failures > 0) this.#quiet = { until: performance.now() + afterMs, failure }
      this.#failures = Math.min(10, this.#failures + 1)
    }
    for (const item of items) this.#settle(item, outcomeOf(failure, this.#where, Math.ceil(afterMs)))
    // What waits behind has waited as long, and the cause is the same.
    this.fail(failure, Math.ceil(afterMs))
    if (failure.scope !== 'topic') return
    // It may be another by now.
    this.#options.tail?.forget()
    this.#options.topicFailed(failure)
  }

  #suspect(items: readonly Item[]): void {
    if (this.#options.tail === null) return
    // One that is sent once more by an operator stands there already, and is to stand there again.
    for (const { attempt } of items) if (attempt.replay === undefined) this.#suspects.add(attempt.event.id)
    for (const oldest of this.#suspects) {
      if (this.#suspects.size <= suspectsKept) break
      this.#suspects.delete(oldest)
    }
  }

  /** Answers those that are in the partition already, and returns the others. */
  async #withoutThoseThere(items: Item[]): Promise<Item[]> {
    const { tail, topic, partition, signal } = this.#options
    if (tail === null) return items
    const doubtful = items.filter(
      ({ attempt }) => attempt.replay === undefined && (attempt.doubtful === true || this.#suspects.has(attempt.event.id)),
    )
    if (doubtful.length === 0) {
      if (this.#suspects.size === 0 && performance.now() - this.#tailUsedAt > tailKeptMs) tail.forget()
      return items
    }
    await tail.refresh(signal)
    this.#tailUsedAt = performance.now()
    const there = new Map<Item, bigint>()
    for (const item of doubtful) {
      const { id } = item.attempt.event
      const offset = tail.offsetOf(id)
      if (offset === null) continue
      there.set(item, offset)
      this.#suspects.delete(id)
    }
    // In order, and before others are sent: an earlier one of a key is never left behind a later one.
    const rest: Item[] = []
    for (const item of items) {
      const offset = there.get(item)
      if (offset === undefined) {
        rest.push(item)
        continue
      }
      item.inFlight = false
      this.#settle(item, { kind: 'delivered', appended: { topic, partition, offset: String(offset) } })
    }
    return rest
  }
}

function recordsOf(items: readonly Item[]): StreamRecord[] {
  return items.flatMap(({ record }) => record ?? [])
}

function late(topic: string, partition: number): AppendFailure {
  return {
    ok: false,
    written: 'no',
    retry: 'backoff',
    scope: 'partition',
    code: 'NO_ANSWER',
    message: `${topic}/${partition}: not reached within the deadline`,
  }
}
