import { createRequire } from 'node:module'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { encodeBatch } from '../src/record-batch.ts'
import type { StreamRecord } from '../src/records.ts'

const require = createRequire(import.meta.url)
interface Encoded {
  readonly buffer: Buffer
}
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  readonly RecordBatch: (batch: object) => Promise<Encoded>
}
const recordOf = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => Encoded
const crc32c = require('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number

/** Numbers that are the same in every run (mulberry32). */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

function recordsOf(seed: number): StreamRecord[] {
  const random = chance(seed)
  const bytes = (most: number): Buffer => Buffer.from(Array.from({ length: random() ** 4 * most }, () => random() * 256))
  return Array.from({ length: 1 + Math.floor(random() ** 2 * 300) }, (_, index) => ({
    key: random() < 0.1 ? null : bytes(200),
    value: random() < 0.1 ? null : bytes(20_000),
    headers: Array.from({ length: random() * 5 }, (__, nth) => [`h${nth}-é${'x'.repeat(random() * 70)}`, bytes(300)] as const),
    // Neighbours in the log may have happened years apart, in any order.
    timestampMs: index === 0 ? 1_700_000_000_000 : Math.floor(1_700_000_000_000 + random() ** 3 * 100_000_000_000),
  }))
}

async function byKafkajs(records: readonly StreamRecord[]): Promise<Buffer> {
  const start = records.at(0)!.timestampMs
  const { buffer } = await RecordBatch({
    records: records.map(({ key, value, headers, timestampMs }, offsetDelta) =>
      recordOf({
        key,
        value,
        headers: Object.fromEntries(headers),
        offsetDelta,
        timestampDelta: timestampMs - start,
      }),
    ),
    firstTimestamp: start,
    maxTimestamp: Math.max(...records.map(({ timestampMs }) => timestampMs)),
    producerId: '4711',
    producerEpoch: 3,
    firstSequence: 99,
    lastOffsetDelta: records.length - 1,
  })
  return buffer
}

const producer = { id: 4711n, epoch: 3 }
const [leaderEpochAt, afterLeaderEpoch] = [12, 16]

it('a batch is what kafkajs makes of the same records, but for the epoch of the leader', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const records = recordsOf(seed)
    const ours = await encodeBatch({ records, producer, sequence: 99, compression: 'none' }, crc32c)
    const theirs = await byKafkajs(records)
    for (const batch of [ours, theirs]) batch.fill(0, leaderEpochAt, afterLeaderEpoch)
    expect(ours.equals(theirs), `seed ${seed}`).toBe(true)
  }
})

it.each([
  ['gzip', 1, gunzipSync],
  ['zstd', 4, zstdDecompressSync],
] as const)('%s compresses the records, says so, and sums up what is sent', async (compression, bits, decompress) => {
  const records = recordsOf(7)
  const plain = await encodeBatch({ records, producer, sequence: 99, compression: 'none' }, crc32c)
  const packed = await encodeBatch({ records, producer, sequence: 99, compression }, crc32c)
  expect(decompress(packed.subarray(61)).equals(plain.subarray(61))).toBe(true)
  expect(packed.readInt16BE(21)).toBe(bits)
  expect(packed.readInt32BE(8)).toBe(packed.length - 12)
  expect(packed.readUInt32BE(17)).toBe(crc32c(packed.subarray(21)))
})

it('without a producer it is not idempotent', async () => {
  const batch = await encodeBatch({ records: recordsOf(1), producer: null, sequence: 5, compression: 'none' }, crc32c)
  expect([batch.readBigInt64BE(43), batch.readInt16BE(51), batch.readInt32BE(53)]).toEqual([-1n, -1, -1])
})
