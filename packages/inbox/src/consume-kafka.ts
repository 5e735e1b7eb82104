import type { KafkaRecord } from './from-record.ts'
import type { Effect } from './handle.ts'

/** A message of kafkajs, by shape. */
export type KafkaMessageLike = Pick<KafkaRecord, 'offset' | 'key' | 'value' | 'headers' | 'timestamp'>

export interface EachMessagePayloadLike {
  readonly topic: string
  readonly partition: number
  readonly message: KafkaMessageLike
}

export interface EachBatchPayloadLike {
  readonly batch: { readonly topic: string; readonly partition: number; readonly messages: readonly KafkaMessageLike[] }
  readonly resolveOffset: (offset: string) => void
  readonly heartbeat: () => Promise<void>
}

/** Each throws when an event failed, so that its offset is not committed and it comes again, before those behind it. */
export interface KafkaConsumer {
  /** For kafkajs: `await consumer.run({ eachMessage: billing.kafka().eachMessage })`. */
  readonly eachMessage: (payload: EachMessagePayloadLike) => Promise<void>
  /**
   * For kafkajs: the records of a batch one after the other, each in its own transaction. A batch that has begun is finished
   * when the consumer stops; `eachMessage` stops sooner.
   */
  readonly eachBatch: (payload: EachBatchPayloadLike) => Promise<void>
  /** For any other client; `given-up` when `onFailure` said so. */
  readonly record: (record: KafkaRecord) => Promise<Effect | 'given-up'>
}

export function consumeKafka(record: KafkaConsumer['record']): KafkaConsumer {
  return {
    record,
    async eachMessage({ topic, partition, message }) {
      await record(recordOf(topic, partition, message))
    },
    async eachBatch({ batch, resolveOffset, heartbeat }) {
      // Never left half-way without an error: kafkajs commits the whole batch when this ends.
      for (const message of batch.messages) {
        await record(recordOf(batch.topic, batch.partition, message))
        resolveOffset(String(message.offset))
        await heartbeat()
      }
    },
  }
}

function recordOf(topic: string, partition: number, message: KafkaMessageLike): KafkaRecord {
  const { offset, key, value, headers, timestamp } = message
  return {
    topic,
    partition,
    offset,
    ...(key !== undefined && { key }),
    ...(value !== undefined && { value }),
    headers,
    ...(timestamp !== undefined && { timestamp }),
  }
}
