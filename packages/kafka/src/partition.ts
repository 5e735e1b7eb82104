import { murmur2 } from './murmur2.ts'

/** The partition of a key among so many, as Kafka's Java client chooses it. */
export function partitionOf(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
