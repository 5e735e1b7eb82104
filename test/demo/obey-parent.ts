import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** After the parent is gone, this process is too, whatever still hangs. */
const leaveMs = 3_000

/** The other side of start-child.ts: the settings of this process, and a signal that aborts when it shall leave. */
export async function obeyParent(): Promise<{ readonly settings: unknown; readonly leave: AbortSignal }> {
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
  return { settings, leave: leaving.signal }
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
