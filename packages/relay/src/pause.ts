/** For how long the database is left alone after news at most, as a multiple of what it takes to answer, and in milliseconds. */
const times = 32
const mostMs = 50
/** Events a second up to which there is no pause, and from which on it is whole; between them it grows evenly. */
const fewPerSecond = 300
const manyPerSecond = 1_000
/** Weight of the newest look in what is known of its duration: one slow look says little. */
const newestCounts = 0.1
/** For how long news counts in the rate, in milliseconds: its mean age. */
const memoryMs = 100

/**
 * Keeps looks apart while there is much news. Every look with news makes lanes read and settle a page, whatever is in it,
 * on the same machine that producers commit on: seldom enough, pages hold more events and cost them little. How seldom, the
 * database says itself by how long it takes to answer, so that a busy one has its peace and an idle one answers at once.
 */
export class Pause {
  #lookMs = 0
  /** News, each with the weight that its age has left it. */
  #recent = 0
  #at = -Infinity

  /**
   * A look has taken so long, and has found so many events.
   *
   * @param now by `performance.now()`
   */
  took(ms: number, found: number, now: number = performance.now()): void {
    this.#lookMs += newestCounts * (ms - this.#lookMs)
    this.#recent = this.#recent * Math.exp((this.#at - now) / memoryMs) + found
    this.#at = now
  }

  /** There was news: how long to wait before the next look, in milliseconds. */
  after(): number {
    const perSecond = (1_000 * this.#recent) / memoryMs
    const share = (perSecond - fewPerSecond) / (manyPerSecond - fewPerSecond)
    return Math.min(mostMs, times * this.#lookMs * Math.min(1, Math.max(0, share)))
  }
}
