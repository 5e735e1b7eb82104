import { partitionOf } from './partition.ts'

export interface KeyUse {
  readonly key: string
  /** Default 1. */
  readonly records?: number
  /** Default 0. */
  readonly bytes?: number
}

export interface Share {
  readonly partition: number
  readonly keys: number
  readonly records: number
  readonly bytes: number
  /** Of all records, 0 to 1. */
  readonly share: number
}

export interface Simulation {
  readonly partitions: number
  readonly shares: readonly Share[]
  /** Records of the busiest partition, as a multiple of an even share. */
  readonly imbalance: number
}

/** Where these keys would go with each number of partitions: to choose one from what there is, not from a guess. */
export function simulate(keys: Iterable<KeyUse>, partitionCounts: readonly number[]): Simulation[] {
  const tallies = partitionCounts.map((partitions) => ({
    partitions,
    all: Array.from({ length: partitions }, () => ({ keys: 0, records: 0, bytes: 0 })),
  }))
  let total = 0
  for (const { key, records = 1, bytes = 0 } of keys) {
    const name = Buffer.from(key)
    total += records
    for (const { partitions, all } of tallies) {
      const one = all[partitionOf(name, partitions)]
      if (one === undefined) continue
      one.keys++
      one.records += records
      one.bytes += bytes
    }
  }
  return tallies.map(({ partitions, all }) => ({
    partitions,
    shares: all.map((one, partition) => ({ partition, ...one, share: total === 0 ? 0 : one.records / total })),
    imbalance: total === 0 ? 1 : Math.max(...all.map(({ records }) => records)) / (total / partitions),
  }))
}
