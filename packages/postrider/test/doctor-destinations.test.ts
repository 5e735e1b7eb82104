import { readFileSync } from 'node:fs'
import { createServer as createHttps } from 'node:https'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { X509Certificate } from 'node:crypto'
import { PostriderError } from '@postrider/schema'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { generateSecret } from '@postrider/webhook'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Settings, SinkConfig } from '../src/config.ts'
import { destinations } from '../src/doctor/destinations.ts'
import { examine, type Result } from '../src/doctor/examine.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram } from './program.ts'

const fixture = (name: string): string => readFileSync(new URL(`../../webhook/test/fixtures/${name}`, import.meta.url), 'utf8')
const tls = { ca: fixture('ca.pem') }
const secrets = { current: generateSecret() }
const internal = { trust: 'internal', allow: ['127.0.0.0/8', 'localhost'] } as const

let db: TestDatabase
let client: pg.Client
let servers: AsyncDisposableStack

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  servers = new AsyncDisposableStack()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await servers.disposeAsync()
  await db[Symbol.asyncDispose]()
})

async function look(sinks: Readonly<Record<string, SinkConfig>>): Promise<Result> {
  const database = { url: db.url, directUrl: db.url, connections: 2 }
  const load = async (): Promise<Pick<Settings, 'database' | 'health' | 'sinks'>> => ({ database, health: false, sinks })
  return (await examine({ database, schema: 'postrider' }, [destinations(load)])).at(0)!
}

/** The port of a server that runs until the end of the test; what it is sent is counted. */
async function portOf(server: Server): Promise<{ port: number; sent: () => number }> {
  let requests = 0
  server.on('request', () => requests++)
  server.on('connection', (socket) => servers.defer(() => void socket.on('error', () => undefined).destroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  servers.defer(() => void server.close())
  return { port: (server.address() as AddressInfo).port, sent: () => requests }
}

async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const secured = (name: string): Server => createHttps({ cert: fixture(`${name}.pem`), key: fixture(`${name}.key`) })
const hook = (url: string, more: object = {}): SinkConfig => ({ kind: 'webhook', url, secrets, tls, ...internal, ...more })

const addEndpoint = (name: string, url: string, secret = 'env:PATH'): Promise<unknown> =>
  client.query(
    `select from postrider.add_endpoint(sink => 'hooks', name => $1, url => $2, secrets => jsonb_build_object('current', jsonb_build_array($3::text)))`,
    [name, url, secret],
  )

test('those that can be reached are, and nothing is sent to them', async () => {
  const { port, sent } = await portOf(secured('server'))
  expect(await look({ billing: hook(`https://localhost:${port}/`) })).toEqual({
    name: 'destinations',
    state: 'ok',
    message: '1 can be reached from here',
    fix: null,
  })
  expect(sent()).toBe(0)
})

test('a closed port, a certificate out of date and a cluster that is not there are named, each with its reason', async () => {
  const [{ port }, closed] = [await portOf(secured('expired')), await closedPort()]
  const result = await look({
    old: hook(`https://localhost:${port}/`),
    shut: hook(`http://127.0.0.1:${closed}/`),
    stream: { kind: 'kafka', brokers: [`127.0.0.1:${closed}`], source: 'shop', timeouts: { connectMs: 500, deadlineMs: 2_000 } },
  })
  expect(result).toMatchObject({ state: 'fail', fix: expect.stringMatching(/./) as string })
  expect(result.message).toMatch(/^3 of 3 cannot be reached from here: /)
  expect(result.message).toContain('old (tls: TLS handshake failed (CERT_HAS_EXPIRED))')
  expect(result.message).toContain('shut (connect: no connection (ECONNREFUSED))')
  expect(result.message).toMatch(/stream \(\w+: /)
})

test('endpoints are looked at by what stands in their rows: address, secret, state', async () => {
  await client.query(
    `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'park', 'all', 'now', 8, null, true)`,
  )
  const [{ port }, closed] = [await portOf(createServer()), await closedPort()]
  const family: SinkConfig = { kind: 'webhook', endpoints: {}, ...internal }
  vi.stubEnv('POSTRIDER_TEST_SECRET', secrets.current)
  await addEndpoint('fine', `http://127.0.0.1:${port}/`, 'env:POSTRIDER_TEST_SECRET')
  expect(await look({ hooks: family })).toMatchObject({ state: 'ok', message: '1 can be reached from here' })
  await addEndpoint('shut', `http://127.0.0.1:${closed}/`, 'env:POSTRIDER_TEST_SECRET')
  await addEndpoint('unread', `http://127.0.0.1:${port}/`, 'env:POSTRIDER_TEST_NO_SUCH')
  const result = await look({ hooks: family })
  expect(result.message).toMatch(/^2 of 3 cannot be reached from here: /)
  expect(result.message).toContain('hooks/shut (connect: no connection (ECONNREFUSED))')
  expect(result.message).toContain('hooks/unread (secrets.current: the environment variable POSTRIDER_TEST_NO_SUCH is not set)')
  // What stands still on purpose is nobody's trouble.
  await client.query(
    `select postrider.pause(name, 'on purpose') from postrider.sinks where name in ('hooks/shut', 'hooks/unread')`,
  )
  expect(await look({ hooks: family })).toMatchObject({ state: 'ok', message: '1 can be reached from here' })
  vi.unstubAllEnvs()
})

test('a certificate that ends within two weeks is worth a word', async () => {
  const { port } = await portOf(secured('server'))
  const ends = Date.parse(new X509Certificate(fixture('server.pem')).validTo)
  vi.spyOn(Date, 'now').mockReturnValue(ends - 13 * 86_400_000)
  expect(await look({ billing: hook(`https://localhost:${port}/`) })).toMatchObject({
    state: 'warn',
    message: 'certificates end soon: billing in 13d',
  })
})

test('without a configuration nothing is looked at, and one that cannot be read is said to be', async () => {
  expect(await look({})).toMatchObject({ state: 'ok', message: 'not looked at: there is no configuration with sinks here' })
  const database = { url: db.url, directUrl: db.url, connections: 2 }
  const problems = ['sinks.x.url: is missing', 'sinks.x.secrets: NAME is not set']
  const broken = destinations(() => Promise.reject(new PostriderError('invalid_options', 'is not valid', { problems })))
  expect(await examine({ database, schema: 'postrider' }, [broken])).toMatchObject([
    { state: 'warn', message: 'not looked at: sinks.x.url: is missing; sinks.x.secrets: NAME is not set' },
  ])
})

test('postrider doctor asks the destinations of its configuration', async () => {
  await using directory = await temporaryDirectory()
  const closed = await closedPort()
  await directory.write('postrider.config.json', {
    sinks: { shut: { ...hook(`http://127.0.0.1:${closed}/`), secrets: { current: '${env:SECRET}' } } },
  })
  const { code, stdout } = await runProgram(['doctor', '--json'], {
    env: { POSTRIDER_DATABASE_URL: db.url, SECRET: secrets.current },
    directory: directory.path,
  })
  expect(code).toBe(4)
  expect((JSON.parse(stdout) as { checks: Result[] }).checks.at(-1)).toMatchObject({
    name: 'destinations',
    state: 'fail',
    message: 'one cannot be reached from here: shut (connect: no connection (ECONNREFUSED))',
  })
})
