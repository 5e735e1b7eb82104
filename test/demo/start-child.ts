import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { nodeArgs } from '../node.ts'

/** One of the processes of the demo, seen from the one that started it. */
export interface Child {
  readonly pid: number
  readonly ended: boolean
  /** Hands it an order. */
  tell(order: object): void
  /** As `kill -9`; resolves when it is gone and its last report has been read. */
  kill(): Promise<void>
  /** Asks it to leave, and makes it so after five seconds. */
  end(): Promise<void>
}

export interface ChildEvents<Report> {
  readonly onReport: (report: Report) => void
  /** It ended, and nobody had asked for it. */
  readonly onFault: (error: Error) => void
}

const endMs = 5_000

/**
 * Starts a file of this folder as a process. Its stdin is its settings and its life: when the pipe ends, for whatever
 * reason, `kill -9` of this process included, it leaves. Its reports are lines of JSON on its stdout.
 */
export function startChild<Report>(file: string, settings: object, { onReport, onFault }: ChildEvents<Report>): Child {
  const child = spawn(process.execPath, [...nodeArgs, join(import.meta.dirname, file)], { stdio: ['pipe', 'pipe', 'pipe'] })
  let wanted = true
  let ended = false
  let complaint = ''
  child.stderr.on('data', (data) => (complaint = (complaint + String(data)).slice(-4000)))
  child.stdin.on('error', () => {}) // it ended first
  child.stdin.write(`${JSON.stringify(settings)}\n`)
  createInterface({ input: child.stdout }).on('line', (line) => onReport(JSON.parse(line) as Report))

  const closed = once(child, 'close').then(
    ([code, signal]) => `${file} ended by itself (${String(signal ?? code)}): ${complaint}`,
    (error: Error) => `${file} could not be started: ${error.message}`,
  )
  void closed.then((words) => {
    ended = true
    if (wanted) onFault(new Error(words))
  })

  return {
    pid: child.pid ?? -1,
    get ended() {
      return ended
    },
    tell: (order) => void child.stdin.write(`${JSON.stringify(order)}\n`),
    async kill() {
      wanted = false
      child.kill('SIGKILL')
      await closed
    },
    async end() {
      wanted = false
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), endMs)
      await closed
      clearTimeout(timer)
    },
  }
}
