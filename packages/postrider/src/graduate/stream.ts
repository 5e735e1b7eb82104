/** Offsets by topic and partition. */
export type Offsets = Readonly<Record<string, Readonly<Record<string, string>>>>

/** A group of consumers, as the broker knows it. */
export interface Group {
  /** Nobody of it reads at this moment, so that its offsets may be set. */
  readonly idle: boolean
  /** The word of the broker, such as `Stable`. */
  readonly state: string
}

/** A record of a topic, as far as a comparison needs it. */
export interface StreamedEvent {
  readonly offset: bigint
  readonly id: string | null
  readonly key: string | null
  readonly value: Buffer | null
  /** Sent once more by an operator. */
  readonly replay: boolean
}

/** What graduation needs of the log that consumers move to. Every wait has a deadline. */
export interface Stream {
  /** First offset of each partition, and the one that the next record will get; null when there is no such topic. */
  bounds(topic: string): Promise<ReadonlyMap<number, { readonly first: bigint; readonly next: bigint }> | null>
  /** Null when there is no such group. */
  group(name: string): Promise<Group | null>
  /** What a group has committed, of these topics. */
  committed(group: string, topics: readonly string[]): Promise<Offsets>
  /** Sets where a group goes on; it must be idle. */
  commit(group: string, offsets: Offsets): Promise<void>
  read(topic: string, partition: number, from: bigint, until: bigint): AsyncIterable<StreamedEvent>
}
