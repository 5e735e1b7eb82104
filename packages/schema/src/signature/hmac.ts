import { createHmac, hash, type KeyObject } from 'node:crypto'

/** Of SHA-256 (RFC 2104, section 2). */
const blockBytes = 64
const digestBytes = 32
/** What is larger is not copied, and goes the way of `createHmac`. */
const largestCopy = 65_536

/**
 * HMAC-SHA256 as RFC 2104 defines it, of two hashes in one call each: `createHmac` makes an object outside of the heap, which with
 * its end costs four times what is hashed here. A sink signs every request.
 */
export class Hmac {
  readonly #key: KeyObject
  /** The padded key, and room for what is signed. */
  #inner: Buffer
  /** The padded key, and room for the inner digest. */
  readonly #outer: Buffer

  /** @param key of 64 bytes at most, as all secrets are */
  constructor(key: KeyObject) {
    const raw = key.export()
    if (raw.length > blockBytes) throw new RangeError(`a key of HMAC-SHA256 has at most ${blockBytes} bytes here`)
    const padded = (pad: number, room: number): Buffer => {
      const block = Buffer.alloc(blockBytes + room)
      for (let index = 0; index < blockBytes; index++) block[index] = (raw[index] ?? 0) ^ pad
      return block
    }
    this.#key = key
    this.#inner = padded(0x36, 4_096)
    this.#outer = padded(0x5c, digestBytes)
  }

  /** Of the two parts, one after the other; as base64. @param head ASCII */
  digest(head: string, body: Uint8Array): string {
    const bytes = blockBytes + head.length + body.length
    if (bytes > largestCopy) return createHmac('sha256', this.#key).update(head).update(body).digest('base64')
    if (bytes > this.#inner.length) this.#inner = Buffer.concat([this.#inner], Math.min(largestCopy, 2 * bytes))
    this.#inner.write(head, blockBytes, 'latin1')
    this.#inner.set(body, blockBytes + head.length)
    this.#outer.write(hash('sha256', this.#inner.subarray(0, bytes), 'binary'), blockBytes, 'latin1')
    return hash('sha256', this.#outer, 'base64')
  }
}
