import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PostriderError } from '@postrider/schema'
import { parseJson } from './parse-json.ts'

/** Looked for in the working directory, in this order. */
export const defaultNames: readonly string[] = ['ts', 'mts', 'js', 'mjs', 'yaml', 'yml', 'json'].map(
  (ending) => `postrider.config.${ending}`,
)

export interface ConfigFile {
  readonly path: string
  readonly content: unknown
}

/**
 * The configuration file: the one that was named, else the first of the default names, else null.
 * @throws PostriderError `invalid_options` when it cannot be read or parsed.
 */
export async function readConfigFile(named: string | undefined, directory: string): Promise<ConfigFile | null> {
  const path = named === undefined ? findIn(directory) : resolve(directory, named)
  if (path === undefined) return null
  if (!existsSync(path)) throw unreadable(path, 'there is no such file')
  try {
    return { path, content: await contentOf(path) }
  } catch (error) {
    throw unreadable(path, error instanceof Error ? withoutText(error.message) : String(error), error)
  }
}

function findIn(directory: string): string | undefined {
  return defaultNames.map((name) => join(directory, name)).find((path) => existsSync(path))
}

async function contentOf(path: string): Promise<unknown> {
  const ending = extname(path)
  switch (ending) {
    case '.ts':
    case '.mts':
    case '.js':
    case '.mjs': {
      const module = (await import(pathToFileURL(path).href)) as { default?: unknown }
      if (module.default === undefined) throw new Error('it has no default export; write `export default defineConfig({ … })`')
      return module.default
    }
    case '.yaml':
    case '.yml': {
      const { parseYaml } = await import('./parse-yaml.ts')
      return parseYaml(await readFile(path, 'utf8'))
    }
    case '.json':
      return parseJson(await readFile(path, 'utf8'))
    default:
      throw new Error(`a configuration ends in .ts, .mts, .js, .mjs, .yaml, .yml or .json, not in ${ending}`)
  }
}

/** Parsers quote the place in the file, which may be a secret: their reason is enough. */
function withoutText(message: string): string {
  return (message.split('\n', 1)[0] ?? '').replace(/"[^]*"/, '"…"')
}

function unreadable(path: string, reason: string, cause?: unknown): PostriderError {
  const problem = `${path}: ${reason}`
  return new PostriderError(
    'invalid_options',
    `The configuration cannot be read: ${problem}`,
    { path, problems: [problem] },
    { cause },
  )
}
