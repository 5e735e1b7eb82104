import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isPostriderError } from '@postrider/schema'
import { nodeArgs } from '@postrider/test/node'
import { generateSealKey, generateSecret } from '@postrider/webhook'
import { createRelay } from '@postrider/relay'
import { describe, expect, test } from 'vitest'
import { loadConfig, loadDatabase, loadHealth, type ConfigFlags } from '../src/config/load.ts'
import type { Settings } from '../src/config.ts'
import { createLog } from '../src/log.ts'
import { secretsOf } from '../src/log/scrub.ts'
import { createSinks } from '../src/sinks.ts'
import { temporaryDirectory } from './directory.ts'

const SECRET = generateSecret()
const env = { SECRET }
const url = 'postgres://app:app@db.example/app'
const billing = { kind: 'webhook', url: 'https://hooks.example.com/in', secrets: { current: '${env:SECRET}' } }
const valid = { database: { url }, sinks: { billing } }

/** What is wrong with a configuration, or the settings it gives. */
async function load(
  content: unknown,
  given: { env?: Record<string, string>; flags?: ConfigFlags; name?: string } = {},
): Promise<{ problems: readonly string[]; settings?: Settings; message?: string }> {
  await using directory = await temporaryDirectory()
  if (content !== undefined) await directory.write(given.name ?? 'postrider.config.json', content)
  try {
    const { settings } = await loadConfig(given.flags, { env: given.env ?? env, directory: directory.path })
    return { problems: [], settings }
  } catch (error) {
    if (!isPostriderError(error)) throw error
    expect(error.code).toBe('invalid_options')
    return {
      problems: (error.details.problems ?? []).map((line) => line.replaceAll(directory.path, '.')),
      message: error.message,
    }
  }
}

const withBilling = (changes: object): object => ({ ...valid, sinks: { billing: { ...billing, ...changes } } })

