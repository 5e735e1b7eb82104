/** The programs of PostgreSQL that the npm packages leave out: pg_dump and its like, with a server of their own version. */
import { execFile } from 'node:child_process'
import { readdirSync, accessSync, constants } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { serverUser } from './binaries.ts'

const needed = ['initdb', 'postgres', 'pg_dump', 'pg_restore', 'pg_basebackup'] as const

export type Tool = (typeof needed)[number]

export interface Tools {
  /** Holds `bin` with all of them: the `binaries` of a server that they fit. */
  readonly home: string
  /** Runs one to its end, as the user that servers run as. @throws with what it complained about */
  run(tool: Tool, ...args: readonly string[]): Promise<void>
}

/** Where packages put a version: Debian, Red Hat, Homebrew, Postgres.app; `*` is one directory of any name. */
const places = [
  '/usr/lib/postgresql/*/bin',
  '/usr/pgsql-*/bin',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/Applications/Postgres.app/Contents/Versions/*/bin',
]

/**
 * The tools of one version, 14 or newer: those in `POSTRIDER_TEST_PG_BIN` if it is set, else the first in `PATH` or where packages
 * put them. Null when there are none: then `missingTools` says so.
 */
export function findTools(): Tools | null {
  const given = process.env['POSTRIDER_TEST_PG_BIN']
  if (given !== undefined && given !== '') {
    if (!complete(given)) throw new Error(`POSTRIDER_TEST_PG_BIN is ${given}, which does not hold ${needed.join(', ')}`)
    return toolsIn(given)
  }
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((directory) => directory !== '')
  const found = [...path, ...places.flatMap(expand)].find(complete)
  return found === undefined ? null : toolsIn(found)
}

export const missingTools: string = `${needed.join(', ')} are not installed in one directory; name it in POSTRIDER_TEST_PG_BIN`

function toolsIn(bin: string): Tools {
  return {
    home: dirname(bin),
    async run(tool, ...args) {
      // A clean environment: PGHOST, PGOPTIONS and the like of the caller must not reach them.
      const env = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }
      await promisify(execFile)(join(bin, tool), args, { ...serverUser(), cwd: '/', env, timeout: 60_000 })
    },
  }
}

function complete(directory: string): boolean {
  return needed.every((tool) => {
    try {
      accessSync(join(directory, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** The directories of a pattern, the newest version first; versions before 14 are left out. */
function expand(pattern: string): string[] {
  const [before = '', after = ''] = pattern.split('*')
  const parent = before.slice(0, before.lastIndexOf('/') + 1)
  const prefix = before.slice(parent.length)
  let names: string[]
  try {
    names = readdirSync(parent)
  } catch {
    return []
  }
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => ({ directory: `${parent}${name}${after}`, version: Number.parseInt(name.slice(prefix.length), 10) }))
    .filter(({ version }) => version >= 14)
    .sort((a, b) => b.version - a.version)
    .map(({ directory }) => directory)
}
