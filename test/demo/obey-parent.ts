import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** After the parent is gone, this process is too, whatever still hangs. */
const leaveMs = 3_000

export interface Parent {
  readonly settings: unknown
  /** Aborts when this process shall leave. */
  readonly leave: AbortSignal
  /** Hears of every order that comes from now on. */
  onOrder(listener: (order: unknown) => void): void
}

/** The other side of start-child.ts. */
export async function obeyParent(): Promise<Parent> {
  const leaving = new AbortController()
  // Ctrl-C in a terminal reaches every process of the demo; the parent decides what becomes of it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const lines = createInterface({ input: process.stdin })
  const settings = await new Promise<unknown>((resolve) => {
    lines.once('line', (line) => resolve(JSON.parse(line)))
    lines.once('close', () => {
      leaving.abort()
      setTimeout(() => process.exit(1), leaveMs).unref()
    })
  })
  return {
    settings,
    leave: leaving.signal,
    onOrder: (listener) => void lines.on('line', (line) => listener(JSON.parse(line) as unknown)),
  }
}

/** Writes at once, so that even `kill -9` cannot take back what was told. */
export function tellParent(report: object): void {
  let rest = Buffer.from(`${JSON.stringify(report)}\n`)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPIPE') process.exit(1) // nobody listens any more
      if (code !== 'EAGAIN') throw error
    }
  }
}
