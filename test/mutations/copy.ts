import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export interface Copy extends AsyncDisposable {
  readonly directory: string
}

/** A copy of the project that may be broken: its files, and the installed packages by links to where they are. */
export async function copyProject(root: string): Promise<Copy> {
  const directory = await mkdtemp(join(tmpdir(), 'postrider-mutation-'))
  try {
    const { stdout } = await promisify(execFile)('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
      cwd: root,
      maxBuffer: 2 ** 26,
    })
    for (const file of stdout.split('\0').filter((name) => name !== '')) {
      await mkdir(dirname(join(directory, file)), { recursive: true })
      await cp(join(root, file), join(directory, file))
    }
    await linkPackages(join(root, 'node_modules'), join(directory, 'node_modules'))
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 10 }) }
}

/** Those of the workspace are the copy's own: their links are relative. */
async function linkPackages(from: string, to: string): Promise<void> {
  await mkdir(to)
  for (const { name } of await readdir(from, { withFileTypes: true })) {
    if (name === '@postrider' || name === 'postrider')
      await cp(join(from, name), join(to, name), { recursive: true, verbatimSymlinks: true })
    else await symlink(join(from, name), join(to, name))
  }
}
