import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Kafka } from '../kafka/index.ts'

export interface TopicBatches {
  readonly batches: number
  readonly records: number
  /** On disk, with compression. */
  readonly bytes: number
}

/** Offsets in the header of a batch, version 2 (Kafka's documentation, "Record Batch"). */
const lengthAt = 8
const lastOffsetDeltaAt = 23
/** Base offset and length, which the length does not count. */
const uncounted = 12

/** In how many batches a topic was written, as its broker has stored them. */
export async function batchesOf(kafka: Kafka, topic: string): Promise<TopicBatches> {
  let [batches, records, bytes] = [0, 0, 0]
  for (const { output } of kafka.brokers) {
    const data = join(dirname(output), 'data')
    const partitions = (await readdir(data)).filter((name) => name.replace(/-\d+$/, '') === topic)
    for (const partition of partitions) {
      const segments = (await readdir(join(data, partition))).filter((name) => name.endsWith('.log'))
      for (const segment of segments) {
        const log = await readFile(join(data, partition, segment))
        bytes += log.length
        for (let at = 0; at + lastOffsetDeltaAt < log.length; at += uncounted + log.readInt32BE(at + lengthAt)) {
          batches++
          records += log.readInt32BE(at + lastOffsetDeltaAt) + 1
        }
      }
    }
  }
  return { batches, records, bytes }
}
