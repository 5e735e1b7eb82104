import type { Place } from './place.ts'

export interface Totals {
  readonly received: number
  /** Different events that were taken. */
  readonly unique: number
  /** Arrivals of an event that had been taken before. */
  readonly duplicates: number
  readonly badSignatures: number
  /** Requests that were spoilt on purpose. */
  readonly misbehaved: number
  /** Events taken after a later one of their key. */
  readonly outOfOrder: number
}

/** What a receiver remembers: which events it has taken, and what came when. */
export class Ledger {
  readonly #arrivals = new Map<string, number>()
  readonly #taken = new Set<string>()
  readonly #last = new Map<string, string>()
  readonly #counts = { received: 0, duplicates: 0, badSignatures: 0, misbehaved: 0, outOfOrder: 0 }

  /** How often this id has arrived, this time included. */
  arrive(id: string | null): number {
    this.#counts.received++
    if (id === null) return 1
    const arrival = (this.#arrivals.get(id) ?? 0) + 1
    this.#arrivals.set(id, arrival)
    return arrival
  }

  refuse(): void {
    this.#counts.badSignatures++
  }

  misbehave(): void {
    this.#counts.misbehaved++
  }

  /** The event is acknowledged. Only what is taken for the first time can be out of order. */
  take(id: string | null, { key, sequence }: Place): { readonly duplicate: boolean; readonly outOfOrder: boolean } {
    if (id !== null && this.#taken.has(id)) {
      this.#counts.duplicates++
      return { duplicate: true, outOfOrder: false }
    }
    if (id !== null) this.#taken.add(id)
    if (key === null || sequence === null) return { duplicate: false, outOfOrder: false }
    const last = this.#last.get(key)
    const outOfOrder = last !== undefined && sequence < last
    if (outOfOrder) this.#counts.outOfOrder++
    else this.#last.set(key, sequence)
    return { duplicate: false, outOfOrder }
  }

  get totals(): Totals {
    return { ...this.#counts, unique: this.#taken.size }
  }
}
