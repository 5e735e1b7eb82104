import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { packagedBinaries, scratch, serverUser, usableBinaries, type PostgresVersion } from './binaries.ts'
import { testSettings } from './settings.ts'
import type { Plan, Report } from './supervise.ts'

export type { PostgresVersion } from './binaries.ts'

export interface PostgresOptions {
  /** Major version, from the npm packages of this workspace. Default 18. */
  readonly version?: PostgresVersion
  /** Directory for the data; kept at the end and started again if it is filled. Default: a new one, removed at the end. */
  readonly dataDir?: string
  /** Settings of the server, over those for tests (no fsync; see settings.ts). */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  /** Port on 127.0.0.1. Default: a free one. */
  readonly port?: number
  /** Directory with `bin`, `lib` and `share`, to run other binaries than those of the npm packages. */
  readonly binaries?: string
  /** Deadline for the first answer, in milliseconds. Default 60,000. */
  readonly startTimeoutMs?: number
}

export interface PostgresServer extends AsyncDisposable {
  /** Superuser `postgres`, database `postgres`, no password. */
  readonly url: string
  readonly port: number
  readonly version: number
  /** Process id of the server, for tests that hurt it. */
  readonly pid: number
  readonly dataDir: string
  /**
   * Stops the server and removes its data directory, unless it was given. May be called again.
   * `immediate` stops without a checkpoint, as a crash does: the next start of a kept directory recovers.
   */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
}

const stopTimeoutMs = 30_000
const pollMs = 10

/**
 * Starts a real PostgreSQL server on 127.0.0.1, without Docker and without a user of its own:
 * as root it runs as `nobody`. It ends with this process, even after `kill -9`, and leaves no file.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const { version = 18, port, startTimeoutMs = 60_000 } = options
  const user = serverUser()
  const settings = Object.fromEntries(
    Object.entries({ ...testSettings, ...options.settings }).map(([name, value]) => [name, String(value)]),
  )
  const plan: Plan = {
    binaries: await usableBinaries(options.binaries ?? packagedBinaries(version), user),
    user,
    scratch: await scratch(user),
    dataDir: options.dataDir === undefined ? undefined : resolve(options.dataDir),
    port,
    settings,
  }
  const supervisor = supervise(plan)
  const deadline = Date.now() + startTimeoutMs
  while (supervisor.ended === undefined && Date.now() < deadline) {
    const serving = supervisor.serving
    if (serving !== undefined) {
      const url = `postgres://postgres@127.0.0.1:${serving.port}/postgres`
      if (await answers(url, serving.dataDir)) {
        const stop = (mode?: 'fast' | 'immediate'): Promise<void> => supervisor.stop(mode)
        return { ...serving, url, version, stop, [Symbol.asyncDispose]: () => supervisor.stop() }
      }
    }
    await sleep(pollMs)
  }
  const late = supervisor.ended === undefined ? ` within ${startTimeoutMs} ms` : ''
  await supervisor.stop('immediate')
  throw new Error(`PostgreSQL ${version} did not start${late}: ${supervisor.ended}`)
}

/** Asks for the data directory, so that a stranger on the same port is not mistaken for our server. */
async function answers(url: string, dataDir: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000, query_timeout: 1000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ same: boolean }>(`select current_setting('data_directory') = $1 as same`, [dataDir])
    return rows[0]?.same ?? false
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

interface Supervisor {
  readonly serving: { readonly pid: number; readonly port: number; readonly dataDir: string } | undefined
  /** Why it ended, once it has. */
  readonly ended: string | undefined
  stop(mode?: 'fast' | 'immediate'): Promise<void>
}

function supervise(plan: Plan): Supervisor {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'supervise.ts'), JSON.stringify(plan)], {
    cwd: plan.scratch, // initdb needs a current directory that its user may enter
    detached: true, // Ctrl-C in a terminal goes to us alone: we stop the server when we are done with it
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], SystemRoot: process.env['SystemRoot'] },
  })
  let serving: Supervisor['serving']
  let ended: string | undefined
  let reported = false
  let complaint = ''
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as Report
    if ('serving' in message) serving = message.serving
    else [ended, reported] = [message.ended.reason, true]
  })
  child.stderr.on('data', (data) => (complaint += String(data)))
  child.stdin.on('error', () => {}) // it ended first
  const closed = once(child, 'close').then(
    async () => {
      ended ??= `the supervisor ended: ${complaint}`
      if (!reported && serving !== undefined) await cleanUp(serving, plan)
    },
    (error: Error) => void (ended = error.message),
  )
  // None of these keeps our process alive: when it has nothing else to do it ends, and the server with it.
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as Socket).unref()

  return {
    get serving() {
      return serving
    },
    get ended() {
      return ended
    },
    async stop(mode = 'fast') {
      child.ref()
      if (!child.stdin.writableEnded) child.stdin.end(mode)
      const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
      await closed
      clearTimeout(timer)
    },
  }
}

/** When the supervisor itself was killed: what it would have done. */
async function cleanUp({ pid, dataDir }: NonNullable<Supervisor['serving']>, plan: Plan): Promise<void> {
  try {
    process.kill(pid, 'SIGQUIT')
    for (let waited = 0; waited < 6000; waited += pollMs) {
      process.kill(pid, 0)
      await sleep(pollMs)
    }
    process.kill(pid, 'SIGKILL')
  } catch {
    // gone
  }
  if (plan.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}
