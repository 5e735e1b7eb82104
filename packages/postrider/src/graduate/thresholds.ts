/** From where on a figure is a reason to prepare, and to graduate. */
export interface Threshold {
  readonly prepare: number
  readonly graduate: number
}

export type SignName = 'consumers' | 'fanOut' | 'throughput' | 'writes' | 'kept' | 'replays' | 'slow'

/**
 * All thresholds of `postrider graduate assess`. They are judgements, not laws: they stand in the output beside each figure.
 */
export const thresholds: Readonly<Record<SignName, Threshold>> = {
  /** Owners of sinks that get a kind of event. */
  consumers: { prepare: 4, graduate: 8 },
  /** Deliveries for one event. */
  fanOut: { prepare: 5, graduate: 10 },
  /** Busiest minute as a share of the measured capacity. */
  throughput: { prepare: 0.4, graduate: 0.7 },
  /** Rows written into the tables of Postrider, as a share of all that the database writes. */
  writes: { prepare: 0.15, graduate: 0.35 },
  /** Bytes of the log on disk. */
  kept: { prepare: 50e9, graduate: 300e9 },
  /** Events that were sent once more, as a share of those that were written. */
  replays: { prepare: 0.2, graduate: 1 },
  /** Attempts that were asked to wait, as a share of all. */
  slow: { prepare: 0.01, graduate: 0.05 },
}

/** So many signs that say graduate are a verdict. */
export const signsToGraduate = 2

/** Below both of these Kafka is never warranted, whatever else is so. */
export const small = { peakPerSecond: 50, consumers: 3 } as const

/** A key with more than this share of the events of its kind is worth a note: it sets the pace of its partition. */
export const busyKeyShare = 0.1

/** What helps sooner, and costs less than a cluster. */
export const cheaper: Readonly<Record<SignName, string>> = {
  consumers: 'let endpoints of one team share one, and fan out behind it',
  fanOut: 'merge endpoints of one owner, or narrow their types',
  throughput: 'add a relay, raise concurrency, audit only failures',
  writes: 'audit: failures instead of all; send thinner events',
  kept: 'keep for less time (postrider migrate segments --keep), and store large payloads elsewhere',
  replays: 'answer new consumers from a snapshot of the table, and replay only what they lack',
  slow: 'give slow endpoints a rate of their own: postrider sinks limits',
}
