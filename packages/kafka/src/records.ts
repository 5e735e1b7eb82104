/** A record as it goes to a topic. Values are bytes: nothing is parsed on the way. */
export interface StreamRecord {
  readonly key: Buffer | null
  /** null: a tombstone. */
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
  /** CreateTime, milliseconds since the epoch. */
  readonly timestampMs: number
}

/** Records for one partition, in order. */
export interface PartitionBatch {
  readonly topic: string
  readonly partition: number
  readonly records: readonly StreamRecord[]
}
