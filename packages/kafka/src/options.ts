import type { KafkaSasl, KafkaTls } from './connection.ts'
import type { KafkaProfile } from './encode.ts'
import type { Compression } from './wire.ts'

/** Deadlines in milliseconds. */
export interface KafkaTimeouts {
  /** For a new connection: name, TCP, TLS, credentials. Default 5,000; 100 to 30,000. */
  readonly connectMs?: number
  /** For one request to one broker. Default 10,000; 100 to 30,000. */
  readonly requestMs?: number
  /** For an attempt, whatever the cluster does; below the lease of the relay's claims. Default 25,000; 1,000 to 60,000. */
  readonly deadlineMs?: number
}

/** How a cluster is reached. */
export interface KafkaConnectionOptions {
  /** `host:port` of some brokers; the others are learned from them. */
  readonly brokers: readonly string[]
  /** Default `kafkajs`. `platformatic` is @platformatic/kafka, which is installed separately. */
  readonly client?: 'kafkajs' | 'platformatic'
  /** Stands in the logs and quotas of the brokers. Default `postrider`. */
  readonly clientId?: string
  /** true: TLS with the public authorities. Default false. */
  readonly tls?: boolean | KafkaTls
  readonly sasl?: KafkaSasl
  readonly timeouts?: KafkaTimeouts
}

export interface KafkaDriverOptions extends KafkaConnectionOptions {
  /** Default `gzip`, which every client can read. `zstd` costs less; kafkajs as a consumer needs a codec for it. */
  readonly compression?: Compression
  /** Answers that are lost on the way then give no duplicates. Default true. */
  readonly idempotent?: boolean
  /** Gets what an operator should know. Default `process.emitWarning`. */
  readonly warn?: (message: string) => void
}

/** Records of a batch are for one partition. */
export interface KafkaBatchLimits {
  /** Default 500; 1 to 1,000. */
  readonly records?: number
  /** Before compression; a larger record goes alone. Default 900,000; 1,000 to 16,000,000. */
  readonly bytes?: number
}

export interface KafkaOptions extends KafkaDriverOptions {
  /** Name of the sink; stands in `postrider.sinks`, logs and metrics. */
  readonly name: string
  /**
   * Template of the topic, over `{type}`, `{type.0}` to `{type.9}` (segments), `{tenant}` and `{source}`.
   * Default `{type.0}`. Nothing is cut or replaced to make a name legal: such an event is refused.
   */
  readonly topic?: string
  /** Stands before the topic, with a dot. Default none; `outbox.event` for the profile `debezium`. */
  readonly prefix?: string
  /** Default `cloudevents`. */
  readonly profile?: KafkaProfile
  /** `ce_source` of events that have no source of their own. Without it such an event cannot be encoded. */
  readonly source?: string
  readonly batch?: KafkaBatchLimits
  /** Waits so long for more records before a batch goes out. Default 0: as soon as its partition is free. 0 to 1,000. */
  readonly lingerMs?: number
  /**
   * Before an event is sent of which it is not known whether it was sent before, the last `lookBack` records of its partition are
   * looked through for its id. Default off; lookBack 100,000, 1 to 10,000,000.
   */
  readonly exactlyOnce?: boolean | { readonly lookBack?: number }
  /** What is known of topics from before: a topic whose number of partitions differs is stopped. */
  readonly partitionCounts?: Readonly<Record<string, number>>
  /** Called with the number of partitions of a topic when it is learned or accepted, so that it can be kept. */
  readonly onPartitions?: (topic: string, partitions: number) => void
}
