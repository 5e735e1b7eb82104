/** For how long the database is left alone after news, as a multiple of what it takes to answer. */
const times = 8
/** News in quick succession costs no pause up to here, in milliseconds of such time: at a low rate nobody waits. */
const allowedMs = 50
const mostMs = 25
/** Weight of the newest look in what is known of its duration: one slow look says little. */
const newestCounts = 0.1

/**
 * Keeps looks apart while there is news all the time. Every look with news makes lanes read and settle a page, whatever is in it,
 * on the same machine that producers commit on: seldom enough, pages hold more events and cost them little. How seldom, the
 * database says itself by how long it takes to answer, so that a busy one has its peace and an idle one answers at once.
 */
export class Pause {
  #lookMs = 0
  #owedMs = 0
  #at = performance.now()

  /** A look has taken so long. */
  took(ms: number): void {
    this.#lookMs += newestCounts * (ms - this.#lookMs)
  }

  /** There was news: how long to wait before the next look, in milliseconds. */
  after(): number {
    const now = performance.now()
    this.#owedMs = Math.max(0, this.#owedMs - (now - this.#at)) + times * this.#lookMs
    this.#at = now
    this.#owedMs = Math.min(this.#owedMs, allowedMs + mostMs)
    return Math.max(0, this.#owedMs - allowedMs)
  }
}
