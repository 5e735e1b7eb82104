import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { formatPath, isPlainObject, type Path } from './path.ts'

/** Where references lead, and what came of them. */
export interface References {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Relative paths of files start here. */
  readonly directory: string
  /** Paths that flags or the environment override: what the file says there does not matter. */
  readonly overridden: readonly string[]
  readonly problems: string[]
  /** Paths whose reference could not be followed, so that nobody complains about them twice. */
  readonly failed: Set<string>
  /** Every text that a reference gave: none of them may be printed. */
  readonly secrets: Set<string>
}

const reference = /\$\$\{|\$\{(?:(env|file):([^}]*))?\}?/g
/** No configuration needs half of it. */
const deepest = 16
const literalSecret = /wh(?:sec|sk)_[A-Za-z0-9+/]{8}/
/** Keys whose whole text is a secret, whatever it looks like. */
const placeOfSecret = /^sinks\.[^.]+\.(?:endpoints\.(?:secretKey|previousKeys\[\d+\])|sasl\.password)$/

/** The same configuration with every `${env:NAME}` and `${file:/path}` filled in. */
export function followReferences(value: unknown, found: References, path: Path = [], above: readonly unknown[] = []): unknown {
  const at = formatPath(path)
  if (above.length > deepest) return fail(at, found, `is nested deeper than ${deepest} levels`)
  // An anchor of YAML may stand within itself.
  if (above.includes(value) && typeof value === 'object') return fail(at, found, 'contains itself')
  if (found.overridden.includes(at)) return undefined
  if (typeof value === 'string') return follow(value, at, found)
  if (Array.isArray(value)) return value.map((item, index) => followReferences(item, found, [...path, index], [...above, value]))
  if (!isPlainObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, followReferences(item, found, [...path, key], [...above, value])]),
  )
}

function follow(text: string, at: string, found: References): string {
  if (literalSecret.test(text) || (placeOfSecret.test(at) && !text.includes('${'))) {
    found.failed.add(at)
    found.problems.push(
      `${at}: a secret stands in the configuration; put it into the environment or into a file, and write \${env:NAME} or \${file:/path} here` +
        ' (in TypeScript too, as a string in single quotes)',
    )
    return text
  }
  return text.replace(reference, (whole, kind: 'env' | 'file' | undefined, name: string | undefined) => {
    if (whole === '$${') return '${'
    if (kind === undefined || name === undefined || name === '' || !whole.endsWith('}')) {
      return fail(at, found, `"${whole}" is no reference; there are \${env:NAME} and \${file:/path}, and $\${ for a plain \${`)
    }
    const value = kind === 'env' ? fromEnv(name, at, found) : fromFile(name, at, found)
    if (value !== '') found.secrets.add(value)
    return value
  })
}

function fromEnv(name: string, at: string, found: References): string {
  // Of its own: process.env has the members of every object too, such as `constructor`.
  const value = Object.hasOwn(found.env, name) ? found.env[name] : undefined
  if (value === undefined) return fail(at, found, `the environment variable ${name} is not set`)
  return value === '' ? fail(at, found, `the environment variable ${name} is empty`) : value
}

function fromFile(name: string, at: string, found: References): string {
  const path = resolve(found.directory, name)
  try {
    const value = readSecretFile(path)
    return value === '' ? fail(at, found, `the file ${path} is empty`) : value
  } catch (error) {
    return fail(at, found, `the file ${path} cannot be read (${codeOf(error)})`)
  }
}

/** The text of a file without the line break that editors put at its end. */
export function readSecretFile(path: string): string {
  return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
}

/** `ENOENT` and the like. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}

function fail(at: string, found: References, problem: string): string {
  found.failed.add(at)
  found.problems.push(`${at}: ${problem}`)
  return ''
}
