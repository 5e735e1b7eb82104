import type { ReadRecord } from './driver.ts'
import type { PartitionBatch } from './records.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Broker extends Address {
  readonly id: number
  readonly rack: string | null
}

/** Answer of a broker to a request for metadata; errors stand in it as codes of the protocol, 0 for none. */
export interface Metadata {
  readonly clusterId: string | null
  readonly controllerId: number
  readonly brokers: readonly Broker[]
  readonly topics: readonly TopicMetadata[]
}

export interface TopicMetadata {
  readonly name: string
  readonly error: number
  readonly partitions: readonly PartitionMetadata[]
}

export interface PartitionMetadata {
  readonly partition: number
  readonly error: number
  /** -1: none. */
  readonly leader: number
  readonly replicas: readonly number[]
  readonly inSync: readonly number[]
}

/** Who writes, for the broker's test of duplicates: no two batches of a producer share a sequence. */
export interface Producer {
  readonly id: bigint
  readonly epoch: number
}

export interface ProduceRequest extends PartitionBatch {
  /** null: not idempotent. */
  readonly producer: Producer | null
  readonly sequence: number
  readonly compression: Compression
  /** How long the broker may wait for the replicas. */
  readonly timeoutMs: number
}

export type Compression = 'none' | 'gzip' | 'zstd'

/** null: the answer does not name the partition, and so says nothing of it. */
export type ProduceAnswer = { readonly error: number; readonly baseOffset: bigint } | null

export interface FetchAnswer {
  readonly error: number
  readonly first: bigint
  readonly next: bigint
  /** From whole batches: it may begin below the offset that was asked for. */
  readonly records: readonly ReadRecord[]
  /** Offset behind the last batch of the answer, also when that held no record; null when there was none. */
  readonly end: bigint | null
}

export interface NewTopicRequest {
  readonly name: string
  readonly partitions: number
  readonly replication: number
  readonly configs: readonly { readonly name: string; readonly value: string }[]
}

/** Error of a request, as the broker put it. */
export interface Refusal {
  readonly error: number
  readonly message: string | null
}

export interface Committed {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/**
 * Requests of the Kafka protocol, one method each, through the connections, encoders and versions of a client.
 * It asks one broker once: whom to ask, when to ask again, and what an error means, is decided above, the same for all clients.
 * Throws {@link WireError} when there was no answer.
 */
export interface Wire {
  readonly name: 'kafkajs' | 'platformatic'
  /** Keys of those requests of the protocol that are used here, with the versions that this client speaks. */
  readonly speaks: ReadonlyMap<number, Versions>
  versions(at: Address, limit: Limit): Promise<ReadonlyMap<number, Versions>>
  /** Never creates a topic. No topics: the brokers alone. */
  metadata(at: Address, topics: readonly string[], limit: Limit): Promise<Metadata>
  initProducer(at: Address, limit: Limit): Promise<Refusal & { readonly producer: Producer }>
  produce(at: Address, request: ProduceRequest, limit: Limit): Promise<ProduceAnswer>
  /** Offset of the first record at or after a time; -1: behind the last; -2: the first there is. */
  offset(at: Address, topic: string, partition: number, time: -1 | -2, limit: Limit): Promise<{ error: number; offset: bigint }>
  fetch(at: Address, topic: string, partition: number, from: bigint, maxBytes: number, limit: Limit): Promise<FetchAnswer>
  describeTopic(
    at: Address,
    topic: string,
    names: readonly string[] | null,
    limit: Limit,
  ): Promise<Refusal & { readonly configs: ReadonlyMap<string, string | null> }>
  createTopic(at: Address, topic: NewTopicRequest, limit: Limit): Promise<Refusal>
  deleteTopic(at: Address, topic: string, limit: Limit): Promise<Refusal>
  coordinator(at: Address, group: string, limit: Limit): Promise<Refusal & { readonly broker: Address }>
  describeGroup(at: Address, group: string, limit: Limit): Promise<Refusal & { readonly state: string; readonly members: number }>
  committed(
    at: Address,
    group: string,
    topic: string,
    partitions: readonly number[],
    limit: Limit,
  ): Promise<Refusal & { readonly offsets: readonly Committed[] }>
  commit(at: Address, group: string, offsets: readonly Committed[], limit: Limit): Promise<Refusal>
  deleteGroup(at: Address, group: string, limit: Limit): Promise<Refusal>
  close(): Promise<void>
}

export interface Versions {
  readonly min: number
  readonly max: number
}

export interface Limit {
  readonly ms: number
  readonly signal?: AbortSignal
}

export type WireTrouble =
  | 'refused'
  | 'closed'
  | 'silent'
  | 'dns'
  | 'tls'
  | 'authentication'
  | 'unsupported'
  | 'aborted'
  | 'client'

/** No answer. The message is our own, without secrets. */
export class WireError extends Error {
  override readonly name = 'WireError'
  readonly trouble: WireTrouble
  /** The request may have reached the broker. */
  readonly sent: boolean

  constructor(trouble: WireTrouble, message: string, sent: boolean, options?: ErrorOptions) {
    super(message, options)
    this.trouble = trouble
    this.sent = sent
  }
}
