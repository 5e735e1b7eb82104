import { randomFillSync } from 'node:crypto'

const hex: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const bytesPerId = 10

/**
 * UUIDs of version 7 (RFC 9562, section 5.7) that grow with every call, whatever the clock does:
 * `rand_a` is a counter (section 6.2, method 1) that starts each millisecond in its lower half, and
 * borrows the next millisecond when it is full. 62 random bits follow.
 */
export function createIds(now: () => number): () => string {
  // Random bytes are drawn for 256 ids at a time: one system call for each id would cost more than the id.
  const random = new Uint8Array(bytesPerId * 256)
  let used = random.length
  let millisecond = 0
  let counter = 0

  const byte = (): number => random[used++] as number

  return () => {
    if (used === random.length) {
      randomFillSync(random)
      used = 0
    }
    const seed = ((byte() << 8) | byte()) & 0x7ff
    const clock = now()
    if (clock > millisecond) {
      millisecond = clock
      counter = seed
    } else if (++counter > 0xfff) {
      millisecond += 1
      counter = seed
    }
    const time = millisecond.toString(16).padStart(12, '0')
    const variant = hex[0x80 | (byte() & 0x3f)]
    let node = ''
    for (let i = 0; i < 6; i++) node += hex[byte()]
    return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${variant}${hex[byte()]}-${node}`
  }
}

/** A new UUIDv7, above all that this process made before. */
export const uuidv7: () => string = createIds(Date.now)
