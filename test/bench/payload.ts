import { randomBytes } from 'node:crypto'

/** Text that does not compress to nothing, as documents of services do not: cut at different places for different events. */
const pool = randomBytes(600_000).toString('base64')
const longest = 400_000

/** A payload with the number of its event, whose JSON text has so many bytes (30 at least, 400,000 at most). */
export function payloadOf(n: number, bytes: number): { readonly n: number; readonly pad: string } {
  const length = bytes - JSON.stringify({ n, pad: '' }).length
  if (length < 0 || length > longest) throw new RangeError(`a payload of ${bytes} bytes cannot be made`)
  const from = (n * 7_919) % (pool.length - length)
  return { n, pad: pool.slice(from, from + length) }
}

/** The number of an event, from the text of its payload. */
export function numberOf(payloadText: string | null): number {
  const text = payloadText ?? ''
  const from = text.indexOf('"n":')
  return from === -1 ? 0 : Number.parseInt(text.slice(from + 4, from + 20), 10)
}

/** One of so many keys, in no order that an event's number would give away; the same at each call. */
export function keyOf(n: number, keys: number): string {
  let mixed = Math.imul(n ^ (n >>> 16), 0x45d9f3b)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b)
  return `k${((mixed ^ (mixed >>> 16)) >>> 0) % keys}`
}
