import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Order, Report } from './supervise.ts'

/** Processes and files that end with this process, even after `kill -9`. */
export interface Keeper extends AsyncDisposable {
  /** Removed at the end. */
  readonly directory: string
  /** Starts a program; its output is appended to a file. Resolves when it runs. */
  start(command: string, args: readonly string[], output: string): Promise<Kept>
}

export interface Kept {
  readonly pid: number
  /** How it ended, once it has: a signal, an exit code or why it did not start. */
  readonly outcome: string | undefined
  /** Waits for its end, and says how it ended. */
  end(): Promise<string>
}

const stopTimeoutMs = 20_000

/** Opens a keeper whose directory lies in the temp directory and begins with a name. */
export async function openKeeper(name: string): Promise<Keeper> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'supervise.ts'), join(tmpdir(), `${name}-`)], {
    cwd: tmpdir(),
    detached: true, // Ctrl-C in a terminal goes to us alone: what is kept ends when we are done with it
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], SystemRoot: process.env['SystemRoot'], TMPDIR: process.env['TMPDIR'] },
  })
  const started = Promise.withResolvers<string>()
  const processes = new Map<number, Entry>()
  let complaint = ''
  let disposed = false
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as Report
    if ('directory' in message) started.resolve(message.directory)
    else if ('pid' in message) processes.get(message.id)?.running.resolve(message.pid)
    else processes.get(message.id)?.end(message.ended)
  })
  child.stderr.on('data', (data) => (complaint += String(data)))
  child.stdin.on('error', () => {}) // it ended first
  const closed = once(child, 'close').then(
    () => `the supervisor ended: ${complaint}`,
    (error: Error) => error.message,
  )
  void closed.then(async (reason) => {
    started.reject(new Error(reason))
    for (const entry of processes.values()) await entry.abandon(reason)
  })
  const directory = await started.promise
  // None of these keeps our process alive, unless somebody waits: when it has nothing else to do it ends, and what is kept with it.
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as Socket).unref()
  let waiting = 0
  const wait = async <T>(promise: Promise<T>): Promise<T> => {
    if (waiting++ === 0) child.ref()
    try {
      return await promise
    } finally {
      if (--waiting === 0) child.unref()
    }
  }

  return {
    directory,
    async start(command, args, output) {
      const id = processes.size + 1
      const entry = newEntry()
      processes.set(id, entry)
      if (disposed || child.stdin.destroyed) throw new Error(`${command} cannot start: the keeper is closed`)
      const order: Order = { id, command, args, output }
      child.stdin.write(`${JSON.stringify(order)}\n`)
      const pid = await wait(entry.running.promise)
      return {
        pid,
        get outcome() {
          return entry.outcome
        },
        end: () => wait(entry.ended.promise),
      }
    },
    async [Symbol.asyncDispose]() {
      disposed = true
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
      await wait(closed)
      clearTimeout(timer)
      // Already gone, unless the supervisor itself was killed.
      await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    },
  }
}

interface Entry {
  readonly running: PromiseWithResolvers<number>
  readonly ended: PromiseWithResolvers<string>
  outcome: string | undefined
  end(outcome: string): void
  /** When the supervisor is gone: what it would have done. */
  abandon(reason: string): Promise<void>
}

function newEntry(): Entry {
  const running = Promise.withResolvers<number>()
  running.promise.catch(() => {})
  return {
    running,
    ended: Promise.withResolvers<string>(),
    outcome: undefined,
    end(outcome) {
      this.outcome ??= outcome
      this.ended.resolve(outcome)
      this.running.reject(new Error(outcome))
    },
    async abandon(reason) {
      if (this.outcome !== undefined) return
      this.running.reject(new Error(reason))
      const pid = await this.running.promise.catch(() => undefined)
      try {
        if (pid !== undefined) process.kill(pid, 'SIGKILL')
      } catch {
        // gone
      }
      this.end(reason)
    },
  }
}
