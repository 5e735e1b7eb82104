const seed = 0x9747b28c
const m = 0x5bd1e995

/**
 * MurmurHash2, 32 bit, with the seed of Kafka's Java client, so that a key lands where Java, Streams and Connect put it.
 * The result is signed, as in Java (`org.apache.kafka.common.utils.Utils.murmur2`).
 */
export function murmur2(data: Buffer): number {
  const { length } = data
  let h = seed ^ length
  let at = 0
  for (; at + 4 <= length; at += 4) {
    let k = data.readInt32LE(at)
    k = Math.imul(k, m)
    k ^= k >>> 24
    h = Math.imul(h, m) ^ Math.imul(k, m)
  }
  const rest = length - at
  if (rest > 2) h ^= data.readUInt8(at + 2) << 16
  if (rest > 1) h ^= data.readUInt8(at + 1) << 8
  if (rest > 0) h = Math.imul(h ^ data.readUInt8(at), m)
  h ^= h >>> 13
  h = Math.imul(h, m)
  return h ^ (h >>> 15)
}
