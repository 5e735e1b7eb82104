/** A source of chance that gives the same for the same seed. Streams with different names don't disturb one another. */
export class Random {
  #state: number
  readonly #seed: string

  constructor(seed: string) {
    this.#seed = seed
    // FNV-1a, so that seeds that differ little begin far apart.
    let hash = 0x811c9dc5
    for (const letter of seed) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193)
    this.#state = hash >>> 0
  }

  /** Another one, named after its use. */
  stream(name: string): Random {
    return new Random(`${this.#seed}/${name}`)
  }

  /** From 0 to 1, without 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  chance(share: number): boolean {
    return this.next() < share
  }

  pick<T>(of: readonly T[]): T {
    const one = of[this.int(0, of.length - 1)]
    if (one === undefined) throw new RangeError('there is nothing to pick from')
    return one
  }

  /** A UUID of version 4. */
  uuid(): string {
    const digits = Array.from({ length: 32 }, () => this.int(0, 15).toString(16))
    digits[12] = '4'
    digits[16] = '89ab'.charAt(this.int(0, 3))
    const text = digits.join('')
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-')
  }
}
