import type { StreamRecord } from './records.ts'

/** Of a record batch of format 2: what stands before its first record. */
export const batchOverhead = 61
/** Length, attributes, timestamp and offset deltas, and the lengths of key, value and headers, at the most. */
const recordOverhead = 1 + 5 + 10 + 5 + 5 + 5 + 5
/** Lengths of name and value. */
const headerOverhead = 10

/** Bytes of a record in a batch, before compression; never less than what the broker counts. */
export function recordSize({ key, value, headers }: StreamRecord): number {
  let size = recordOverhead + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, bytes] of headers) size += headerOverhead + 3 * name.length + bytes.length
  return size
}

/** Bytes that are certainly in it, whatever the encoding of lengths. */
export function leastSize({ key, value, headers }: StreamRecord): number {
  let size = batchOverhead + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, bytes] of headers) size += name.length + bytes.length
  return size
}
