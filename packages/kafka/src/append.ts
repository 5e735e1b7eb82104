import { setTimeout as delay } from 'node:timers/promises'
import { causeOfCode, causeOfError, DriverError, protocol, type Cause } from './classify.ts'
import type { Cluster } from './cluster.ts'
import type { DriverSettings } from './create-driver.ts'
import type { AppendFailure, AppendResult } from './driver.ts'
import type { PartitionBatch, StreamRecord } from './records.ts'
import { WireError, type Address, type Producer, type Wire } from './wire.ts'

/** Sequences of a producer end at 2^31 - 1, and clients disagree on what comes then: a new producer comes long before. */
const lastSequence = 2 ** 30
/** Tries of a batch that is certainly not in the log, while its leader moves. */
const freeTries = 4
const pausesMs: readonly number[] = [20, 100, 250, 500]
const longestPauseMs = 1_000
/** The broker answers before we give up waiting for it. */
const brokerShare = 0.7

/**
 * Who writes to a partition. Each partition has a producer of its own, so that a failure of one costs the others nothing.
 */
interface Lane {
  producer: Producer | null
  sequence: number
  /** What was sent last, and has not been seen to end: only these records may go out with the sequence. */
  unfinished: readonly StreamRecord[] | null
}

/**
 * Appends batches so that none is lost and none overtakes:
 * - a request concerns one partition, and counts only when the answer names it with an offset;
 * - a sequence that was sent belongs to its batch for ever: that batch may be sent again with it, which the broker takes for what
 *   it is; other records never, because the broker would take them for duplicates and drop them. They get a new producer;
 * - when it is not known whether a batch was written and the producer is lost too, it is for the caller to decide.
 */
export class Appender {
  readonly #wire: Wire
  readonly #cluster: Cluster
  readonly #settings: DriverSettings
  readonly #lanes = new Map<string, Lane>()
  readonly #closed = new AbortController()
  #idempotent: boolean

  constructor(wire: Wire, cluster: Cluster, settings: DriverSettings) {
    this.#wire = wire
    this.#cluster = cluster
    this.#settings = settings
    this.#idempotent = settings.idempotent
  }

  close(): void {
    this.#closed.abort()
  }

  async append(batch: PartitionBatch, signal: AbortSignal, deadlineMs: number): Promise<AppendResult> {
    const lane = this.#laneOf(batch)
    const until = performance.now() + deadlineMs
    const both = AbortSignal.any([signal, this.#closed.signal])
    const again = lane.unfinished !== null && lane.unfinished === batch.records
    if (lane.unfinished !== null && !again) renew(lane)
    if (!again && lane.sequence + batch.records.length > lastSequence) renew(lane)

    /** The records may be in the log. */
    let maybe = again
    let sent = false
    let failure: AppendFailure
    for (let tries = 1; ; tries++) {
      const cause = await this.#once(batch, lane, both, until - performance.now(), () => {
        sent = true
        lane.unfinished = batch.records
      })
      if (cause.ok) {
        lane.unfinished = null
        lane.sequence += batch.records.length
        return cause
      }
      if (cause.code === 'CLUSTER_AUTHORIZATION_FAILED' && this.#idempotent) {
        this.#idempotent = false
        this.#settings.warn(
          'Kafka: this client may not write idempotently (ACL IdempotentWrite on the cluster), so lost answers give duplicates',
        )
        if (!maybe) {
          renew(lane)
          continue
        }
      }
      if (cause.scope !== 'record') this.#cluster.doubt(batch.topic)
      if (cause.written === 'unknown') maybe = true
      failure = { ...cause, written: maybe ? 'unknown' : cause.written }
      if (cause.renew) {
        renew(lane)
        // A new producer could write it a second time.
        if (maybe) break
      }
      if (both.aborted || !this.#goesOn(cause, maybe, tries)) break
      const wait = (pausesMs[tries - 1] ?? longestPauseMs) * (0.75 + Math.random() / 2)
      if (performance.now() + wait >= until) break
      try {
        await delay(wait, undefined, { signal: both })
      } catch {
        break
      }
    }
    // Nothing of it is in the log, so nothing waits to be sent again; the sequence is not used for others either.
    if (!maybe && sent) renew(lane)
    const { written, retry, scope, code, message } = failure
    return { ok: false, written, retry, scope, code, message }
  }