describe('a configuration', () => {
  test('that says only what it must comes back whole, with every default of the relay', async () => {
    const { problems, settings } = await load(valid)
    expect(problems).toEqual([])
    expect(settings).toEqual({
      database: { url, directUrl: url, connections: 8 },
      schema: 'postrider',
      relay: {
        name: expect.stringMatching(/:\d+$/) as string,
        leaseMs: 10_000,
        pollMs: 1_000,
        pageSize: 500,
        pageMs: 1_000,
        slowMs: 1_000,
        drainMs: 25_000,
        onRestore: 'anchor',
      },
      sinks: {
        billing: {
          kind: 'webhook',
          url: 'https://hooks.example.com/in',
          secrets: { current: SECRET },
          lanes: 4,
          concurrency: 32,
          ordering: 'key',
          onDead: 'block',
          retry: 'standard',
          audit: 'all',
          startFrom: 'beginning',
        },
      },
      log: { level: 'info' },
      health: { host: '127.0.0.1', port: 4480 },
    })
  })

  test('cannot be changed once it is loaded', async () => {
    const { settings } = await load(withBilling({ types: ['order.*'] }))
    expect(() => Object.assign(settings!.sinks['billing'] as object, { lanes: 9 })).toThrow(TypeError)
    const types = settings?.sinks['billing']?.types as string[] | undefined
    expect(types).toEqual(['order.*'])
    expect(() => types?.push('x')).toThrow(TypeError)
  })

  test('is taken by the relay as it is', async () => {
    const { settings } = await load(withBilling({ types: ['order.**'], retry: { delaysMs: [10], jitter: 0, maxAgeMs: 1_000 } }))
    const sinks = await createSinks(settings!.sinks)
    expect(sinks[0]).toMatchObject({
      types: ['order.**'],
      lanes: 4,
      retry: { delaysMs: [10] },
      sink: { name: 'billing', kind: 'webhook' },
    })
    expect(() => createRelay({ connectionString: url, sinks, ...settings!.relay })).not.toThrow()
    await Promise.all(sinks.map(({ sink }) => sink[Symbol.asyncDispose]()))
  })

  const ranges: [name: string, least: number, most: number][] = [
    ['leaseMs', 1_000, 300_000],
    ['pollMs', 50, 60_000],
    ['pageSize', 1, 10_000],
    ['pageMs', 10, 60_000],
    ['slowMs', 10, 60_000],
    ['drainMs', 0, 600_000],
  ]
  test.each(ranges)('may set %s from %d to %d, as the relay itself has it', async (name, least, most) => {
    const taken = async (value: number): Promise<[program: boolean, relay: boolean]> => {
      const { problems } = await load({ ...valid, relay: { [name]: value } })
      const sinks = await createSinks({ billing: { ...billing, kind: 'webhook', secrets: { current: SECRET } } })
      try {
        createRelay({ connectionString: url, sinks, [name]: value })
        return [problems.length === 0, true]
      } catch {
        return [problems.length === 0, false]
      } finally {
        await sinks[0]?.sink[Symbol.asyncDispose]()
      }
    }
    expect(await Promise.all([least - 1, least, most, most + 1].map(taken))).toEqual([
      [false, false],
      [true, true],
      [true, true],
      [false, false],
    ])
  })

  test.each<[what: string, content: unknown, problems: string[]]>([
    ['a misspelt option', withBilling({ formt: 'raw' }), ['sinks.billing.formt: unknown; did you mean format?']],
    ['swapped letters', { ...valid, relay: { paegSize: 5 } }, ['relay.paegSize: unknown; did you mean pageSize?']],
    ['an unknown section', { ...valid, kafka: {} }, ['kafka: unknown; there are database, schema, relay, sinks, log, health']],
    ['a misspelt section', { ...valid, databse: {} }, ['databse: unknown; did you mean database?']],
    [
      'an unknown name deep inside',
      withBilling({ timeouts: { totlMs: 1 } }),
      ['sinks.billing.timeouts.totlMs: unknown; did you mean totalMs?'],
    ],
    [
      'a misspelt choice',
      withBilling({ format: 'cloudevent' }),
      [
        'sinks.billing.format: expected standard, cloudevents, cloudevents-binary, raw, got "cloudevent"; did you mean cloudevents?',
      ],
    ],
    [
      'an unknown kind',
      withBilling({ kind: 'webhok' }),
      ['sinks.billing.kind: expected webhook, kafka, got "webhok"; did you mean webhook?'],
    ],
    ['no kind', { ...valid, sinks: { a: {} } }, ['sinks.a.kind: is missing; expected webhook, kafka']],
    ['no url of a sink', { ...valid, sinks: { a: { kind: 'webhook', secrets: billing.secrets } } }, ['sinks.a.url: is missing']],
    ['no sinks', { database: { url } }, ['sinks: is missing']],
    ['an empty list of sinks', { database: { url }, sinks: {} }, ['sinks: expected at least one sink']],
    [
      'no database',
      { sinks: { billing } },
      [
        'database.url: is missing; set POSTRIDER_DATABASE_URL, or POSTRIDER_DATABASE_URL_FILE, or write it into the configuration',
      ],
    ],
    [
      'a database that is no PostgreSQL',
      { ...valid, database: { url: 'mysql://x' } },
      ['database.url: expected postgres://user:password@host:port/database'],
    ],
    [
      'a schema that needs quotes',
      { ...valid, schema: 'Post Rider' },
      ['schema: expected a plain lower-case identifier of at most 41 letters, digits and _'],
    ],
    ['too small a number', { ...valid, relay: { leaseMs: 5 } }, ['relay.leaseMs: expected 1000 or more, got 5']],
    ['too great a number', withBilling({ lanes: 65 }), ['sinks.billing.lanes: expected at most 64, got 65']],
    ['a fraction', withBilling({ lanes: 1.5 }), ['sinks.billing.lanes: expected a whole number, got 1.5']],
    ['text for a number', { ...valid, health: { port: '80' } }, ['health.port: expected a number, got text']],
    ['a number for text', withBilling({ url: 7 }), ['sinks.billing.url: expected text, got 7']],
    [
      'a name that is none',
      { ...valid, sinks: { 'Big Sink': billing } },
      ['sinks.Big Sink: expected lower-case letters, digits, _ and - as the name of a sink'],
    ],
    [
      'a filter that is none',
      withBilling({ types: ['ok', 'a..b'] }),
      ['sinks.billing.types[1]: expected segments joined by dots, * for any one, ** (last) for the rest'],
    ],
    [
      'a filter that takes nothing',
      withBilling({ types: [] }),
      ['sinks.billing.types: an empty list would take nothing; leave it out to take all'],
    ],
    [
      'a retry policy with a slip',
      withBilling({ retry: { delaysMs: [1], jitter: 0, maxAgeMS: 5, maxAgeMs: 9 } }),
      ['sinks.billing.retry.maxAgeMS: unknown; did you mean maxAgeMs?'],
    ],
    [
      'a retry policy of no name',
      withBilling({ retry: 'fats' }),
      ['sinks.billing.retry: expected fast, standard or patient, or a policy { delaysMs, jitter, maxAgeMs }'],
    ],
    [
      'what only the sink can judge',
      withBilling({ url: 'http://hooks.example.com/' }),
      ['sinks.billing.url: must be https; http needs trust: internal'],
    ],
    [
      'a target that is not allowed',
      withBilling({ url: 'https://169.254.169.254/' }),
      ['sinks.billing.url: target not allowed for trust: external'],
    ],
    ['no object at all', [1], ['configuration: expected { … }, got a list']],
  ])('with %s is refused, with words for it', async (_, content, problems) => {
    expect((await load(content)).problems).toEqual(problems)
  })

  test('is told everything that is wrong at once', async () => {
    const { problems, message } = await load({
      databse: {},
      relay: { leaseMs: 5 },
      sinks: {
        billing: { ...billing, formt: 'raw', lanes: 0 },
        shipping: { ...billing, url: 'http://hooks.example.com/' },
        audit: { ...billing, secrets: { current: '${env:NOT_SET}' } },
      },
    })
    const all = [
      'sinks.audit.secrets.current: the environment variable NOT_SET is not set',
      'database.url: is missing; set POSTRIDER_DATABASE_URL, or POSTRIDER_DATABASE_URL_FILE, or write it into the configuration',
      'relay.leaseMs: expected 1000 or more, got 5',
      'sinks.billing.lanes: expected 1 or more, got 0',
      'sinks.billing.formt: unknown; did you mean format?',
      'databse: unknown; did you mean database?',
      'sinks.shipping.url: must be https; http needs trust: internal',
    ]
    expect([...problems].sort()).toEqual([...all].sort())
    for (const problem of all) expect(message).toContain(`- ${problem}`)
  })
})

