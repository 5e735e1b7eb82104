/** How a person or an orchestrator ends the program. */
export interface Stop extends Disposable {
  /** Aborts at the first SIGTERM or SIGINT: stop claiming, finish what is in flight. */
  readonly gracefully: AbortSignal
  /** Aborts at the second: break off what is in flight, release the leases. */
  readonly atOnce: AbortSignal
}

const signals = ['SIGTERM', 'SIGINT'] as const

/** Listens for signals until it is disposed of; a third one changes nothing, since the second has its own deadline. */
export function listenForStop(tell: (signal: NodeJS.Signals, forced: boolean) => void): Stop {
  const gracefully = new AbortController()
  const atOnce = new AbortController()
  const receive = (signal: NodeJS.Signals): void => {
    const forced = gracefully.signal.aborted
    tell(signal, forced)
    if (forced) atOnce.abort()
    else gracefully.abort()
  }
  for (const signal of signals) process.on(signal, receive)
  return {
    gracefully: gracefully.signal,
    atOnce: atOnce.signal,
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, receive)
    },
  }
}
