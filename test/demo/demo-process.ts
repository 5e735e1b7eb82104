/** A demo as its tests see it: a process with a temp directory of its own, by which everything that it starts can be found. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import { scratch, serverUser } from '../postgres/binaries.ts'

export interface Demo {
  readonly child: ChildProcess
  /** Its exit status. */
  readonly ended: Promise<number | null>
  /** The temp directory of this demo alone. */
  readonly temp: string
  readonly stdout: () => string
  readonly stderr: () => string
}

export async function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Demo> {
  const temp = await mkdtemp(join(await scratch(serverUser()), 'postrider-test-'))
  await chmod(temp, 0o755)
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '', TMPDIR: temp, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await until(() => processesOf(temp).length === 0)
    await rm(temp, { recursive: true, force: true, maxRetries: 10 })
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data) => (stdout += String(data)))
  child.stderr.on('data', (data) => (stderr += String(data)))
  const ended = once(child, 'close').then(([code]) => code as number | null)
  return { child, ended, temp, stdout: () => stdout, stderr: () => stderr }
}

/** A copy of the binaries may stay, where the workspace is closed to the server's user: it is made once for all. */
export async function expectNothingLeft({ temp }: Demo): Promise<void> {
  const files = async (): Promise<string[]> => (await readdir(temp)).filter((name) => !name.startsWith('postrider-binaries-'))
  await until(async () => processesOf(temp).length === 0 && (await files()).length === 0)
  expect(processesOf(temp)).toEqual([])
  expect(await files()).toEqual([])
}

/** By the environment that all processes of a demo inherit, or by their arguments where the server has been given a clean one. */
export function processesOf(temp: string): string[] {
  const { stdout } = spawnSync(
    'ps',
    process.platform === 'linux' ? ['eww', '-A', '-o', 'args='] : ['-E', '-ww', '-A', '-o', 'command='],
    {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    },
  )
  return stdout.split('\n').filter((line) => line.includes(temp))
}

export async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 25_000
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`still not so after 25 s: ${String(done)}`)
    await sleep(50)
  }
}
