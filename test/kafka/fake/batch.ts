/** Record batches of format 2, as they lie in a log and travel in requests. */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { Reader } from './wire.ts'

export interface StoredRecord {
  readonly offset: bigint
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
}

export interface Batch {
  readonly bytes: Buffer
  readonly count: number
  readonly lastOffsetDelta: number
  /** -1 without idempotence. */
  readonly producerId: bigint
  readonly epoch: number
  readonly firstSequence: number
  readonly lastSequence: number
}

const crcAt = 17
const attributesAt = 21
const recordsAt = 61

/** null for bytes that a broker calls corrupt. */
export function parseBatch(bytes: Buffer): Batch | null {
  if (bytes.length < recordsAt || bytes.readInt32BE(8) !== bytes.length - 12 || bytes.readInt8(16) !== 2) return null
  if (crc32c(bytes.subarray(attributesAt)) !== bytes.readUInt32BE(crcAt)) return null
  const lastOffsetDelta = bytes.readInt32BE(23)
  const firstSequence = bytes.readInt32BE(53)
  return {
    bytes,
    count: bytes.readInt32BE(57),
    lastOffsetDelta,
    producerId: bytes.readBigInt64BE(43),
    epoch: bytes.readInt16BE(51),
    firstSequence,
    lastSequence: (firstSequence + lastOffsetDelta) % 2 ** 31,
  }
}

/** The batch as the log keeps it: its place and the leader's epoch are not part of the checksum. */
export function place(bytes: Buffer, offset: bigint, leaderEpoch: number): Buffer {
  const placed = Buffer.from(bytes)
  placed.writeBigInt64BE(offset)
  placed.writeInt32BE(leaderEpoch, 12)
  return placed
}

export function recordsOf(bytes: Buffer): StoredRecord[] {
  const baseOffset = bytes.readBigInt64BE()
  const baseTimestamp = bytes.readBigInt64BE(27)
  const reader = new Reader(decompress(bytes.readInt16BE(attributesAt) & 7, bytes.subarray(recordsAt)))
  const sized = (): Buffer | null => {
    const length = reader.varint()
    return length < 0 ? null : Buffer.from(reader.take(length))
  }
  return Array.from({ length: bytes.readInt32BE(57) }, () => {
    reader.varint() // length
    reader.int8() // attributes
    const timestampMs = Number(baseTimestamp + reader.varlong())
    const offset = baseOffset + BigInt(reader.varint())
    const [key, value] = [sized(), sized()]
    const headers = Array.from({ length: reader.varint() }, () => [String(sized()), sized()] as const)
    return { offset, timestampMs, key, value, headers }
  })
}

function decompress(codec: number, bytes: Buffer): Buffer {
  if (codec === 0) return bytes
  if (codec === 1) return gunzipSync(bytes)
  if (codec === 4) return zstdDecompressSync(bytes)
  throw new Error(`the fake broker cannot read compression ${codec}`)
}

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value
})

/** CRC-32C (Castagnoli). */
export function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}
