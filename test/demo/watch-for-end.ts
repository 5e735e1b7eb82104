import { constants } from 'node:os'

/** Beyond the deadline of a demo, or after a signal: the children and the servers leave by themselves when we are gone. */
const graceMs = 20_000

/** A demo was ended from outside. */
export class Interrupted extends Error {
  readonly exitCode: number

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** Aborts at a signal, when nobody reads what we say any more, and when whoever started us is gone. A second signal ends at once. */
export function watchForEnd(deadlineMs: number): { readonly signal: AbortSignal; stop(): void } {
  const ending = new AbortController()
  const parent = process.ppid
  const end = (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP'): void => {
    const interrupted = new Interrupted(signal)
    if (ending.signal.aborted) process.exit(interrupted.exitCode)
    ending.abort(interrupted)
    setTimeout(() => process.exit(interrupted.exitCode), graceMs).unref()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => ending.signal.aborted || end('SIGHUP'))
  const looking = setInterval(() => process.ppid !== parent && !ending.signal.aborted && end('SIGHUP'), 500)
  const tooLong = setTimeout(() => process.exit(1), deadlineMs + graceMs)
  return {
    signal: ending.signal,
    stop() {
      clearInterval(looking)
      clearTimeout(tooLong)
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, end)
    },
  }
}
