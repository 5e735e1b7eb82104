import { WireError, type Limit } from './wire.ts'

/**
 * Waits for an answer, but not longer than its limit. When that passes, `giveUp` is called, so that what hangs is torn down and
 * not only left behind.
 */
export async function within<T>(limit: Limit, sent: boolean, work: Promise<T>, giveUp: () => void): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => {
      reject(new WireError('silent', `no answer within ${Math.round(limit.ms)} ms`, sent))
      giveUp()
    },
    Math.max(1, limit.ms),
  )
  const abort = (): void => reject(new WireError('aborted', 'interrupted', sent))
  limit.signal?.addEventListener('abort', abort)
  if (limit.signal?.aborted === true) abort()
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
    limit.signal?.removeEventListener('abort', abort)
    // Whichever lost the race must not end as an unhandled rejection.
    work.catch(() => {})
    promise.catch(() => {})
  }
}
