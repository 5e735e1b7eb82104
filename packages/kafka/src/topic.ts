import type { Outcome } from '@postrider/relay'
import { causeOfCode, failureOf, protocol } from './classify.ts'
import type { AppendFailure, Driver } from './driver.ts'
import type { Item } from './item.ts'
import { PartitionLane } from './lane.ts'
import { outcomeOf } from './outcome.ts'
import { partitionOf } from './partition.ts'
import { Tail } from './tail.ts'

export interface TopicOptions {
  readonly name: string
  readonly batchRecords: number
  readonly batchBytes: number
  readonly lingerMs: number
  readonly lookBack: number | null
  readonly idHeader: string
  /** Sizes cannot be judged before a compression. */
  readonly compressed: boolean
  /** Number of partitions that is known from before. */
  readonly known: number | null
  readonly settle: (item: Item, outcome: Outcome) => void
  readonly learned: (partitions: number) => void
  readonly signal: AbortSignal
}

/** The number of partitions is looked at again after this time. */
const recheckMs = 30_000
const firstQuietMs = 1_000
const longestQuietMs = 60_000
const repartitionedAfterMs = 30_000

/** A topic: how many partitions it has, and which of them an event belongs to. */
export class Topic {
  readonly #driver: Driver
  readonly #options: TopicOptions
  readonly #lanes = new Map<number, PartitionLane>()
  #waiting: Item[] = []
  #count: number | null = null
  #known: number | null
  /** The number that the cluster has now, when it is not the one that is known. */
  #changedTo: number | null = null
  #limit: number | null = null
  #checkedAt = -Infinity
  #looking = false
  #failures = 0
  #quiet: { readonly until: number; readonly failure: AppendFailure } | null = null
  /** Grows when keys may move to other partitions. */
  generation = 0

  constructor(driver: Driver, options: TopicOptions) {
    this.#driver = driver
    this.#options = options
    this.#known = options.known
  }

  /** Number of partitions by which events are placed; null while it is not known. */
  get partitions(): number | null {
    return this.#count ?? this.#known
  }

  add(item: Item): void {
    if (this.#quiet !== null) {
      const left = this.#quiet.until - performance.now()
      if (left > 0) return this.#refuse(item, this.#quiet.failure, left)
      this.#quiet = null
    }
    // Also when it is stopped: the number may be the old one again.
    if (!this.#looking && performance.now() - this.#checkedAt > recheckMs) void this.#look()
    if (this.#changedTo !== null) return this.#options.settle(item, this.#repartitioned(this.#changedTo))
    if (this.#count === null) this.#waiting.push(item)
    else this.#place(item, this.#count)
  }

  /** The new number of partitions is all right: from now on keys are placed by it. */
  acceptRepartition(): void {
    this.#known = null
    this.#checkedAt = -Infinity
    if (this.#changedTo === null) return
    this.#learned(this.#changedTo)
  }

  #learned(count: number): void {
    if (this.#count !== null && this.#count !== count) this.generation++
    this.#count = count
    this.#known = count
    this.#changedTo = null
    this.#options.learned(count)
  }

  #place(item: Item, count: number): void {
    const { event } = item.attempt
    if (!this.#options.compressed && this.#limit !== null && item.leastBytes > this.#limit) {
      const message = `the record has at least ${item.leastBytes} bytes, the limit of topic ${this.#options.name} is ${this.#limit}`
      return this.#options.settle(item, {
        kind: 'reject',
        error: { code: 'record_too_large', message },
        detail: { topic: this.#options.name },
      })
    }
    // Without a key by its id, so that another attempt comes to the same partition.
    const partition = partitionOf(item.record?.key ?? Buffer.from(event.id), count)
    this.#laneOf(partition).add(item)
  }

  #laneOf(partition: number): PartitionLane {
    let lane = this.#lanes.get(partition)
    if (lane === undefined) {
      const { name, batchRecords, batchBytes, lingerMs, lookBack, idHeader, settle, signal } = this.#options
      lane = new PartitionLane(this.#driver, {
        topic: name,
        partition,
        batchRecords,
        lingerMs,
        tail: lookBack === null ? null : new Tail(this.#driver, { topic: name, partition, lookBack, header: idHeader }),
        settle,
        batchBytes: () => Math.min(batchBytes, this.#limit ?? Infinity),
        limit: () => this.#limit,
        topicFailed: (failure) => this.#fail(failure),
        signal,
      })
      this.#lanes.set(partition, lane)
    }
    return lane
  }

  async #look(): Promise<void> {
    this.#looking = true
    const { name, signal } = this.#options
    try {
      const count = await this.#driver.partitions(name, signal)
      if (count === null) return this.#fail(causeOfCode(protocol.unknownTopic, `topic ${name}`))
      this.#limit = await this.#driver.maxMessageBytes(name, signal)
      this.#checkedAt = performance.now()
      this.#failures = 0
      if (this.#known !== null && this.#known !== count) this.#changedTo = count
      else if (this.#count !== count || this.#changedTo !== null) this.#learned(count)
      const waiting = this.#waiting
      this.#waiting = []
      for (const item of waiting) if (!item.settled) this.add(item)
    } catch (error) {
      const failure = failureOf(error)
      // What is known goes on being used: only who waits for it is told.
      if (this.#count === null || failure.scope === 'topic') this.#fail(failure)
      else this.#checkedAt = performance.now()
    } finally {
      this.#looking = false
    }
    // Came while it was looked up, after the others had been placed.
    if (this.#waiting.length > 0) void this.#look()
  }

  /** Everything that waits for this topic has its answer, and the next event asks again. */
  #fail(failure: AppendFailure): void {
    const afterMs = Math.min(longestQuietMs, firstQuietMs * 2 ** this.#failures) * (0.75 + Math.random() / 2)
    if (failure.scope !== 'cluster') {
      // Once may be chance. After that what comes is answered at once, and does not wait for the same.
      if (this.#failures > 0) this.#quiet = { until: performance.now() + afterMs, failure }
      this.#failures = Math.min(10, this.#failures + 1)
    }
    this.#checkedAt = -Infinity
    const waiting = this.#waiting
    this.#waiting = []
    for (const item of waiting) this.#refuse(item, failure, afterMs)
    for (const lane of this.#lanes.values()) lane.fail(failure, Math.ceil(afterMs))
  }

  #refuse(item: Item, failure: AppendFailure, afterMs: number): void {
    this.#options.settle(item, outcomeOf(failure, { topic: this.#options.name }, Math.ceil(afterMs)))
  }

  #repartitioned(count: number): Outcome {
    const message = `topic ${this.#options.name} has ${count} partitions now, and had ${this.#known}: keys would move. Accept it to go on`
    return {
      kind: 'retry',
      error: { code: 'repartitioned', message },
      detail: { topic: this.#options.name, partitions: count, known: this.#known },
      scope: 'event',
      free: true,
      afterMs: repartitionedAfterMs,
    }
  }
}
