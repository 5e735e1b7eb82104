import { generateSecret } from '@postrider/webhook'
import { testDatabase } from '@postrider/test/postgres'
import { expect, test } from 'vitest'
import { startReceiver, type Delivery, type Receiver } from '../src/listen/receive.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram, startProgram, type Program, type ProgramOptions } from './program.ts'

const secret = generateSecret()
const canary = 'canary-5b1de0a7'

interface Setting extends AsyncDisposable {
  readonly receiver: Receiver
  readonly options: ProgramOptions
  start(): Program
  emit(key: string): Promise<string>
  /** Resolves when a request has come; the answer may be a while. */
  arrived(): Promise<void>
  /** Resolves when so many requests have been answered. */
  heard(count: number): Promise<readonly Delivery[]>
}

/** A database, a receiver that waits `delayMs` before each answer, and a configuration that joins them. */
async function setting({ delayMs = 0, drainMs = 25_000, migrated = true, extra = {} } = {}): Promise<Setting> {
  const db = await testDatabase({ migrated })
  const directory = await temporaryDirectory()
  const deliveries: Delivery[] = []
  const receiver = await startReceiver({
    host: '127.0.0.1',
    port: 0,
    secrets: [secret],
    seed: 1,
    status: 500,
    delayMs,
    retryAfterMs: null,
    mischief: { drop: 0, timeout: 0, fail: 0 },
    onDelivery: (delivery) => deliveries.push(delivery),
  })
  await directory.write('postrider.config.json', {
    database: { url: '${env:DB}' },
    relay: { drainMs },
    log: { level: 'debug' },
    health: { port: 0 },
    sinks: {
      billing: {
        kind: 'webhook',
        url: `${receiver.url}${canary}-path`,
        trust: 'internal',
        allow: ['127.0.0.1'],
        secrets: { current: '${env:SECRET}' },
        headers: { 'x-token': '${env:TOKEN}' },
        retry: 'fast',
      },
    },
    ...extra,
  })
  const options = { directory: directory.path, env: { DB: db.url, SECRET: secret, TOKEN: `${canary}-token` } }
  return {
    receiver,
    options,
    start: () => startProgram(['start'], options),
    async emit(key) {
      const { code, stdout, stderr } = await runProgram(
        ['emit', 'order.placed', '--key', key, '--data', `{"x":"${canary}-payload"}`],
        options,
      )
      expect([code, stderr]).toEqual([0, ''])
      return stdout.trim()
    },
    arrived: () => expect.poll(() => receiver.totals.received, { timeout: 15_000 }).toBeGreaterThan(0),
    async heard(count) {
      await expect.poll(() => deliveries.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(count)
      return deliveries
    },
    async [Symbol.asyncDispose]() {
      await receiver[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
      await db[Symbol.asyncDispose]()
    },
  }
}

/** The address of the probes, from the log. */
function probes(program: Program): string {
  const line = program.output.stdout.split('\n').find((one) => one.includes('probes answer')) ?? '{}'
  return `http://127.0.0.1:${(JSON.parse(line) as { port: number }).port}`
}

test('start carries events until SIGTERM, then ends with 0; its log is JSON and shows no secret, no key, no payload', async () => {
  await using here = await setting()
  await using relay = here.start()
  await relay.wrote('relay started')
  const id = await here.emit(`${canary}-key`)
  const [delivery] = await here.heard(1)
  expect(delivery).toMatchObject({ id, type: 'order.placed', result: 'taken' })
  await relay.wrote('"msg":"delivered"')

  for (const ready of [[], ['--ready']]) expect((await runProgram(['health', '--url', probes(relay), ...ready])).code).toBe(0)
  const status = JSON.parse((await runProgram(['status', '--json'], here.options)).stdout) as {
    sinks: { name: string; lanes: { relay: string | null }[] }[]
    relays: { alive: boolean }[]
  }
  expect(status.relays).toMatchObject([{ alive: true }])
  expect(status.sinks[0]?.lanes.every(({ relay }) => relay !== null)).toBe(true)

  relay.kill('SIGTERM')
  const { code, stdout, stderr } = await relay.ended
  expect([code, stderr]).toEqual([0, ''])
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(lines.find(({ msg }) => msg === 'delivered')).toMatchObject({
    level: 'debug',
    event_id: id,
    sink: 'billing',
    attempt: 1,
    status: 200,
  })
  expect(lines.find(({ state }) => state === 'stopped')).toMatchObject({ level: 'info', component: 'relay' })
  expect(lines.findLast(({ component }) => component === 'summary')).toMatchObject({
    component: 'summary',
    sink: 'billing',
    delivered: 1,
  })
  expect(stdout).not.toContain(canary)
  expect(stdout).not.toContain(secret)
  expect(stdout).not.toContain(here.options.env!['DB'])
})

test('SIGTERM waits for the attempt in flight, and its result is settled', async () => {
  await using here = await setting({ delayMs: 1_000 })
  await using relay = here.start()
  await relay.wrote('relay started')
  const id = await here.emit('o-1')
  await here.arrived()
  relay.kill('SIGTERM')
  expect((await relay.ended).code).toBe(0)
  expect(here.receiver.totals).toMatchObject({ received: 1, unique: 1 })
  expect((await runProgram(['events', 'explain', id], here.options)).stdout).toMatch(/billing +delivered +1/)
})

test('a second signal breaks off what is in flight: exit 143, and the attempt is not counted', async () => {
  await using here = await setting({ delayMs: 15_000 })
  await using relay = here.start()
  await relay.wrote('relay started')
  const id = await here.emit('o-1')
  await here.arrived()
  relay.kill('SIGTERM')
  await relay.wrote('stopping; attempts in flight')
  relay.kill('SIGTERM')
  const { code, stdout } = await relay.ended
  expect(code).toBe(143)
  expect(stdout).toContain('stopping at once')
  const explained = JSON.parse((await runProgram(['events', 'explain', id, '--json'], here.options)).stdout) as {
    state: string
    attempts: number
  }[]
  expect(explained).toMatchObject([{ attempts: 0 }])
  expect(explained[0]?.state).not.toBe('delivered')
})

test('start without the schema says what to run, and ends with 4', async () => {
  await using here = await setting({ migrated: false })
  const { code, stdout } = await here.start().ended
  expect(code).toBe(4)
  expect(
    JSON.parse(
      stdout
        .trim()
        .split('\n')
        .find((line) => line.includes('"fatal"')) ?? '{}',
    ),
  ).toMatchObject({
    level: 'fatal',
    err: { type: 'PostriderError', code: 'schema_missing', next: 'Run `postrider migrate up`.' },
  })
})

test('start with a configuration that is wrong in several places names each, and ends with 2 before it touches anything', async () => {
  await using here = await setting({ extra: { relay: { pollMss: 1 }, log: { level: 'loud' } } })
  const { code, stdout, stderr } = await here.start().ended
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toContain('- relay.pollMss: unknown; did you mean pollMs?')
  expect(stderr).toContain('- log.level: expected debug, info, warn, error, silent, got "loud"')
})

test('health exits with 1 when nobody answers', async () => {
  const { code, stderr } = await runProgram(['health', '--url', 'http://127.0.0.1:1'])
  expect([code, stderr]).toEqual([1, expect.stringContaining('no answer from http://127.0.0.1:1') as string])
})

test('listen prints a line for each delivery, and a summary when it is stopped', async () => {
  await using listening = startProgram(['listen', '--port', '0', '--secret-env', 'SECRET', '--json', '--seed', '1'], {
    env: { SECRET: secret },
  })
  await listening.wrote(/listening on (\S+)/)
  const url = /listening on (\S+)/.exec(listening.output.stderr)?.[1] ?? ''
  expect((await fetch(url, { method: 'POST', body: '{}' })).status).toBe(401)
  listening.kill('SIGINT')
  const { code, stdout } = await listening.ended
  expect(code).toBe(0)
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toMatchObject([
    { result: 'bad signature', reason: 'missing_header', status: 401 },
    { summary: { received: 1, unique: 0, badSignatures: 1 } },
  ])
})
