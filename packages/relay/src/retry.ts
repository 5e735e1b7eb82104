import { PostriderError } from '@postrider/schema'
import { waitFor } from './wait.ts'

/**
 * Does something with the database until it succeeds or the signal aborts (then: undefined): a relay outlives any outage.
 * Waits 100 ms after the first failure, twice as long after each, up to 5 s, with jitter.
 * Errors that waiting cannot mend (those of Postrider itself) are thrown.
 */
export async function untilDone<T>(
  signal: AbortSignal,
  work: () => Promise<T>,
  onFailure: (reason: string) => void,
): Promise<T | undefined> {
  for (let delay = 100; !signal.aborted; delay = Math.min(delay * 2, 5_000)) {
    try {
      return await work()
    } catch (error) {
      if (error instanceof PostriderError && error.code !== 'database_unavailable') throw error
      onFailure(error instanceof Error ? error.message : String(error))
      await waitFor(null, delay * (0.75 + Math.random() / 2), signal)
    }
  }
  return undefined
}