  /** One try. Failures on the way to the broker are of the cluster when no broker answers, else of the partition. */
  async #once(
    batch: PartitionBatch,
    lane: Lane,
    signal: AbortSignal,
    leftMs: number,
    sending: () => void,
  ): Promise<Cause | { readonly ok: true; readonly baseOffset: bigint }> {
    const { topic, partition } = batch
    const what = `${topic}/${partition}`
    const ms = Math.max(1, Math.min(leftMs, this.#settings.requestMs))
    const limit = { ms, signal }
    let leader: Address
    try {
      leader = await this.#cluster.leader(topic, partition, limit)
      if (this.#idempotent && lane.producer === null) await this.#newProducer(lane, signal, ms)
    } catch (error) {
      const { failure } = error instanceof DriverError ? error : { failure: causeOfError(error) }
      return { ...failure, written: 'no', renew: false }
    }
    sending()
    try {
      const answer = await this.#wire.produce(
        leader,
        {
          ...batch,
          producer: this.#idempotent ? lane.producer : null,
          sequence: lane.sequence,
          compression: this.#settings.compression,
          timeoutMs: Math.max(1, Math.floor(ms * brokerShare)),
        },
        limit,
      )
      if (answer === null)
        return {
          ok: false,
          written: 'unknown',
          retry: 'now',
          scope: 'partition',
          code: 'NOT_NAMED',
          message: `${what}: the answer does not name it`,
          renew: false,
        }
      if (answer.error !== protocol.none) return causeOfCode(answer.error, what)
      // The offset is what proves it; without one, the broker has only recognised the sequence.
      if (answer.baseOffset < 0n)
        return {
          ok: false,
          written: 'unknown',
          retry: 'now',
          scope: 'partition',
          code: 'NO_OFFSET',
          message: `${what}: the answer has no offset`,
          renew: true,
        }
      return { ok: true, baseOffset: answer.baseOffset }
    } catch (error) {
      const cause = causeOfError(error)
      // Another broker may lead it by now; whether any answers is seen by the next question for the leader.
      return error instanceof WireError && cause.retry === 'now' ? { ...cause, scope: 'partition' } : cause
    }
  }

  async #newProducer(lane: Lane, signal: AbortSignal, ms: number): Promise<void> {
    const { error, producer } = await this.#cluster.any((at, rest) => this.#wire.initProducer(at, rest), { ms, signal })
    if (error !== protocol.none) throw new DriverError({ ...causeOfCode(error, 'a producer id'), scope: 'cluster' })
    lane.producer = producer
    lane.sequence = 0
  }

  #goesOn(cause: Cause, maybe: boolean, tries: number): boolean {
    // Bytes that were spoilt on the way are sent once more.
    if (cause.code === 'CORRUPT_MESSAGE' && tries === 1) return true
    if (cause.retry === 'never') return false
    // Sending it again is the only way to learn what became of it, and harmless as long as the broker knows the producer.
    if (maybe) return this.#idempotent
    return cause.retry === 'now' && tries < freeTries
  }

  #laneOf({ topic, partition }: PartitionBatch): Lane {
    const name = `${topic}/${partition}`
    let lane = this.#lanes.get(name)
    if (lane === undefined) {
      lane = { producer: null, sequence: 0, unfinished: null }
      this.#lanes.set(name, lane)
    }
    return lane
  }
}

function renew(lane: Lane): void {
  lane.producer = null
  lane.sequence = 0
  lane.unfinished = null
}