describe('a secret', () => {
  test('comes from the environment or from a file, in YAML, JSON and TypeScript alike', async () => {
    await using directory = await temporaryDirectory()
    await directory.write('secret.txt', `${SECRET}\n`)
    const sinks = { billing: { ...billing, secrets: { current: '${file:secret.txt}' } } }
    const files = {
      'a.json': JSON.stringify({ database: { url: '${env:DB}' }, sinks }),
      'a.yaml': `database: { url: "\${env:DB}" }\nsinks: ${JSON.stringify(sinks)}\n`,
      'a.ts': `import { defineConfig } from '${fileURLToPath(new URL('../src/config.ts', import.meta.url))}'
        export default defineConfig({ database: { url: '\${env:DB}' }, sinks: ${JSON.stringify(sinks)} })`,
    }
    for (const [name, content] of Object.entries(files)) {
      await directory.write(name, content)
      const { settings, secrets } = await loadConfig({ config: name }, { env: { DB: url }, directory: directory.path })
      expect(settings.database.url, name).toBe(url)
      expect(settings.sinks['billing'], name).toMatchObject({ secrets: { current: SECRET } })
      expect(secrets, name).toEqual(expect.arrayContaining([SECRET, url]))
    }
  })

  test.each([
    ['whsec_', SECRET],
    ['whsk_', generateSecret('whsk')],
  ])('that stands in the file (%s) is refused with the way to do it, and not repeated', async (_, secret) => {
    const { problems, message } = await load(withBilling({ secrets: { current: secret } }))
    expect(problems).toEqual([
      'sinks.billing.secrets.current: a secret stands in the configuration; put it into the environment or into a file, ' +
        'and write ${env:NAME} or ${file:/path} here (in TypeScript too, as a string in single quotes)',
    ])
    expect(message).not.toContain(secret)
  })

  test('that is malformed is refused without being repeated', async () => {
    const { problems, message } = await load(valid, { env: { SECRET: 'whsec_c2hvcnQ=' } })
    expect(problems).toEqual(['sinks.billing.secrets.current: a whsec_ secret is 24 to 64 bytes'])
    expect(message).not.toContain('c2hvcnQ=')
  })

  test.each([
    ['${env:NOPE}', 'the environment variable NOPE is not set'],
    ['${env:EMPTY}', 'the environment variable EMPTY is empty'],
    ['${file:nope.txt}', 'the file ./nope.txt cannot be read (ENOENT)'],
    ['${SECRET}', '"${" is no reference; there are ${env:NAME} and ${file:/path}, and $${ for a plain ${'],
    ['${env:SECRET', '"${env:SECRET" is no reference; there are ${env:NAME} and ${file:/path}, and $${ for a plain ${'],
  ])('reference %s that leads nowhere is one problem', async (reference, problem) => {
    const { problems } = await load(withBilling({ secrets: { current: reference } }), { env: { SECRET, EMPTY: '' } })
    expect(problems).toEqual([`sinks.billing.secrets.current: ${problem}`])
  })

  test('reference can be part of a text, and $${ is a plain ${', async () => {
    const { settings } = await load(
      withBilling({ headers: { authorization: 'Bearer ${env:TOKEN}', 'x-plain': '$${env:TOKEN}' } }),
      {
        env: { SECRET, TOKEN: 't-1' },
      },
    )
    expect(settings?.sinks['billing']).toMatchObject({ headers: { authorization: 'Bearer t-1', 'x-plain': '${env:TOKEN}' } })
  })
})

