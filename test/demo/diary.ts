import { clockMs } from './clock.ts'

/** An event that the service has written, and that its COMMIT has confirmed. */
export interface Written {
  readonly id: string
  readonly orderId: number
  /** Grows in the order in which the events of an order were written, while the service held its row. */
  readonly place: number
  /** Just before COMMIT was sent, by the clock of clock.ts. */
  readonly committingMs: number
}

export type Note = (orderId: number, ...ids: readonly string[]) => void

/** One transaction in the diary. */
export interface Page {
  /** Events were written, in this order. */
  readonly note: Note
  committing(): void
  committed(): void
  rolledBack(): void
}

/** What the order service itself knows of its transactions, whatever the outbox says: the truth to compare with. */
export class Diary {
  readonly committed: Written[] = []
  /** Events that were written and taken back. */
  readonly rolledBack: string[] = []
  rolledBackTransactions = 0
  readonly #committingMs = new Map<string, number>()
  #places = 0

  /** When the COMMIT of an event was sent; undefined as long as it was not. */
  committingMs(id: string): number | undefined {
    return this.#committingMs.get(id)
  }

  open(): Page {
    const notes: { readonly id: string; readonly orderId: number; readonly place: number }[] = []
    let committingMs = 0
    return {
      note: (orderId, ...ids) => {
        for (const id of ids) notes.push({ id, orderId, place: ++this.#places })
      },
      committing: () => {
        committingMs = clockMs()
        for (const { id } of notes) this.#committingMs.set(id, committingMs)
      },
      committed: () => {
        for (const note of notes) this.committed.push({ ...note, committingMs })
      },
      rolledBack: () => {
        if (notes.length > 0) this.rolledBackTransactions++
        for (const { id } of notes) this.rolledBack.push(id)
      },
    }
  }
}
