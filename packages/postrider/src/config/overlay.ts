import { resolve } from 'node:path'
import { isPlainObject, type Path } from './path.ts'
import { codeOf, readSecretFile } from './refer.ts'

/** What the command line says about the configuration. */
export interface ConfigFlags {
  readonly config?: string
  readonly databaseUrlFile?: string
  readonly schema?: string
  readonly logLevel?: string
}

/** A value from outside the file. */
export interface Overlay {
  readonly path: Path
  readonly value: string
}

/** Environment variables that override the file; each of those marked also as `…_FILE`, the path of a file that holds it. */
const variables: readonly { readonly name: string; readonly path: Path; readonly asFile?: true }[] = [
  { name: 'POSTRIDER_DATABASE_URL', path: ['database', 'url'], asFile: true },
  { name: 'POSTRIDER_DIRECT_DATABASE_URL', path: ['database', 'directUrl'], asFile: true },
  { name: 'POSTRIDER_SCHEMA', path: ['schema'] },
  { name: 'POSTRIDER_LOG_LEVEL', path: ['log', 'level'] },
]

/** Flags and environment as overlays, the flags last, because the later one counts. An empty variable counts as none. */
export function overlaysOf(
  flags: ConfigFlags,
  env: Readonly<Record<string, string | undefined>>,
  directory: string,
  problems: string[],
): Overlay[] {
  const overlays: Overlay[] = []
  const fromFile = (path: Path, file: string, what: string): void => {
    try {
      overlays.push({ path, value: readSecretFile(resolve(directory, file)) })
    } catch (error) {
      problems.push(`${what}: the file ${file} cannot be read (${codeOf(error)})`)
    }
  }
  for (const { name, path, asFile } of variables) {
    const value = env[name] ?? ''
    const file = asFile ? (env[`${name}_FILE`] ?? '') : ''
    if (value !== '' && file !== '') problems.push(`${name} and ${name}_FILE are both set; leave one of them out`)
    else if (value !== '') overlays.push({ path, value })
    else if (file !== '') fromFile(path, file, `${name}_FILE`)
  }
  if (flags.databaseUrlFile !== undefined) fromFile(['database', 'url'], flags.databaseUrlFile, '--database-url-file')
  if (flags.schema !== undefined) overlays.push({ path: ['schema'], value: flags.schema })
  if (flags.logLevel !== undefined) overlays.push({ path: ['log', 'level'], value: flags.logLevel })
  return overlays
}

/** The content of the file with the overlays in it; the file's own objects are not touched. */
export function lay(overlays: readonly Overlay[], content: unknown): unknown {
  return overlays.reduce((value, { path, value: text }) => set(value, path, text), content)
}

function set(value: unknown, [head, ...rest]: Path, text: string): unknown {
  if (head === undefined) return text
  if (value !== undefined && !isPlainObject(value)) return value
  const before = value ?? {}
  return { ...before, [head]: set(before[String(head)], rest, text) }
}
