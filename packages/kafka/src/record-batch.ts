import { promisify } from 'node:util'
import { gzip, zstdCompress } from 'node:zlib'
import { batchOverhead } from './record-size.ts'
import type { StreamRecord } from './records.ts'
import type { Compression, ProduceRequest } from './wire.ts'

/*
 * A batch of records in format 2 (Apache Kafka, "Record Batch" of its message format), which every broker since 0.11 takes.
 * Written here because it is most of the work for a record: the encoder of kafkajs makes several buffers for each header.
 */

const compressors = {
  gzip: promisify<Buffer, Buffer>(gzip),
  zstd: promisify<Buffer, Buffer>(zstdCompress),
}
/** Of the attributes of a batch. */
const codecBits: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, zstd: 4 }

const magic = 2
const lengthAt = 8
const crcAt = 17
const attributesAt = 21
/** Where the number of records stands, and where the records begin. */
const countAt = 57
const recordsAt = batchOverhead

/** Bytes of the batch, from its base offset to its last record. @param crc32c of bytes (Castagnoli) */
export async function encodeBatch(
  { records, producer, sequence, compression }: Pick<ProduceRequest, 'records' | 'producer' | 'sequence' | 'compression'>,
  crc32c: (bytes: Buffer) => number,
): Promise<Buffer> {
  const first = records[0]?.timestampMs ?? 0
  let latest = first
  const bodies: number[] = []
  let size = recordsAt
  for (const [index, record] of records.entries()) {
    if (record.timestampMs > latest) latest = record.timestampMs
    const body = bodySize(record, record.timestampMs - first, index)
    bodies.push(body)
    size += varintSize(body) + body
  }
  let batch = Buffer.allocUnsafe(size)
  let at = recordsAt
  for (const [index, record] of records.entries()) {
    at = writeVarint(batch, at, bodies[index] ?? 0)
    at = writeBody(batch, at, record, record.timestampMs - first, index)
  }
  if (compression !== 'none') {
    batch = Buffer.concat([batch.subarray(0, recordsAt), await compressors[compression](batch.subarray(recordsAt))])
  }
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - lengthAt - 4, lengthAt)
  batch.writeInt32BE(-1, 12) // the leader's epoch: the broker's to know
  batch.writeInt8(magic, 16)
  batch.writeInt16BE(codecBits[compression], attributesAt)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(first), 27)
  batch.writeBigInt64BE(BigInt(latest), 35)
  batch.writeBigInt64BE(producer?.id ?? -1n, 43)
  batch.writeInt16BE(producer?.epoch ?? -1, 51)
  batch.writeInt32BE(producer === null ? -1 : sequence, 53)
  batch.writeInt32BE(records.length, countAt)
  batch.writeUInt32BE(crc32c(batch.subarray(attributesAt)), crcAt)
  return batch
}

function bodySize({ key, value, headers }: StreamRecord, timestampDelta: number, offsetDelta: number): number {
  let size = 1 + varintSize(timestampDelta) + varintSize(offsetDelta) + bytesSize(key) + bytesSize(value)
  size += varintSize(headers.length)
  for (const [name, bytes] of headers) size += bytesSize(nameOf(name)) + bytesSize(bytes)
  return size
}

function writeBody(
  to: Buffer,
  at: number,
  { key, value, headers }: StreamRecord,
  timestampDelta: number,
  offsetDelta: number,
): number {
  to[at] = 0 // attributes: none are known
  let next = writeVarint(to, at + 1, timestampDelta)
  next = writeVarint(to, next, offsetDelta)
  next = writeBytes(to, next, key)
  next = writeBytes(to, next, value)
  next = writeVarint(to, next, headers.length)
  for (const [name, bytes] of headers) {
    next = writeBytes(to, next, nameOf(name))
    next = writeBytes(to, next, bytes)
  }
  return next
}

function bytesSize(bytes: Uint8Array | null): number {
  return bytes === null ? varintSize(-1) : varintSize(bytes.length) + bytes.length
}

function writeBytes(to: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) return writeVarint(to, at, -1)
  const next = writeVarint(to, at, bytes.length)
  to.set(bytes, next)
  return next + bytes.length
}

/** Zigzag: small numbers are short, whatever their sign. */
function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1
}

function varintSize(value: number): number {
  let size = 1
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) size++
  return size
}

function writeVarint(to: Buffer, at: number, value: number): number {
  let next = at
  let rest = zigzag(value)
  for (; rest >= 128; rest = Math.floor(rest / 128)) to[next++] = (rest % 128) | 128
  to[next++] = rest
  return next
}

/** Names of headers are few, and the same in every record; those of producers could be anything. */
const names = new Map<string, Buffer>()
const mostNames = 1_000

function nameOf(name: string): Buffer {
  const known = names.get(name)
  if (known !== undefined) return known
  const bytes = Buffer.from(name)
  if (names.size < mostNames) names.set(name, bytes)
  return bytes
}
