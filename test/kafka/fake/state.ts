/** What a cluster knows: topics, leaders, logs, and the last batches of each producer. */
import { randomBytes } from 'node:crypto'
import { parseBatch, place, recordsOf, type Batch, type StoredRecord } from './batch.ts'

/** Numbers of Kafka's protocol errors. */
export const errors = {
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER_OR_FOLLOWER: 6,
  REQUEST_TIMED_OUT: 7,
  MESSAGE_TOO_LARGE: 10,
  NOT_ENOUGH_REPLICAS: 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  TOPIC_AUTHORIZATION_FAILED: 29,
  UNSUPPORTED_VERSION: 35,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  INVALID_PRODUCER_EPOCH: 47,
  INVALID_RECORD: 87,
} as const

export type ErrorName = keyof typeof errors

export interface Appended {
  readonly error: ErrorName
  /** -1n unless the error is NONE. */
  readonly baseOffset: bigint
}

interface Written {
  readonly firstSequence: number
  readonly lastSequence: number
  readonly baseOffset: bigint
}

interface Partition {
  leader: number
  leaderEpoch: number
  next: bigint
  readonly batches: { readonly base: bigint; readonly next: bigint; readonly bytes: Buffer }[]
  readonly producers: Map<bigint, { epoch: number; last: Written[] }>
}

export interface Topic {
  readonly name: string
  readonly id: string
  readonly partitions: readonly Partition[]
}

/** A broker remembers so many batches of a producer. */
const remembered = 5

export class State {
  readonly topics = new Map<string, Topic>()
  readonly nodes: readonly number[]
  readonly maxBatchBytes: number
  private nextProducerId = 1000n

  constructor(nodes: readonly number[], maxBatchBytes: number) {
    this.nodes = nodes
    this.maxBatchBytes = maxBatchBytes
  }

  /** Leaders go round the nodes, from the first. */
  createTopic(name: string, partitions: number): void {
    this.topics.set(name, {
      name,
      id: randomBytes(16).toString('hex'),
      partitions: Array.from({ length: partitions }, (_, index) => ({
        leader: this.nodes[index % this.nodes.length] ?? 0,
        leaderEpoch: 0,
        next: 0n,
        batches: [],
        producers: new Map(),
      })),
    })
  }

  deleteTopic(name: string): void {
    this.topics.delete(name)
  }

  /** To the next node, unless one is named. -1: the partition has no leader. */
  moveLeader(topic: string, partition: number, to?: number): void {
    const moved = this.existing(topic, partition)
    moved.leader = to ?? this.nodes[(this.nodes.indexOf(moved.leader) + 1) % this.nodes.length] ?? 0
    moved.leaderEpoch++
  }

  newProducerId(): bigint {
    return this.nextProducerId++
  }

  find(topic: string, partition: number): Partition | undefined {
    return this.topics.get(topic)?.partitions[partition]
  }

  log(topic: string, partition: number): StoredRecord[] {
    return this.existing(topic, partition).batches.flatMap(({ bytes }) => recordsOf(bytes))
  }

  /** What a node answers to records for a partition, and what it writes. */
  append(node: number, topic: string, index: number, bytes: Buffer): Appended {
    const partition = this.find(topic, index)
    if (partition === undefined) return refused('UNKNOWN_TOPIC_OR_PARTITION')
    if (partition.leader !== node) return refused('NOT_LEADER_OR_FOLLOWER')
    if (bytes.length > this.maxBatchBytes) return refused('MESSAGE_TOO_LARGE')
    const batch = parseBatch(bytes)
    if (batch === null) return refused('CORRUPT_MESSAGE')
    if (batch.producerId >= 0n) {
      const known = checkSequence(partition, batch)
      if (known !== undefined) return known
    }
    const base = partition.next
    partition.next = base + BigInt(batch.lastOffsetDelta + 1)
    partition.batches.push({ base, next: partition.next, bytes: place(bytes, base, partition.leaderEpoch) })
    if (batch.producerId >= 0n) remember(partition, batch, base)
    return { error: 'NONE', baseOffset: base }
  }

  private existing(topic: string, index: number): Partition {
    const partition = this.find(topic, index)
    if (partition === undefined) throw new Error(`there is no partition ${index} of ${topic}`)
    return partition
  }
}

function refused(error: ErrorName): Appended {
  return { error, baseOffset: -1n }
}

/**
 * An answer, when the batch is not to be written. As in Kafka's ProducerStateEntry and ProducerAppendInfo: a duplicate is told
 * by its epoch and its first and last sequence number alone, among the last five batches; what the records say is not compared.
 */
function checkSequence(partition: Partition, batch: Batch): Appended | undefined {
  const producer = partition.producers.get(batch.producerId)
  if (producer === undefined) return undefined // a producer that is unknown here may begin with any number
  if (batch.epoch < producer.epoch) return refused('INVALID_PRODUCER_EPOCH')
  if (batch.epoch > producer.epoch) return batch.firstSequence === 0 ? undefined : refused('OUT_OF_ORDER_SEQUENCE_NUMBER')
  const same = producer.last.find(
    ({ firstSequence, lastSequence }) => firstSequence === batch.firstSequence && lastSequence === batch.lastSequence,
  )
  if (same !== undefined) return { error: 'NONE', baseOffset: same.baseOffset }
  const expected = ((producer.last.at(-1)?.lastSequence ?? -1) + 1) % 2 ** 31
  return batch.firstSequence === expected ? undefined : refused('OUT_OF_ORDER_SEQUENCE_NUMBER')
}

function remember(partition: Partition, batch: Batch, baseOffset: bigint): void {
  const producer = partition.producers.get(batch.producerId)
  const last = producer?.epoch === batch.epoch ? producer.last : []
  const written = { firstSequence: batch.firstSequence, lastSequence: batch.lastSequence, baseOffset }
  partition.producers.set(batch.producerId, { epoch: batch.epoch, last: [...last, written].slice(-remembered) })
}
