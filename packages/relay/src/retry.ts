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
  onFailure: (error: unknown) => void,
): Promise<T | undefined> {
  for (let delay = 100; !signal.aborted; delay = Math.min(delay * 2, 5_000)) {
    try {
      return await work()
    } catch (error) {
      if (error instanceof PostriderError && error.code !== 'database_unavailable') throw error
      onFailure(error)
      await waitFor(delay * (0.75 + Math.random() / 2), signal)
    }
  }
  return undefined
}

/**
 * What a failed statement says: the database is away (no connection, shutting down, out of resources, read-only),
 * the statement lost a race and may simply be tried again, or it is wrong.
 * SQLSTATE classes as in appendix A of the PostgreSQL manual.
 */
export function meaningOf(error: unknown): 'away' | 'race' | 'fault' {
  if (error instanceof PostriderError) return 'away'
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  // Every SQLSTATE has a digit; EPIPE has none.
  if (!/^(?=.*\d)[0-9A-Z]{5}$/.test(code)) return error instanceof TypeError || error instanceof RangeError ? 'fault' : 'away'
  // 23505: the next fence of a lane was taken by its former owner, just now.
  if (/^(40|55)|^23505$/.test(code)) return 'race'
  return /^(08|53|57|58)|^25006$/.test(code) ? 'away' : 'fault'
}
