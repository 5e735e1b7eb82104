import type { PartitionBatch } from './records.ts'

/** What an append came to. */
export type AppendResult =
  | { readonly ok: true; /** Offset of the first record of the batch. */ readonly baseOffset: bigint }
  | AppendFailure

export interface AppendFailure {
  readonly ok: false
  /** `no`: the records are certainly not in the log of the partition. `unknown`: they may be. */
  readonly written: 'no' | 'unknown'
  /** `now`: the cause is gone as soon as metadata are fresh. `never`: the same records can never be taken. */
  readonly retry: 'now' | 'backoff' | 'never'
  /** Whom the failure concerns. */
  readonly scope: 'record' | 'partition' | 'topic' | 'cluster'
  /** Name of the protocol error, such as `MESSAGE_TOO_LARGE`, or of the failure of the connection. */
  readonly code: string
  /** One sentence, without secrets. */
  readonly message: string
}

/** A record as it was read back. */
export interface ReadRecord {
  readonly offset: bigint
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Of several headers of one name the last. */
  readonly headers: ReadonlyMap<string, Buffer>
}

/** Where the log of a partition begins and ends: offset of its first record, and of the next that is appended. */
export interface Bounds {
  readonly first: bigint
  readonly next: bigint
}

/**
 * What Postrider needs of a Kafka client, and nothing else: partitioning, batching, headers, classification of what to do, and
 * all policy lie above. A driver never loses silently: an append concerns one partition, and succeeds only when the broker has
 * named that partition, no error and a base offset.
 */
export interface Driver extends AsyncDisposable {
  readonly name: 'kafkajs' | 'platformatic'
  /** Partitions of a topic, cached; null when there is no such topic. Asks again after an append failed for it. */
  partitions(topic: string, signal: AbortSignal): Promise<number | null>
  /** Bytes of a batch that the topic takes, `max.message.bytes`; null when this may not be asked. Cached for a minute. */
  maxMessageBytes(topic: string, signal: AbortSignal): Promise<number | null>
  /**
   * Appends an ordered batch to one partition with acks=all. One at a time for a partition; many partitions at once. Does not throw.
   * Within its deadline it looks for the leader again, and sends the same batch again as long as that can give no duplicate.
   * After `written: unknown` the same batch (the same array) may be given again, and goes out as what it was; any other goes out
   * by a new producer.
   */
  append(batch: PartitionBatch, signal: AbortSignal, deadlineMs: number): Promise<AppendResult>
  bounds(topic: string, signal: AbortSignal): Promise<ReadonlyMap<number, Bounds>>
  /** Records from an offset up to (not including) another, in order; those of transactions too, however they ended. Joins no group. */
  read(topic: string, partition: number, from: bigint, until: bigint, signal: AbortSignal): AsyncIterable<ReadRecord>
}
