/** Waits for something to happen, for a time to pass, or for a stop: whichever is first. Leaves no listener behind. */
export async function waitFor(happens: Promise<unknown> | null, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = (): void => resolve()
  const timer = ms === Infinity ? undefined : setTimeout(stop, Math.min(ms, 2_147_483_647))
  signal.addEventListener('abort', stop)
  try {
    await (happens === null ? promise : Promise.race([happens, promise]))
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}

/** A bell: rung any number of times, heard once. Rung before anybody waits, it is heard at once. */
export class Bell {
  #rung = false
  #waiting = Promise.withResolvers<void>()

  ring(): void {
    this.#rung = true
    this.#waiting.resolve()
  }

  /** Forgets what was rung so far. */
  hush(): void {
    if (!this.#rung) return
    this.#rung = false
    this.#waiting = Promise.withResolvers<void>()
  }

  get rung(): boolean {
    return this.#rung
  }

  /** Waits until it rings, the time has passed, or the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return this.#rung ? Promise.resolve() : waitFor(this.#waiting.promise, ms, signal)
  }
}
