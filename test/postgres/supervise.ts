/**
 * The process between a test (or the demo) and its PostgreSQL server. Its stdin is a pipe of the parent: when that ends,
 * for whatever reason, `kill -9` included, the server is stopped and its data directory removed.
 * Run as `node supervise.ts PLAN`; reports as lines of JSON on stdout.
 */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chown, mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { User } from './binaries.ts'

export interface Plan {
  /** Holds `bin`, `lib` and `share`. */
  readonly binaries: string
  readonly user?: User | undefined
  /** Where the data directory is made, when it is not given. */
  readonly scratch: string
  /** Kept at the end; made and filled when it is missing or empty. */
  readonly dataDir?: string | undefined
  readonly port?: number | undefined
  readonly settings: Readonly<Record<string, string>>
}

/** `serving` may come again with another port, when the port was taken between choosing and binding it. */
export type Report =
  | { readonly serving: { readonly pid: number; readonly port: number; readonly dataDir: string } }
  | { readonly ended: { readonly reason: string } }

const fastStopMs = 10_000
const immediateStopMs = 6_000 // the server itself kills its children after 5 s
const portAttempts = 5

const plan = JSON.parse(process.argv[2] ?? '') as Plan
const parent = new AbortController()
let stopSignal: NodeJS.Signals = 'SIGINT'

process.stdin.on('data', (data) => {
  if (String(data).includes('immediate')) stopSignal = 'SIGQUIT'
})
process.stdin.on('close', () => parent.abort())
process.stdin.on('error', () => parent.abort())
process.stdout.on('error', () => {}) // the parent is gone: nobody to report to
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => parent.abort())

const reason = await supervise().catch((error: unknown) =>
  error instanceof Error ? (error.stack ?? error.message) : String(error),
)
report({ ended: { reason } })
process.exitCode = 0
process.stdin.destroy()

async function supervise(): Promise<string> {
  const kept = plan.dataDir !== undefined
  const dataDir = plan.dataDir ?? (await mkdtemp(join(plan.scratch, 'postrider-postgres-')))
  try {
    if (kept) await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const user = await ownerOf(dataDir)
    await initialise(dataDir, user)
    return await serve(dataDir, user)
  } finally {
    if (!kept) await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }
}

/** A kept directory belongs to whom it was made for; a new one is handed over. */
async function ownerOf(dataDir: string): Promise<User | undefined> {
  if (plan.user === undefined) return undefined
  const { uid, gid } = await stat(dataDir)
  if (uid !== 0) return { uid, gid }
  await chown(dataDir, plan.user.uid, plan.user.gid)
  return plan.user
}

async function initialise(dataDir: string, user: User | undefined): Promise<void> {
  const filled = await stat(join(dataDir, 'PG_VERSION')).catch(() => undefined)
  if (filled === undefined && !parent.signal.aborted) {
    const locale = ['--encoding=UTF8', '--locale=C', '--username=postgres']
    const initdb = start('initdb', ['--pgdata', dataDir, ...locale, '--auth=trust', '--no-sync', '--no-instructions'], {
      ...user,
      detached: true, // a group of its own, so that the children of initdb end with it
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [initdb.stdout, initdb.stderr]) stream?.on('data', (data) => (output += String(data)))
    parent.signal.addEventListener('abort', () => killGroup(initdb), { once: true })
    const [code] = (await once(initdb, 'close')) as [number | null]
    if (code !== 0 && !parent.signal.aborted) throw new Error(`initdb failed (${code}): ${output.slice(-4000)}`)
    if (parent.signal.aborted) return
    await appendFile(join(dataDir, 'postgresql.conf'), "\ninclude 'postrider.conf'\n")
    const local = ['all', 'replication'].map((database) => `host ${database} all 127.0.0.1/32 trust\n`)
    await writeFile(join(dataDir, 'pg_hba.conf'), local.join(''))
  }
  const quoted = Object.entries(plan.settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
  await writeFile(join(dataDir, 'postrider.conf'), quoted.join(''), { mode: 0o644 })
}

async function serve(dataDir: string, user: User | undefined): Promise<string> {
  const logFile = join(dataDir, 'server.log')
  for (let attempt = 1; ; attempt++) {
    if (parent.signal.aborted) return 'stopped before the start'
    const port = plan.port ?? (await freePort())
    const log = await open(logFile, 'w')
    const server = start('postgres', ['-D', dataDir, '-p', String(port)], { ...user, stdio: ['ignore', log.fd, log.fd] })
    const ended = once(server, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
    await log.close()
    if (server.pid !== undefined) report({ serving: { pid: server.pid, port, dataDir } })
    const stopped = new AbortController()
    parent.signal.addEventListener('abort', () => void stop(server, stopped.signal), { signal: stopped.signal })
    if (parent.signal.aborted) void stop(server, stopped.signal)
    const [code, signal] = await ended.finally(() => stopped.abort())
    const tail = (await readFile(logFile, 'utf8').catch(() => '')).slice(-4000)
    const taken = tail.includes('Address already in use')
    if (taken && plan.port === undefined && attempt < portAttempts) continue
    return parent.signal.aborted && code === 0 ? 'stopped' : `the server ended (${signal ?? code}): ${tail}`
  }
}

/** Fast, then immediate, then by force; each with a deadline. */
async function stop(server: ChildProcess, ended: AbortSignal): Promise<void> {
  try {
    server.kill(stopSignal)
    if (stopSignal === 'SIGINT') await sleep(fastStopMs, undefined, { signal: ended })
    server.kill('SIGQUIT')
    await sleep(immediateStopMs, undefined, { signal: ended })
    server.kill('SIGKILL')
  } catch {
    // ended in time
  }
}

function start(program: string, args: string[], options: SpawnOptions): ChildProcess {
  // A clean environment: PGDATA, PGPORT, PGOPTIONS and the like of the caller must not reach this server.
  const { PATH, SystemRoot } = process.env
  return spawn(join(plan.binaries, 'bin', program), args, { ...options, env: { PATH, SystemRoot, LC_ALL: 'C', TZ: 'UTC' } })
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL') // ended already, or no process groups here
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

function report(message: Report): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
