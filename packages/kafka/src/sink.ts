import type { Attempt, Outcome, Sink } from '@postrider/relay'
import { isPostriderError } from '@postrider/schema'
import { checkOptions, type KafkaSettings } from './check-options.ts'
import { createDriver } from './create-driver.ts'
import type { Driver } from './driver.ts'
import { encode, idHeader } from './encode.ts'
import type { Item } from './item.ts'
import { KeyOrder } from './key-order.ts'
import { openWire } from './open.ts'
import type { KafkaOptions } from './options.ts'
import { interrupted } from './outcome.ts'
import { leastSize, recordSize } from './record-size.ts'
import { reach } from './reach.ts'
import type { StreamRecord } from './records.ts'
import { Topic } from './topic.ts'
import { UnderWay } from './under-way.ts'

/** A sink that appends events to topics. */
export interface KafkaSink extends Sink {
  readonly pipelined: true
  /** The number of partitions of a topic has changed, and that is all right: its events go on, placed by the new number. */
  acceptRepartition(topic: string): void
  /** Number of partitions by topic, as far as it is known. */
  partitionCounts(): ReadonlyMap<string, number>
}

/** An answer that is on its way when the relay stops is waited for so long. */
const graceMs = 500
const marginMs = 1_000

/**
 * A sink that appends every event to a topic, in the order of its key: one batch at a time for a partition, acks=all, partition by
 * the murmur2 of Java. A record is delivered when the broker has named its offset.
 * The client is loaded here; connections are opened when the first event comes. Dispose of the sink to close them.
 * Throws `invalid_options` with all problems together, or `client_missing`.
 */
export async function createKafkaSink(options: KafkaOptions): Promise<KafkaSink> {
  const settings = checkOptions(options)
  const sink = sinkOf(settings, createDriver(await openWire(settings), settings.driver))
  return { ...sink, reach: (signal) => reach(options, settings, signal) }
}

/** The sink over any driver; owns it. */
export function sinkOf(settings: KafkaSettings, driver: Driver): KafkaSink {
  const { profile, source, topicOf, timeouts } = settings
  const budgetMs = timeouts.deadlineMs - Math.min(marginMs, timeouts.deadlineMs / 5)
  const closing = new AbortController()
  const topics = new Map<string, Topic>()
  const underWay = new UnderWay(interrupt)

  const order = new KeyOrder(
    (item) => `${item.topic} ${topics.get(item.topic)?.generation ?? 0}`,
    (item) => {
      if (item.refusal === null) topicNamed(item.topic).add(item)
      else order.settle(item, item.refusal)
    },
  )
  const settle = (item: Item, outcome: Outcome): void => order.settle(item, outcome)

  function topicNamed(name: string): Topic {
    let topic = topics.get(name)
    if (topic === undefined) {
      topic = new Topic(driver, {
        name,
        batchRecords: settings.batchRecords,
        batchBytes: settings.batchBytes,
        lingerMs: settings.lingerMs,
        lookBack: settings.lookBack,
        idHeader: idHeader(profile),
        compressed: settings.driver.compression !== 'none',
        known: settings.partitionCounts.get(name) ?? null,
        settle,
        learned: (partitions) => settings.onPartitions(name, partitions),
        signal: closing.signal,
      })
      topics.set(name, topic)
    }
    return topic
  }

  function interrupt(items: readonly Item[]): void {
    const late: Item[] = []
    for (const item of items) {
      if (item.inFlight) late.push(item)
      else settle(item, interrupted)
    }
    if (late.length === 0) return
    setTimeout(() => {
      for (const item of late) settle(item, interrupted)
    }, graceMs)
  }

  function prepare(attempt: Attempt): { topic: string; record: StreamRecord | null; refusal: Outcome | null } {
    const topic = topicOf(attempt.event)
    if (topic === null) return { topic: '', record: null, refusal: reject('no legal name of a topic comes of this event') }
    try {
      return { topic, record: encode(attempt, profile, source), refusal: null }
    } catch (error) {
      if (!isPostriderError(error) || error.code !== 'cannot_encode') throw error
      return { topic, record: null, refusal: reject(error.message) }
    }
  }

  return {
    name: settings.name,
    kind: 'kafka',
    deadlineMs: timeouts.deadlineMs,
    pipelined: true,
    async deliver(attempt, signal) {
      if (signal.aborted || closing.signal.aborted) return interrupted
      const { topic, record, refusal } = prepare(attempt)
      const place = underWay.take()
      const { promise, resolve } = Promise.withResolvers<Outcome>()
      const item: Item = {
        attempt,
        topic,
        record,
        refusal,
        bytes: record === null ? 0 : recordSize(record),
        leastBytes: record === null ? 0 : leastSize(record),
        expiresAt: performance.now() + budgetMs,
        answer: (outcome) => {
          underWay.end(place)
          resolve(outcome)
        },
        inFlight: false,
        settled: false,
      }
      underWay.begin(place, item, signal)
      order.add(item)
      return await promise
    },
    acceptRepartition: (topic) => topicNamed(topic).acceptRepartition(),
    partitionCounts: () => {
      const counts = new Map(settings.partitionCounts)
      for (const [name, { partitions }] of topics) if (partitions !== null) counts.set(name, partitions)
      return counts
    },
    async [Symbol.asyncDispose]() {
      closing.abort()
      for (const item of underWay.items) settle(item, interrupted)
      await driver[Symbol.asyncDispose]()
    },
  }
}

function reject(message: string): Outcome {
  return { kind: 'reject', error: { code: 'cannot_encode', message } }
}
