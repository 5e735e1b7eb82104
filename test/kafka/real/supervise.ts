/**
 * The process between a test and what it starts: owns a directory and processes. Its stdin is a pipe of the parent: when
 * that ends, for whatever reason, `kill -9` included, the processes are killed and the directory is removed.
 * Run as `node supervise.ts DIRECTORY-PREFIX`; orders and reports are lines of JSON.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'

export interface Order {
  /** Chosen by the parent; names the process in the reports. */
  readonly id: number
  readonly command: string
  readonly args: readonly string[]
  /** File to which stdout and stderr are appended. */
  readonly output: string
}

export type Report =
  | { readonly directory: string }
  | { readonly id: number; readonly pid: number }
  | { readonly id: number; readonly ended: string }

const running = new Map<number, ChildProcess>()
let closing = false

process.stdout.on('error', () => {}) // the parent is gone: nobody to report to
process.stdin.on('error', () => {})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.stdin.destroy())

const directory = await mkdtemp(process.argv[2] ?? '')
report({ directory })
const orders: Promise<void>[] = []
createInterface({ input: process.stdin }).on('line', (line) => orders.push(carryOut(JSON.parse(line) as Order)))
if (!process.stdin.destroyed) await once(process.stdin, 'close')
closing = true
for (const child of running.values()) child.kill('SIGKILL') // works on a stopped process too
await Promise.all(orders)
await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })

async function carryOut(order: Order): Promise<void> {
  const output = await open(order.output, 'a')
  try {
    if (closing) return
    // A clean environment: KAFKA_OPTS, JAVA_TOOL_OPTIONS and the like of the caller must not reach what is started.
    const { PATH, SystemRoot, TMPDIR } = process.env
    const child = spawn(order.command, order.args, {
      cwd: directory,
      env: { PATH, SystemRoot, TMPDIR, LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', output.fd, output.fd],
    })
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
    if (child.pid !== undefined) report({ id: order.id, pid: child.pid })
    running.set(order.id, child)
    const [code, signal] = await ended
    report({ id: order.id, ended: signal ?? `exit code ${code}` })
  } catch (error) {
    report({ id: order.id, ended: String(error) })
  } finally {
    running.delete(order.id)
    await output.close()
  }
}

function report(message: Report): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
