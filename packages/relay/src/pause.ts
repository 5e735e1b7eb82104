/** For how long the database is left alone after news at most: as a multiple of what a look waits for its turn, and in milliseconds. */
const times = 48
const mostMs = 50
/** A look that finds so many events is worth it: nobody waits for more. */
const enough = 80
/** Events a second up to which there is no pause, and from which on it is whole; between them it grows evenly. */
const fewPerSecond = 300
const manyPerSecond = 1_000
/** Weight of the newest look in what is known of its duration: one slow look says little. */
const newestCounts = 0.1
/** Of so many looks, and the so many before, the quickest says how long one takes on a database that has nothing else to do. */
const looksOfBest = 1_000
/** For how long news counts in the rate, in milliseconds: its mean age. */
const memoryMs = 100

/**
 * Keeps looks apart while there is much news. Every look with news makes lanes read and settle a page, whatever is in it,
 * on the same machine that producers commit on: seldom enough, pages hold more events and cost them little. How seldom, the
 * database says itself by how much longer it takes to answer than it could, so that a busy one has its peace and one with time
 * to spare is asked again at once, however far away it is.
 */
export class Pause {
  #lookMs = 0
  #looks = 0
  #bestMs = Infinity
  #nextBestMs = Infinity
  #perMs = 0
  #at = -Infinity

  /**
   * A look has taken so long, and has found so many events.
   *
   * @param now by `performance.now()`
   */
  took(ms: number, found: number, now: number = performance.now()): void {
    this.#lookMs = this.#looks === 0 ? ms : this.#lookMs + newestCounts * (ms - this.#lookMs)
    this.#bestMs = Math.min(this.#bestMs, ms)
    this.#nextBestMs = Math.min(this.#nextBestMs, ms)
    if (++this.#looks % looksOfBest === 0) {
      this.#bestMs = this.#nextBestMs
      this.#nextBestMs = Infinity
    }
    const since = Math.max(now - this.#at, 0.001)
    const fades = Math.exp(-since / memoryMs)
    this.#perMs = this.#perMs * fades + (found / since) * (1 - fades)
    this.#at = now
  }

  /** There was news: how long to wait before the next look, in milliseconds. */
  after(): number {
    const share = (1_000 * this.#perMs - fewPerSecond) / (manyPerSecond - fewPerSecond)
    return Math.min(mostMs, enough / this.#perMs, times * (this.#lookMs - this.#bestMs) * Math.min(1, Math.max(0, share)))
  }
}
