import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until something holds, and says what was missing when it does not in time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, deadlineMs = 15_000): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await sleep(10)
  }
}
