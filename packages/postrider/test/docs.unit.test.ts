/** docs/configuration.md and docs/operating.md, compared with the program. */
import { channel } from 'node:diagnostics_channel'
import { readFile } from 'node:fs/promises'
import type { Messages, RelayHealth } from '@postrider/relay'
import { isPostriderError } from '@postrider/schema'
import { readPage, readPages, type Page } from '@postrider/test/docs'
import { generateSecret } from '@postrider/webhook'
import { expect, test } from 'vitest'
import type { Command } from 'commander'
import { z } from 'zod'
import { loadConfig } from '../src/config/load.ts'
import { configShape } from '../src/config/shape.ts'
import { serveHealth } from '../src/health.ts'
import { thresholds } from '../src/graduate/thresholds.ts'
import { createLog } from '../src/log.ts'
import { followRelays } from '../src/log/follow.ts'
import { createProgram } from '../src/program.ts'
import { temporaryDirectory } from './directory.ts'

const configuration = readPage('docs/configuration.md')
const operating = readPage('docs/operating.md')
const graduating = readPage('docs/graduating.md')

interface Row {
  /** As in the configuration: `sinks.billing.lanes`. */
  readonly path: readonly string[]
  readonly key: string
  readonly standard: string
  readonly range: string
}

const common = configuration.rowsOf('Sinks')
/** By the kind of sink: the keys that only this one has. */
const own = { webhook: configuration.rowsOf('Webhook sinks'), kafka: configuration.rowsOf('Kafka sinks') }
const rows: readonly Row[] = [
  ...configuration.rowsOf('Program').map((row) => rowOf(row, [])),
  ...[...common, ...own.webhook].map((row) => rowOf(row, ['sinks', 'billing'])),
  ...own.kafka.map((row) => rowOf(row, ['sinks', 'stream'])),
]

function rowOf([key = '', standard = '', range = '']: readonly string[], above: readonly string[]): Row {
  return { key, path: [...above, ...key.split('.')], standard, range }
}

interface Shape {
  readonly properties?: Readonly<Record<string, Shape>>
  readonly anyOf?: readonly Shape[]
  readonly oneOf?: readonly Shape[]
  readonly items?: Shape
  readonly additionalProperties?: Shape | boolean
  readonly default?: unknown
  readonly const?: unknown
}

const whole = z.toJSONSchema(configShape, { io: 'input', unrepresentable: 'any' }) as Shape

/** Every key below a shape; of a list of objects, `key[].inner`. */
function keysOf(shape: Shape, above = ''): string[] {
  const inner = Object.entries(shape.properties ?? {}).flatMap(([name, one]) => {
    const key = above === '' ? name : `${above}.${name}`
    const below = keysOf(one, key)
    const isGroup = one.properties !== undefined
    return isGroup ? below : [key, ...below]
  })
  const listed = shape.items === undefined ? [] : keysOf(shape.items, `${above}[]`)
  return [...inner, ...listed, ...[...(shape.anyOf ?? []), ...(shape.oneOf ?? [])].flatMap((one) => keysOf(one, above))]
}

test('every key of a configuration is explained, and no other', () => {
  const { sinks, ...program } = whole.properties ?? {}
  expect(
    configuration
      .rowsOf('Program')
      .map(([key]) => key)
      .toSorted(),
  ).toEqual(keysOf({ properties: program }).toSorted())
  const each = sinks?.additionalProperties as Shape | undefined
  const kinds = each?.oneOf ?? []
  expect(kinds.map((kind) => kind.properties?.['kind']?.const)).toEqual(Object.keys(own))
  for (const [nth, rowsOfKind] of Object.values(own).entries()) {
    const written = [...common, ...rowsOfKind].map(([key]) => key)
    expect(written.toSorted()).toEqual([...new Set(keysOf(kinds[nth] ?? {}))].toSorted())
  }
})

const secret = generateSecret()
const stream = { kind: 'kafka', brokers: ['127.0.0.1:9'], source: 'shop/orders' }
const billing = { kind: 'webhook', url: 'https://example.com/', secrets: { current: '${env:SECRET}' } }

/** Whether a configuration that says this, and what it must besides, loads. */
async function takes(path: readonly string[], value: unknown): Promise<boolean> {
  const content: Record<string, unknown> = {
    database: { url: 'postgres://localhost/shop' },
    sinks: { billing: { ...billing }, stream: { ...stream } },
  }
  let place = content
  for (const name of path.slice(0, -1)) place = (place[name] ??= {}) as Record<string, unknown>
  place[path.at(-1) ?? ''] = value
  if (path.at(-1) === 'trust' && value === 'internal') Object.assign(place, { allow: ['10.0.0.0/8'], url: 'http://10.0.0.1/' })
  if (path.includes('sasl')) Object.assign(place, { username: 'relay', password: '${env:SECRET}' })
  if (path.includes('retry') && path.length > 3)
    Object.assign(place, { delaysMs: [1], jitter: 0, maxAgeMs: 1, [path.at(-1) ?? '']: value })
  if (path.includes('circuit') && path.length > 3)
    Object.assign(place, { failures: 1, openMs: 1, mostMs: 86_400_000, [path.at(-1) ?? '']: value })
  await using directory = await temporaryDirectory()
  await directory.write('postrider.config.json', content)
  try {
    await loadConfig({}, { directory: directory.path, env: { SECRET: secret } })
    return true
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return false
  }
}

