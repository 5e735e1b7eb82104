import { setTimeout as sleep } from 'node:timers/promises'
import { isPostriderError } from '@postrider/schema'
import { exitCodes } from './exit.ts'
import { say } from './print.ts'
import { listenForStop } from './stop.ts'

const againMs = { first: 500, most: 5_000 }

/**
 * Looks again and again until Ctrl-C, and sets exit code 130 then. A database that goes away is waited for, with a word
 * when it goes and when it is back; any other error ends it.
 * @param look answers how long to wait before the next look, in ms
 */
export async function watch(look: (signal: AbortSignal) => Promise<number>): Promise<void> {
  using stop = listenForStop((_, again) => {
    if (again) process.exit(exitCodes.interrupted)
  })
  const signal = stop.gracefully
  let againIn: number | null = null
  while (!signal.aborted) {
    let waitMs: number
    try {
      waitMs = await look(signal)
      if (againIn !== null) say('the database is back')
      againIn = null
    } catch (error) {
      if (!isAway(error)) throw error
      if (againIn === null) say(`${error instanceof Error ? error.message : String(error)}; looking again until it is back`)
      waitMs = againIn = Math.min((againIn ?? againMs.first / 2) * 2, againMs.most)
    }
    await sleep(waitMs, undefined, { signal }).catch(() => undefined)
  }
  process.exitCode = exitCodes.interrupted
}

/** Gone, or too slow to answer in time. */
function isAway(error: unknown): boolean {
  return (
    (isPostriderError(error) && error.code === 'database_unavailable') ||
    (error instanceof Error && (error.message === 'Query read timeout' || ('code' in error && error.code === '57014')))
  )
}
