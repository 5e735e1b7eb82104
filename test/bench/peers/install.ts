/** Fetches the peers, which an ordinary install leaves alone: by their lockfile, and pgmq's SQL by its hash. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Say } from '../bench.ts'
import { pgmqFolder } from './pgmq.ts'
import type { SystemName } from './systems.ts'

const folder = import.meta.dirname
const installTimeoutMs = 300_000
const ofNpm: ReadonlySet<SystemName> = new Set(['graphile-worker', 'pg-boss', 'pg-transactional-outbox'])

/** Of these systems, which cannot be had here, and why. @throws when the packages of npm cannot be installed */
export async function installPeers(wanted: readonly SystemName[], say: Say): Promise<ReadonlyMap<SystemName, string>> {
  if (wanted.some((name) => ofNpm.has(name)) && !isInstalled()) {
    say('installing the peers (npm ci) …')
    await run('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'])
  }
  const missing = new Map<SystemName, string>()
  if (wanted.includes('pgmq') && !existsSync(pgmqFolder)) {
    say('fetching the SQL of pgmq (pip) …')
    const flags = ['--quiet', '--no-deps', '--require-hashes', '--disable-pip-version-check', '--root-user-action=ignore']
    const what = ['--target', pgmqFolder, '--requirement', join(folder, 'pgmq-requirements.txt')]
    await run('python3', ['-m', 'pip', 'install', ...flags, ...what]).catch((error: unknown) =>
      missing.set('pgmq', `its SQL comes by pip, which did not work here: ${messageOf(error)}`),
    )
  }
  return missing
}

/** npm notes what it has installed; newer entries in our lockfile are missing there. */
function isInstalled(): boolean {
  const packagesOf = (file: string): Record<string, { readonly version?: string }> =>
    (JSON.parse(readFileSync(join(folder, file), 'utf8')) as { packages: Record<string, { readonly version?: string }> }).packages
  try {
    const present = packagesOf('node_modules/.package-lock.json')
    const wanted = Object.entries(packagesOf('package-lock.json')).filter(([path]) => path !== '')
    return wanted.every(([path, { version }]) => present[path]?.version === version)
  } catch {
    return false
  }
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', process.stderr, process.stderr], timeout: installTimeoutMs })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  child.on('error', reject)
  child.on('close', (code, signal) => {
    if (code === 0) resolve()
    else reject(new Error(`${command} ended with ${String(signal ?? code)}`))
  })
  await promise
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
