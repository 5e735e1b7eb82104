/** Waits for a time to pass, or for a stop: whichever is first. Leaves no listener behind. */
export async function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  await new Bell().wait(ms, signal)
}

/** Waits for work, but no longer than `ms`, and whatever becomes of it; for what may never answer. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const bell = new Bell()
  const ring = (): void => bell.ring()
  work.then(ring, ring)
  await bell.wait(ms)
}

/** A bell: rung any number of times, heard once. Rung before anybody waits, it is heard at once. */
export class Bell {
  #rung = false
  readonly #waiting = new Set<() => void>()

  ring(): void {
    this.#rung = true
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  /** Forgets what was rung so far. */
  hush(): void {
    this.#rung = false
  }

  get rung(): boolean {
    return this.#rung
  }

  /** Waits until it rings, the time has passed, or the signal aborts. A wait that ends leaves nothing behind. */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.#rung || signal?.aborted === true || ms <= 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    // A longer time than a timer can hold is waited for in parts, by those who wait in loops.
    const timer = ms === Infinity ? undefined : setTimeout(resolve, Math.min(Math.ceil(ms), 2_147_483_647))
    const wake = (): void => resolve()
    this.#waiting.add(wake)
    signal?.addEventListener('abort', wake)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(wake)
      signal?.removeEventListener('abort', wake)
    }
  }
}
