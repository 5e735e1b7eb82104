import { Appender } from './append.ts'
import { causeOfCode, causeOfError, DriverError, failureOf, protocol } from './classify.ts'
import { Cluster, pause } from './cluster.ts'
import type { Bounds, Driver, ReadRecord } from './driver.ts'
import type { Address, Compression, Wire } from './wire.ts'

export interface DriverSettings {
  readonly brokers: readonly Address[]
  readonly idempotent: boolean
  readonly compression: Compression
  /** For one request to one broker. */
  readonly requestMs: number
  readonly warn: (message: string) => void
}

const fetchBytes = 4 * 1024 * 1024
const readTries = 6
const limitFreshMs = 60_000

/** A driver over the requests of a client. Disposing of it closes the connections. */
export function createDriver(wire: Wire, settings: DriverSettings): Driver {
  const { requestMs } = settings
  const cluster = new Cluster(wire, settings.brokers, requestMs)
  const appender = new Appender(wire, cluster, settings)
  const limits = new Map<string, { readonly bytes: number | null; readonly at: number }>()

  /** Asks the leader of a partition; again while leaders move. */
  async function askLeader<T extends { readonly error: number }>(
    topic: string,
    partition: number,
    signal: AbortSignal,
    ask: (at: Address) => Promise<T>,
  ): Promise<T> {
    for (let tries = 1; ; tries++) {
      let failure
      try {
        const at = await cluster.leader(topic, partition, { ms: requestMs, signal })
        const answer = await ask(at)
        if (answer.error === protocol.none) return answer
        failure = causeOfCode(answer.error, `${topic}/${partition}`)
      } catch (error) {
        failure = error instanceof DriverError ? failureOf(error) : causeOfError(error)
      }
      cluster.doubt(topic)
      if (failure.retry !== 'now' || tries === readTries || signal.aborted) throw new DriverError(failure)
      await pause(100 * tries, signal)
    }
  }

  return {
    name: wire.name,
    partitions: (topic, signal) => cluster.partitions(topic, { ms: requestMs, signal }),
    async maxMessageBytes(topic, signal) {
      const known = limits.get(topic)
      if (known !== undefined && performance.now() - known.at < limitFreshMs) return known.bytes
      let bytes: number | null = null
      try {
        const limit = { ms: requestMs, signal }
        const { error, configs } = await cluster.any((at, rest) => wire.describeTopic(at, topic, [sizeConfig], rest), limit)
        const value = Number(configs.get(sizeConfig) ?? NaN)
        if (error === protocol.none && Number.isInteger(value) && value > 0) bytes = value
      } catch {
        // Only a hint, which may be forbidden: the broker checks the size in any case.
      }
      limits.set(topic, { bytes, at: performance.now() })
      return bytes
    },
    append: (batch, signal, deadlineMs) => appender.append(batch, signal, deadlineMs),
    async bounds(topic, signal) {
      const count = await cluster.partitions(topic, { ms: requestMs, signal })
      if (count === null) throw new DriverError(causeOfCode(protocol.unknownTopic, `topic ${topic}`))
      const found = new Map<number, Bounds>()
      await Promise.all(
        Array.from({ length: count }, async (_, partition) => {
          const ask = (time: -1 | -2) =>
            askLeader(topic, partition, signal, (at) => wire.offset(at, topic, partition, time, { ms: requestMs, signal }))
          const [first, next] = await Promise.all([ask(-2), ask(-1)])
          found.set(partition, { first: first.offset, next: next.offset })
        }),
      )
      return new Map([...found].toSorted(([a], [b]) => a - b))
    },
    async *read(topic, partition, from, until, signal): AsyncGenerator<ReadRecord> {
      let at = from
      let size = fetchBytes
      while (at < until) {
        const answer = await askLeader(topic, partition, signal, (leader) =>
          wire.fetch(leader, topic, partition, at, size, { ms: requestMs, signal }),
        )
        let { end } = answer
        for (const record of answer.records) {
          if (record.offset < at) continue
          if (record.offset >= until) return
          yield record
          end = record.offset + 1n > (end ?? 0n) ? record.offset + 1n : end
        }
        if (end !== null && end > at) {
          at = end
          size = fetchBytes
        } else if (at >= answer.next) {
          // Nothing there yet: whoever asks for more than there is waits for it.
          await pause(50, signal)
        } else if (size < 64 * 1024 * 1024) size *= 4
        // A batch of which compaction has left nothing.
        else at += 1n
      }
    },
    async [Symbol.asyncDispose]() {
      appender.close()
      await wire.close()
    },
  }
}

const sizeConfig = 'max.message.bytes'
