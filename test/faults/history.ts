/** What became of an event, as its writer knows it; unknown when its connection broke at the COMMIT and nobody could be asked. */
export type Fate = 'committed' | 'rolled back' | 'unknown'

/**
 * What gives the events of a key their order.
 * - `row`: their writers lock the row of the key, and count it up.
 * - `commit`: `emit` locks the key, with `"order": "commit"`.
 * - `none`: nothing; only an event that was committed before another began comes before it.
 */
export type Discipline = 'row' | 'commit' | 'none'

/** An event as its writer knows it. Times are of `Date.now()`. */
export interface Emitted {
  readonly id: string
  readonly key: string | null
  readonly discipline: Discipline
  /** Characters that make its payload larger. */
  readonly pad: number
  /** Not to be sent before. */
  readonly dueAt: number | null
  /** Began to be written. */
  readonly began: number
  /** Number in its payload; of the discipline `row` it is drawn by the database, and null until that has answered. */
  n: number | null
  /** Place among those of its key that hold the same lock; null when that was never learnt. */
  turn: number | null
  /** The writer knew that it was committed. */
  ended: number | null
  fate: Fate
}

/** A request that was taken, whatever the answer to it. */
export interface Receipt {
  /** By which consumers know it: `webhook-id`. */
  readonly id: string
  /** The same as its payload has it. */
  readonly writtenId: string
  readonly at: number
  /** Digest of the payload as it arrived. */
  readonly payload: string
  /** Digest of all that arrived. */
  readonly body: string
  /** The receiver itself saw to it that the relay could not know that it was taken. */
  readonly harmed: boolean
}

/** All that writers have done and receivers have taken in a run. */
export interface History {
  readonly emitted: readonly Emitted[]
  /** In the order in which they were taken. */
  readonly receipts: readonly Receipt[]
}