describe('of several sources', () => {
  const from = (name: string): string => `postgres://${name}.example/app`

  test('flags outweigh the environment, the environment the file, the file the defaults', async () => {
    await using directory = await temporaryDirectory()
    await directory.write(
      'postrider.config.yaml',
      `database: { url: '${from('file')}' }\nschema: in_file\nsinks: ${JSON.stringify({ billing })}`,
    )
    const flagFile = await directory.write('url', `${from('flag')}\n`)
    const envFile = await directory.write('url2', from('env-file'))
    const read = async (flags: ConfigFlags, variables: Record<string, string>): Promise<Settings> =>
      (await loadConfig(flags, { env: { SECRET, ...variables }, directory: directory.path })).settings

    expect(await read({}, {})).toMatchObject({
      database: { url: from('file'), directUrl: from('file') },
      schema: 'in_file',
      log: { level: 'info' },
    })
    expect(await read({}, { POSTRIDER_DATABASE_URL_FILE: envFile })).toMatchObject({ database: { url: from('env-file') } })
    const variables = {
      POSTRIDER_DATABASE_URL: from('env'),
      POSTRIDER_DIRECT_DATABASE_URL: from('direct'),
      POSTRIDER_SCHEMA: 'in_env',
      POSTRIDER_LOG_LEVEL: 'warn',
    }
    expect(await read({}, variables)).toMatchObject({
      database: { url: from('env'), directUrl: from('direct') },
      schema: 'in_env',
      log: { level: 'warn' },
    })
    expect(await read({ databaseUrlFile: flagFile, schema: 'in_flag', logLevel: 'debug' }, variables)).toMatchObject({
      database: { url: from('flag') },
      schema: 'in_flag',
      log: { level: 'debug' },
    })
  })

  test('a reference in the file does not matter where the environment overrides it', async () => {
    const { problems } = await load(
      { ...valid, database: { url: '${env:NOT_SET}' } },
      { env: { SECRET, POSTRIDER_DATABASE_URL: url } },
    )
    expect(problems).toEqual([])
  })

  test('the same secret given twice is refused, for it would be unclear which counts', async () => {
    const { problems } = await load(valid, { env: { SECRET, POSTRIDER_DATABASE_URL: url, POSTRIDER_DATABASE_URL_FILE: '/x' } })
    expect(problems).toEqual(['POSTRIDER_DATABASE_URL and POSTRIDER_DATABASE_URL_FILE are both set; leave one of them out'])
  })

  test('a database command needs the database alone: secrets of sinks may be missing, and so may the file', async () => {
    await using directory = await temporaryDirectory()
    const bare = await loadDatabase({}, { env: { POSTRIDER_DATABASE_URL: url }, directory: directory.path })
    expect(bare.settings).toEqual({ database: { url, directUrl: url, connections: 8 }, schema: 'postrider' })
    await directory.write('postrider.config.json', { ...valid, schema: 'other' })
    expect((await loadDatabase({}, { env: {}, directory: directory.path })).settings).toMatchObject({ schema: 'other' })
    expect((await loadHealth({}, { env: {}, directory: directory.path })).settings).toEqual({
      health: { host: '127.0.0.1', port: 4480 },
    })
  })
})