const number = (text: string): number => Number(text.replaceAll(',', ''))
const ranged = rows.filter(({ range }) => range.includes(' to '))
const chosen = rows.filter(({ range }) => range !== '' && !range.includes(' to '))

test.each(ranged)('$key may be $range, and nothing beyond', async ({ path, range }) => {
  const [least = 0, most = 0] = range.split(' to ').map(number)
  expect(await Promise.all([least - 1, least, most, most + 1].map((value) => takes(path, value)))).toEqual([
    false,
    true,
    true,
    false,
  ])
})

test.each(chosen)('$key may be $range, and nothing else', async ({ path, range }) => {
  const choices = range.split(', ')
  expect(await Promise.all([...choices, 'something-else'].map((choice) => takes(path, choice)))).toEqual([
    ...choices.map(() => true),
    false,
  ])
})

test('the defaults are those of the program', async () => {
  await using directory = await temporaryDirectory()
  await directory.write('postrider.config.json', { database: { url: 'postgres://localhost/shop' }, sinks: { billing, stream } })
  const { settings } = await loadConfig({}, { directory: directory.path, env: { SECRET: secret } })
  const found = new Map<string, unknown>(leaves(settings))
  // Those of a webhook sink that are not here are compared in packages/webhook/test, and those of a Kafka sink in packages/kafka/test.
  const filled = [...found.keys()].filter(
    (key) =>
      !/^(sinks\.billing\.(kind|url|secrets.*)|sinks\.stream\.(kind|source|brokers.*)|relay\.name|database\.(url|directUrl))$/.test(
        key,
      ),
  )
  expect(filled.length).toBeGreaterThan(20)
  for (const key of filled) {
    // What all kinds have in common stands there once.
    const row = [key, key.replace('.stream.', '.billing.')]
      .map((name) => rows.find(({ path }) => path.join('.') === name))
      .find((one) => one !== undefined)
    const standard = /^[\d,]+$/.test(row?.standard ?? '') ? number(row?.standard ?? '') : row?.standard
    expect(standard, key).toBe(found.get(key))
  }
})

function leaves(value: unknown, above = ''): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return [[above, value]]
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, above === '' ? name : `${above}.${name}`))
}

test('the variables of the environment are those that the program reads', async () => {
  const source = await readFile(new URL('../src/config/overlay.ts', import.meta.url), 'utf8')
  const read = [...source.matchAll(/name: '(POSTRIDER_\w+)', path: \[(.*?)\](, asFile: true)?/g)].map(
    ([, name, path = '', file]) => [
      name,
      `\`${path.replaceAll(/[' ]/g, '').replaceAll(',', '.')}\`${file === undefined ? '' : '; with `_FILE` the path of a file that holds it'}`,
    ],
  )
  expect(read.length).toBeGreaterThan(0)
  expect(configuration.rowsOf('Environment and flags')).toEqual(read)
})

/** What is wrong with a command as a text names it, without its arguments; null when it is there, with all of its flags. */
function faultOf(words: readonly string[]): string | null {
  let command: Command = createProgram()
  const rest = [...words]
  for (; rest[0] !== undefined && command.commands.length > 0; rest.shift()) {
    const inner = command.commands.find((one) => one.name() === rest[0])
    if (inner === undefined) return `${command.name()} has no command ${rest[0]}`
    command = inner
  }
  const flags = rest.filter((word) => /^--?[a-z]/.test(word))
  const unknown = flags.find((flag) => !command.options.some(({ short, long }) => flag === short || flag === long))
  return unknown === undefined ? null : `${command.name()} has no ${unknown}`
}

