import type { Address } from './wire.ts'

/** Connections by address: one at a time for each, opened when first needed, replaced when broken. */
export class Links<L> {
  readonly #open: (at: Address) => Promise<L>
  readonly #usable: (link: L) => boolean
  readonly #drop: (link: L) => void
  readonly #links = new Map<string, L>()
  readonly #opening = new Map<string, Promise<L>>()
  #closed = false

  constructor(open: (at: Address) => Promise<L>, usable: (link: L) => boolean, drop: (link: L) => void) {
    this.#open = open
    this.#usable = usable
    this.#drop = drop
  }

  get closed(): boolean {
    return this.#closed
  }

  async get(at: Address): Promise<L> {
    const name = `${at.host}:${at.port}`
    const link = this.#links.get(name)
    if (link !== undefined) {
      if (this.#usable(link)) return link
      this.drop(at, link)
    }
    let opening = this.#opening.get(name)
    if (opening === undefined) {
      opening = this.#connect(name, at).finally(() => this.#opening.delete(name))
      this.#opening.set(name, opening)
    }
    return await opening
  }

  /** It is broken, or does not answer: what still waits for it fails, and the next request opens another. */
  drop(at: Address, link: L): void {
    const name = `${at.host}:${at.port}`
    if (this.#links.get(name) === link) this.#links.delete(name)
    this.#drop(link)
  }

  close(): void {
    this.#closed = true
    for (const link of this.#links.values()) this.#drop(link)
    this.#links.clear()
  }

  async #connect(name: string, at: Address): Promise<L> {
    const link = await this.#open(at)
    if (this.#closed) {
      this.#drop(link)
      throw new Error('closed')
    }
    this.#links.set(name, link)
    return link
  }
}
