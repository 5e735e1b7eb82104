import { dirname } from 'node:path'
import { isPostriderError, PostriderError } from '@postrider/schema'
import type { z } from 'zod'
import type { Settings } from '../config.ts'
import { createSink } from '../sinks.ts'
import { problemsOf, wordIssue } from './describe.ts'
import { lay, overlaysOf, type ConfigFlags } from './overlay.ts'
import { formatPath, isPlainObject, valueAt } from './path.ts'
import { readConfigFile } from './read.ts'
import { followReferences, type References } from './refer.ts'
import { configShape, databaseShape, healthShape, someSinksShape, sinkShape } from './shape.ts'

export type { ConfigFlags } from './overlay.ts'

/** Where a configuration comes from, besides its file. */
export interface Surroundings {
  /** Default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Where default names are looked for, and where relative paths on the command line start. Default: the working directory. */
  readonly directory?: string
}

export interface Loaded<T> {
  readonly settings: T
  /** The file that was read, or null. */
  readonly file: string | null
  /** Texts that came out of the environment and of files, and must not be printed. */
  readonly secrets: readonly string[]
}

/**
 * The whole configuration, for `postrider start`. Flags outweigh the environment, the environment the file, the file the defaults.
 * @throws PostriderError `invalid_options` with every problem at once.
 */
export async function loadConfig(flags: ConfigFlags = {}, surroundings: Surroundings = {}): Promise<Loaded<Settings>> {
  return await load(configShape, everything, flags, surroundings)
}

/** Only what a database command needs: secrets of sinks need not be there. */
export async function loadDatabase(
  flags: ConfigFlags = {},
  surroundings: Surroundings = {},
): Promise<Loaded<Pick<Settings, 'database' | 'schema'>>> {
  return await load(databaseShape, { keys: ['database', 'schema'] }, flags, surroundings)
}

/** Only what a command needs that has to do with one sink: secrets of the others need not be there. */
export async function loadOneSink(
  name: string,
  flags: ConfigFlags = {},
  surroundings: Surroundings = {},
): Promise<Loaded<Pick<Settings, 'database' | 'schema' | 'sinks' | 'health'>>> {
  return await load(someSinksShape, { keys: ['database', 'schema', 'health'], sinks: (one) => one === name }, flags, surroundings)
}

/** What a command needs that looks at all sinks there are; there may be none. */
export async function loadSinks(
  flags: ConfigFlags = {},
  surroundings: Surroundings = {},
): Promise<Loaded<Pick<Settings, 'database' | 'schema' | 'sinks' | 'health'>>> {
  return await load(someSinksShape, { keys: ['database', 'schema', 'health'], sinks: () => true }, flags, surroundings)
}

/** Only what a command needs that has to do with Kafka: secrets of other sinks need not be there. */
export async function loadKafkaSinks(
  flags: ConfigFlags = {},
  surroundings: Surroundings = {},
): Promise<Loaded<Pick<Settings, 'database' | 'schema' | 'sinks'>>> {
  const isKafka = (_: string, options: unknown): boolean => isPlainObject(options) && options['kind'] === 'kafka'
  return await load(someSinksShape, { keys: ['database', 'schema'], sinks: isKafka }, flags, surroundings)
}

/** Only what `postrider health` needs. */
export async function loadHealth(
  flags: ConfigFlags = {},
  surroundings: Surroundings = {},
): Promise<Loaded<Pick<Settings, 'health'>>> {
  return await load(healthShape, { keys: ['health'] }, flags, surroundings)
}

/** Which part of a configuration a command needs; of the others nothing is read, and nobody complains. */
interface Part {
  readonly keys: readonly string[]
  readonly sinks?: (name: string, options: unknown) => boolean
}

const everything = null

async function load<T>(
  shape: z.ZodType<T>,
  only: Part | null,
  flags: ConfigFlags,
  { env = process.env, directory = process.cwd() }: Surroundings,
): Promise<Loaded<T>> {
  const file = await readConfigFile(flags.config, directory)
  const problems: string[] = []
  const overlays = overlaysOf(flags, env, directory, problems).filter(({ path }) => only?.keys.includes(String(path[0])) ?? true)
  const found: References = {
    env,
    directory: file === null ? directory : dirname(file.path),
    overridden: overlays.map(({ path }) => formatPath(path)),
    problems,
    failed: new Set(),
    secrets: new Set(overlays.filter(({ path }) => path[0] === 'database').map(({ value }) => value)),
  }
  const content = lay(overlays, followReferences(pick(file?.content ?? {}, only), found))

  const parsed = shape.safeParse(content, { error: wordIssue })
  const complaints = problemsOf(parsed.error?.issues ?? [], content).filter(({ at }) => !found.failed.has(at))
  problems.push(...complaints.map(({ at, problem }) => (at === 'database.url' ? hint(problem) : problem)))
  if (isPlainObject(content) && content['sinks'] !== undefined)
    problems.push(...(await sinkProblems(content, [...found.failed, ...complaints.map(({ at }) => at)])))
  if (!parsed.success || problems.length > 0) throw invalid(problems, file?.path)
  return { settings: freeze(parsed.data), file: file?.path ?? null, secrets: [...found.secrets] }
}

function pick(content: unknown, only: Part | null): unknown {
  if (only === null || !isPlainObject(content)) return content
  const { sinks, ...rest } = content
  const picked = Object.fromEntries(Object.entries(rest).filter(([key]) => only.keys.includes(key)))
  if (only.sinks === undefined || sinks === undefined) return picked
  const isWanted = only.sinks
  const wanted = isPlainObject(sinks)
    ? Object.fromEntries(Object.entries(sinks).filter(([name, options]) => isWanted(name, options)))
    : sinks
  return { ...picked, sinks: wanted }
}

/** A sink is the only judge of its own options: each one whose form is right is made, and closed again. */
async function sinkProblems(content: unknown, wrong: readonly string[]): Promise<string[]> {
  const sinks = valueAt(content, ['sinks'])
  const problems: string[] = []
  for (const [name, options] of isPlainObject(sinks) ? Object.entries(sinks) : []) {
    const path = formatPath(['sinks', name])
    if (wrong.some((at) => at === path || at.startsWith(`${path}.`))) continue
    const parsed = sinkShape.safeParse(options)
    if (!parsed.success) continue
    try {
      await (await createSink(name, parsed.data))[Symbol.asyncDispose]()
    } catch (error) {
      if (!isPostriderError(error)) throw error
      problems.push(...(error.details.problems ?? [error.message]).map((problem) => `${path}.${problem}`))
    }
  }
  return problems
}

function hint(problem: string): string {
  return problem === 'database.url: is missing'
    ? `${problem}; set POSTRIDER_DATABASE_URL, or POSTRIDER_DATABASE_URL_FILE, or write it into the configuration`
    : problem
}

function invalid(problems: readonly string[], path: string | undefined): PostriderError {
  const where = path === undefined ? 'The configuration (there is no file)' : `The configuration ${path}`
  const list = problems.map((problem) => `- ${problem}`).join('\n')
  return new PostriderError('invalid_options', `${where} is not valid:\n${list}`, {
    problems,
    ...(path !== undefined && { path }),
  })
}

function freeze<T>(value: T): T {
  if (isPlainObject(value) || Array.isArray(value)) {
    for (const item of Object.values(value)) freeze(item)
    Object.freeze(value)
  }
  return value
}
