import { CompressionTypes, Kafka, logLevel } from 'kafkajs'
import type { StreamRecord } from '@postrider/kafka'
import type { Figures } from './rounds.ts'

export interface RawProducing {
  readonly brokers: readonly string[]
  readonly topic: string
  /** Records of each partition, in order. */
  readonly partitions: readonly (readonly StreamRecord[])[]
  /** Records of one request. */
  readonly batch: number
  readonly compression: 'none' | 'gzip'
}

/**
 * Produces records with kafkajs alone: acks=all, idempotent, all partitions at once and of each one batch after the other, as a
 * sink that keeps the order must.
 */
export async function produceRaw({ brokers, topic, partitions, batch, compression }: RawProducing): Promise<Figures> {
  const kafka = new Kafka({ brokers: [...brokers], clientId: 'bench', logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: partitions.length })
  await producer.connect()
  try {
    const messages = partitions.map((records, partition) =>
      records.map(({ key, value, headers, timestampMs }) => ({
        partition,
        key,
        value,
        headers: Object.fromEntries(headers),
        timestamp: String(timestampMs),
      })),
    )
    const cpu = process.cpuUsage()
    const began = performance.now()
    await Promise.all(
      messages.map(async (all) => {
        for (let from = 0; from < all.length; from += batch) {
          await producer.sendBatch({
            acks: -1,
            timeout: 30_000,
            compression: compression === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None,
            topicMessages: [{ topic, messages: all.slice(from, from + batch) }],
          })
        }
      }),
    )
    const seconds = (performance.now() - began) / 1_000
    const { user, system } = process.cpuUsage(cpu)
    const count = messages.reduce((sum, all) => sum + all.length, 0)
    return { 'deliveries/s': count / seconds, 'relay µs CPU': (user + system) / count }
  } finally {
    await producer.disconnect()
  }
}