/** Commands in the sentences and tables of a page; those in its blocks are run. */
function commandsOf({ text }: Page): readonly string[] {
  const prose = text.replaceAll(/^```.*?^```$/gms, '')
  return [...prose.matchAll(/`(?:npx )?postrider ([a-z][^`]*)`/g)].map(([, command = '']) => command)
}

test.each(readPages())('every command that $path speaks of is there, with its flags', (page) => {
  expect(commandsOf(page).flatMap((command) => faultOf(command.split(/\s+/)) ?? [])).toEqual([])
})

test('a command that is not there is noticed', () => {
  expect(readPages().flatMap(commandsOf).length).toBeGreaterThan(20)
  expect(faultOf(['ops', 'watch'])).toBeNull()
  expect(faultOf(['dead', 'revive'])).toBe('dead has no command revive')
  expect(faultOf(['status', '--loud'])).toBe('status has no --loud')
})

test('the flags of filters and segments are explained, and no other', () => {
  const trouble = readPage('docs/trouble.md')
  const program = createProgram()
  const find = (...names: string[]): Command =>
    names.reduce<Command>((command, name) => command.commands.find((one) => one.name() === name) ?? command, program)
  const filters = trouble.rowsOf('Many at once').flatMap(([name = '']) => (name.startsWith('--') ? [name] : []))
  const flags = new Set(['retry', 'discard', 'skip', 'replay'].flatMap((name) => longs(find(name))))
  const common = /^--(all|as-new|dry-run|yes|wait|rate|reason|actor|config|json|quiet|no-color|database-url-file|schema)$/
  expect(filters.toSorted()).toEqual([...flags].filter((flag) => !common.test(flag)).toSorted())

  const ring = operating.rowsOf('How long things are kept').flatMap(([name = '']) => (name.startsWith('--') ? [name] : []))
  expect([...ring, '--no-pass-lagging'].toSorted()).toEqual(
    longs(find('migrate', 'segments'))
      .filter((flag) => !common.test(flag))
      .toSorted(),
  )
})

test('the thresholds of an assessment are those that are asked', () => {
  const written = graduating
    .rowsOf('Whether')
    .map(([name, prepare = '', graduate = '']) => [name, { prepare: amount(prepare), graduate: amount(graduate) }])
  expect(Object.fromEntries(written)).toEqual(thresholds)
})

test('the gates and the stages are those of the program', async () => {
  const sourceOf = (name: string): Promise<string> => readFile(new URL(`../src/graduate/${name}.ts`, import.meta.url), 'utf8')
  const wordsOf = (source: string, declaration: RegExp): string[] =>
    [...(declaration.exec(source)?.[1] ?? '').matchAll(/'([^']+)'/g)].map(([, word = '']) => word)
  const names = (heading: string): string[] => graduating.rowsOf(heading).map(([name = '']) => name)
  expect(names('Day 8: cutover')).toEqual(wordsOf(await sourceOf('gates'), /readonly gate: (.*)/))
  expect(names('Graduating')).toEqual(wordsOf(await sourceOf('status'), /type Stage = (.*)/))
})

/** `50 GB`, or a number. */
function amount(text: string): number {
  const [value = '', unit] = text.split(' ')
  return Number(value) * (unit === 'GB' ? 1e9 : 1)
}

function longs(command: Command): string[] {
  return command.options.flatMap(({ long }) => long ?? [])
}

const exampleOf = (name: string): Record<string, unknown> =>
  JSON.parse(operating.blocks.find((block) => block.name === name)?.text ?? '') as Record<string, unknown>

test('the line of the log is what the program writes', () => {
  const shown = exampleOf('log')
  const settings = configShape.parse({
    database: { url: 'postgres://localhost/shop' },
    relay: { name: 'relay-1' },
    sinks: { billing: { ...billing, secrets: { current: secret } } },
  })
  const lines: string[] = []
  const following = followRelays(createLog({ settings, destination: { write: (line) => lines.push(line) } }))
  const attempt: Messages['postrider:attempt'] = {
    sink: 'billing',
    kind: 'webhook',
    relay: String(shown['relay']),
    eventId: String(shown['event_id']),
    type: 'order.placed',
    key: 'o-1',
    position: '17',
    attempt: 1,
    outcome: 'retry',
    verdict: 'retry',
    errorCode: 'status_5xx',
    error: 'answered 500',
    status: 500,
    durationMs: 12.3,
    queueMs: 3.4,
    nextAttemptInMs: 5_500,
  }
  channel('postrider:attempt').publish(attempt)
  following[Symbol.dispose]()
  const written = JSON.parse(lines[0] ?? '') as Record<string, unknown>
  expect(Object.keys(shown)).toEqual(Object.keys(written))
  const { time: _, next_attempt_at: __, version: ___, ...same } = written
  expect(shown).toMatchObject(same)
})

test('the probes are explained, and answer as it is shown', async () => {
  const shown = exampleOf('healthz')
  const now = new Date()
  const health: RelayHealth = {
    ready: true,
    stopping: false,
    lastTickAt: now,
    database: { up: true, lastOkAt: now, error: null },
    listener: 'listening',
    lanes: [0, 1].map((lane) => ({ sink: 'billing', lane })),
  }
  await using probes = await serveHealth({ host: '127.0.0.1', port: 0 }, () => health)
  const ask = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${probes.port}${path}`)
  const answered = (await (await ask('/healthz')).json()) as typeof shown
  const withoutTimes = (value: unknown): unknown => JSON.parse(JSON.stringify(value).replaceAll(/"\d{4}-[^"]*Z"/g, '"…"'))
  expect(withoutTimes(shown)).toEqual(withoutTimes(answered))
  for (const [path = ''] of operating.rowsOf('Probes and log')) expect((await ask(path)).status, path).toBe(200)
})
