import type { Item } from './item.ts'

interface Post {
  readonly item: Item
  readonly signal: AbortSignal
  readonly number: number
}

/**
 * Events between the call of `deliver` and their answers, with the signals that interrupt them. Each has a place in an array, which
 * the next one takes when it is answered. A Set would keep nearly all of them until a full collection: V8 lets its outgrown tables
 * point to their successors, so one that is old keeps those that come after it.
 */
export class UnderWay {
  readonly #places: (Post | null)[] = []
  readonly #free: number[] = []
  readonly #signals = new WeakSet<AbortSignal>()
  readonly #interrupt: (items: readonly Item[]) => void
  #begun = 0

  /** @param interrupt called once for each signal that aborts, with what is under way then, in the order in which it began */
  constructor(interrupt: (items: readonly Item[]) => void) {
    this.#interrupt = interrupt
  }

  /** A place for an item; it is to be given back. */
  take(): number {
    return this.#free.pop() ?? this.#places.push(null) - 1
  }

  begin(place: number, item: Item, signal: AbortSignal): void {
    this.#places[place] = { item, signal, number: this.#begun++ }
    if (this.#signals.has(signal)) return
    this.#signals.add(signal)
    signal.addEventListener('abort', () => this.#interrupt(this.#begunWith((post) => post.signal === signal)), { once: true })
  }

  end(place: number): void {
    this.#places[place] = null
    this.#free.push(place)
  }

  get items(): readonly Item[] {
    return this.#begunWith(() => true)
  }

  #begunWith(wanted: (post: Post) => boolean): readonly Item[] {
    return this.#places
      .flatMap((post) => (post !== null && wanted(post) ? [post] : []))
      .sort((a, b) => a.number - b.number)
      .map(({ item }) => item)
  }
}
