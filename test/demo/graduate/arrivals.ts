import type { Intake, Road } from './messages.ts'

/** By which roads each event has come, whether it took effect then or before. */
export class Arrivals {
  readonly #first = new Map<string, Road>()
  readonly #both = new Set<string>()
  readonly #taken: Record<Road, number> = { webhook: 0, kafka: 0 }

  note(id: string, road: Road): void {
    const first = this.#first.get(id)
    if (first === undefined) {
      this.#first.set(id, road)
      this.#taken[road]++
    } else if (first !== road) this.#both.add(id)
  }

  get intake(): Intake {
    return { ...this.#taken, both: this.#both.size }
  }
}