describe('a file', () => {
  test.each<[string, string, RegExp]>([
    ['a.yaml', 'sinks: [ "whsec_AAAA"', /a\.yaml: Flow sequence in block collection/],
    ['b.yaml', '"a": "b" "whsec_AAAA"', /b\.yaml: Unexpected double-quoted-scalar/],
    ['a.json', '{ "x": whsec_AAAA', /a\.json: Unexpected token/],
    ['a.ts', 'export const x = 1', /a\.ts: it has no default export; write `export default defineConfig/],
    ['a.toml', '', /a\.toml: a configuration ends in \.ts, .*, not in \.toml/],
  ])('%s that cannot be read is named with the reason', async (name, content, problem) => {
    await using directory = await temporaryDirectory()
    await directory.write(name, content)
    await expect(loadConfig({ config: name }, { env, directory: directory.path })).rejects.toMatchObject({
      code: 'invalid_options',
      details: { problems: [expect.stringMatching(problem) as string] },
      message: expect.not.stringContaining('whsec_') as string,
    })
  })

  test('that was named and is not there is an error, not a silent default', async () => {
    await expect(loadConfig({ config: 'nope.yaml' }, { env, directory: '/' })).rejects.toMatchObject({
      details: { problems: ['/nope.yaml: there is no such file'] },
    })
  })
})

describe('a sink with endpoints', () => {
  const KEY = generateSealKey()
  const hooks = { kind: 'webhook', endpoints: { secretKey: '${env:KEY}' } }
  const withHooks = async (changes: object, more: Record<string, string> = {}): ReturnType<typeof load> =>
    await load({ database: { url }, sinks: { hooks: { ...hooks, ...changes } } }, { env: { KEY, ...more } })

  test('is taken by the relay as a family, with defaults that are right for many', async () => {
    const { problems, settings } = await withHooks({ onDead: 'park', rate: 2.5, headers: { 'x-shop': 'a' } })
    expect(problems).toEqual([])
    expect(settings?.sinks['hooks']).toEqual({
      kind: 'webhook',
      endpoints: { secretKey: KEY },
      headers: { 'x-shop': 'a' },
      lanes: 1,
      concurrency: 8,
      rate: 2.5,
      ordering: 'key',
      onDead: 'park',
      retry: 'standard',
      audit: 'all',
    })
    const sinks = await createSinks(settings!.sinks)
    expect(sinks).toMatchObject([
      { lanes: 1, concurrency: 8, rate: 2.5, onDead: 'park', sink: { name: 'hooks', kind: 'webhook' } },
    ])
    expect(sinks[0]).not.toHaveProperty('startFrom')
    expect(sinks[0]?.sink).toHaveProperty('open')
    expect(() => createRelay({ connectionString: url, sinks })).not.toThrow()
  })

  test('needs no key: its endpoints then refer to their secrets', async () => {
    expect((await withHooks({ endpoints: {} })).problems).toEqual([])
  })

  test.each<[what: string, changes: object, problems: string[]]>([
    [
      'what each endpoint says for itself',
      { url: 'https://example.com/', secrets: { current: '${env:SECRET}' }, types: ['a'], startFrom: 'now' },
      ['url', 'secrets', 'types', 'startFrom'].map((key) => `sinks.hooks.${key}: is for each endpoint to say; take it out here`),
    ],
    [
      'a key that is none',
      { endpoints: { secretKey: '${env:SHORT}' } },
      ['sinks.hooks.endpoints.secretKey: expected base64 of 32 bytes, as `openssl rand -base64 32` prints'],
    ],
    [
      'former keys alone',
      { endpoints: { previousKeys: ['${env:KEY}'] } },
      ['sinks.hooks.endpoints.secretKey: is missing; previousKeys only open what they have sealed'],
    ],
    [
      'several problems at once',
      { url: 'https://example.com/', lanes: 0, formt: 'raw' },
      [
        'sinks.hooks.lanes: expected 1 or more, got 0',
        'sinks.hooks.formt: unknown; did you mean format?',
        'sinks.hooks.url: is for each endpoint to say; take it out here',
      ],
    ],
    [
      'what they cannot have in common',
      { trust: 'internal' },
      ['sinks.hooks.allow: trust: internal needs the networks or hosts it may reach'],
    ],
    ['a rate of nothing', { rate: 0 }, ['sinks.hooks.rate: expected a number above 0']],
  ])('refuses %s', async (_, changes, problems) => {
    expect((await withHooks(changes, { SECRET, SHORT: 'c2hvcnQ=' })).problems).toEqual(problems)
  })

  test('keeps its key out of the file', async () => {
    const { problems, message } = await withHooks({ endpoints: { secretKey: KEY, previousKeys: [KEY] } })
    expect(problems).toHaveLength(2)
    for (const problem of problems) expect(problem).toMatch(/^sinks\.hooks\.endpoints\.\S+: a secret stands in the configuration/)
    expect(message).not.toContain(KEY)
  })

  test('keeps its keys out of the log', async () => {
    const OLD = generateSealKey()
    const { settings } = await withHooks({ endpoints: { secretKey: '${env:KEY}', previousKeys: ['${env:OLD}'] } }, { OLD })
    const lines: string[] = []
    const log = createLog({ settings: settings!, destination: { write: (line) => lines.push(line) } })
    log.info({ note: `${KEY} ${OLD}` }, `it said ${KEY}`)
    expect(lines.join('')).not.toContain(KEY)
    expect(lines.join('')).not.toContain(OLD)
  })
})

describe('a Kafka sink', () => {
  const stream = { kind: 'kafka', brokers: ['127.0.0.1:9'], source: 'shop/orders' }
  const withStream = (changes: object): ReturnType<typeof load> =>
    load({ ...valid, sinks: { 'main-kafka': { ...stream, ...changes } } })

  test('is carried in four lanes with 2,000 events in flight; its mode is what the database shows', async () => {
    for (const [mode, kind] of [
      ['live', 'kafka'],
      ['shadow', 'kafka-shadow'],
    ] as const) {
      const { settings } = await withStream({ mode, types: ['order.*'] })
      const sinks = await createSinks(settings!.sinks)
      expect(sinks).toMatchObject([
        { lanes: 4, concurrency: 2_000, types: ['order.*'], startFrom: 'beginning', sink: { kind, pipelined: true } },
      ])
      expect(() => createRelay({ connectionString: url, sinks })).not.toThrow()
      await sinks[0]?.sink[Symbol.asyncDispose]()
    }
  })

  test.each<[what: string, changes: object, problems: string[]]>([
    ['an option of webhooks', { url: 'https://example.com' }, ['sinks.main-kafka.url: unknown; there are kind, mode, brokers']],
    ['a misspelt option', { broker: [] }, ['sinks.main-kafka.broker: unknown; did you mean brokers?']],
    ['a broker without a port', { brokers: ['kafka'] }, ['sinks.main-kafka.brokers[0]: not host:port']],
    ['too many in flight', { concurrency: 10_001 }, ['sinks.main-kafka.concurrency: expected at most 10000, got 10001']],
    ['a topic that no topic can be', { topic: 'orders/{type}' }, ['sinks.main-kafka.topic: makes names with characters']],
    [
      'a password in the file',
      { sasl: { mechanism: 'plain', username: 'relay', password: 'hunter2hunter2' } },
      ['sinks.main-kafka.sasl.password: a secret stands in the configuration'],
    ],
  ])('with %s is refused', async (_, changes, problems) => {
    const found = await withStream(changes)
    expect(found.problems).toEqual(problems.map((problem) => expect.stringContaining(problem) as string))
    expect(found.problems.join()).not.toContain('hunter2')
  })

  test('has its password from a reference, and no log shows it', async () => {
    const { settings } = await withStream({ sasl: { mechanism: 'scram-sha-512', username: 'relay', password: '${env:SECRET}' } })
    expect(settings?.sinks['main-kafka']).toMatchObject({ sasl: { password: SECRET } })
    expect(secretsOf(settings!)).toContain(SECRET)
  })

  test('is the only reason to load a client of Kafka', async () => {
    const loaded = async (sinks: object): Promise<string[]> => {
      await using directory = await temporaryDirectory()
      await directory.write('postrider.config.json', { ...valid, sinks })
      // Every module that is asked for, with the whole program and its configuration loaded.
      const script = `
        import { registerHooks } from 'node:module'
        const asked = new Set()
        registerHooks({ resolve: (name, context, next) => (asked.add(name), next(name, context)) })
        await import(${JSON.stringify(new URL('../src/program.ts', import.meta.url).href)}).then(({ createProgram }) => createProgram())
        const { loadConfig } = await import(${JSON.stringify(new URL('../src/config/load.ts', import.meta.url).href)})
        await loadConfig()
        console.log(JSON.stringify([...asked].filter((name) => /^@postrider\\/kafka$|^kafkajs|^@platformatic\\/kafka/.test(name))))`
      const { stdout } = await promisify(execFile)(process.execPath, [...nodeArgs, '--input-type=module', '--eval', script], {
        cwd: directory.path,
        env: { PATH: process.env['PATH'], ...env },
        timeout: 20_000,
      })
      return JSON.parse(stdout) as string[]
    }
    expect(await loaded({ billing })).toEqual([])
    expect(await loaded({ billing, 'main-kafka': stream })).toEqual(
      expect.arrayContaining(['@postrider/kafka', expect.stringMatching(/^kafkajs/)]),
    )
  })
})
