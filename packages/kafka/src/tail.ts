import type { Driver } from './driver.ts'

/** So many records of a tail are remembered at the most, whatever has been read. */
export interface TailOptions {
  readonly topic: string
  readonly partition: number
  readonly lookBack: number
  /** Header with the id of the event. */
  readonly header: string
}

/**
 * What stands at the end of a partition: ids of events, and where. Read when an event may be there already; then only what has
 * come since is read.
 */
export class Tail {
  readonly #driver: Driver
  readonly #options: TailOptions
  readonly #offsets = new Map<string, bigint>()
  #next: bigint | null = null

  constructor(driver: Driver, options: TailOptions) {
    this.#driver = driver
    this.#options = options
  }

  /** Reads up to the end that the partition has now. Throws what the driver throws. */
  async refresh(signal: AbortSignal): Promise<void> {
    const { topic, partition, lookBack, header } = this.#options
    const bounds = (await this.#driver.bounds(topic, signal)).get(partition)
    if (bounds === undefined) return
    const { first, next } = bounds
    // A topic that was made anew begins again at 0.
    if (this.#next !== null && this.#next > next) this.forget()
    const back = next - BigInt(lookBack)
    const from = [first, back, this.#next ?? 0n].reduce((a, b) => (a > b ? a : b))
    for await (const record of this.#driver.read(topic, partition, from, next, signal)) {
      const id = record.headers.get(header)
      if (id !== undefined) this.#offsets.set(id.toString(), record.offset)
    }
    this.#next = next
    for (const oldest of this.#offsets.keys()) {
      if (this.#offsets.size <= lookBack) break
      this.#offsets.delete(oldest)
    }
  }

  /** Where the event of this id stands; null: not in the tail. */
  offsetOf(id: string): bigint | null {
    return this.#offsets.get(id) ?? null
  }

  forget(): void {
    this.#offsets.clear()
    this.#next = null
  }
}
