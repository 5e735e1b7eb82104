import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { createVerifier } from '@postrider/inbox'
import { generateSealKey, generateSecret } from '@postrider/webhook'
import { temporaryDirectory, type Directory } from './directory.ts'
import { runProgram, type Ended } from './program.ts'

interface Request {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A customer: takes requests, and answers as told. */
class Customer implements AsyncDisposable {
  readonly requests: Request[] = []
  status = 204
  /** Sent with every answer. */
  headers: Record<string, string> = { 'content-type': 'text/plain' }
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      this.requests.push({
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
      })
      response.writeHead(this.status, this.headers).end(this.status === 204 ? undefined : 'no thanks')
    })
  })

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/path-that-is-a-secret`
  }

  /** Which of these secrets have signed what came last. */
  signers(secrets: readonly string[]): string[] {
    const last = this.requests.at(-1)
    if (last === undefined) return []
    return secrets.filter((secret) => createVerifier({ secrets: [secret] }).check({ headers: last.headers, body: last.body }).ok)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

const key = generateSealKey()
let db: TestDatabase
let client: pg.Client
let customer: Customer
let url: string
let directory: Directory

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await client.query(
    `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'park', 'all', 'now', 8, null, true)`,
  )
  customer = new Customer()
  url = await customer.listen()
  directory = await temporaryDirectory()
  await configure({ secretKey: '${env:KEY}' })
})
afterEach(async () => {
  await directory[Symbol.asyncDispose]()
  await customer[Symbol.asyncDispose]()
  await db[Symbol.asyncDispose]()
})

async function configure(endpoints: object, more: object = {}): Promise<void> {
  await directory.write('postrider.config.json', {
    sinks: {
      hooks: { kind: 'webhook', endpoints, trust: 'internal', allow: ['127.0.0.0/8'], onDead: 'park', ...more },
      // Nobody needs the secrets of the others.
      other: { kind: 'webhook', url: 'https://example.com/', secrets: { current: '${env:NOT_SET}' } },
    },
  })
}

async function run(...args: string[]): Promise<Ended> {
  return await runProgram(['endpoints', ...args], {
    env: { POSTRIDER_DATABASE_URL: db.url, KEY: key, POSTRIDER_ACTOR: 'ada', ...environment },
    directory: directory.path,
  })
}
let environment: Record<string, string> = {}
afterEach(() => (environment = {}))

/** Runs a command with `--json`, and answers what it printed. */
async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await run(...args, '--json')
  expect(stdout, stderr).not.toBe('')
  return JSON.parse(stdout) as Record<string, unknown>
}

/** Adds `hooks/acme`, and answers its secret. */
async function add(...more: string[]): Promise<string> {
  const { secret, state } = await json('add', 'hooks/acme', '--url', url, ...more)
  expect(state).toBe('active')
  return String(secret)
}

async function row(): Promise<Record<string, unknown> | undefined> {
  return (
    await client.query<Record<string, unknown>>(
      `select s.name, s.state, s.types, s.tenant, e.url, e.secrets, e.headers, e.format, e.verification, e.verified_at is not null as verified
       from postrider.endpoints as e join postrider.sinks as s on s.name = e.sink`,
    )
  ).rows[0]
}

describe('add', () => {
  test('verifies by a signed ping, and prints the secret once: it stands nowhere', async () => {
    const { code, stdout, stderr } = await run('add', 'hooks/acme', '--url', url, '--types', 'order.*,user.**', '--tenant', 't-1')
    expect(code, stderr).toBe(0)
    const secret = stdout.trim()
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(stderr).toContain('hooks/acme is active')
    expect(customer.requests).toHaveLength(1)
    expect(customer.signers([secret, generateSecret()])).toEqual([secret])
    expect(customer.requests[0]).toMatchObject({ path: '/path-that-is-a-secret', headers: { 'postrider-attempt': '1' } })
    expect(JSON.parse(customer.requests[0]?.body ?? '')).toMatchObject({
      type: 'postrider.ping',
      data: { endpoint: 'hooks/acme' },
    })
    expect(await row()).toMatchObject({
      state: 'active',
      types: ['order.*', 'user.**'],
      tenant: 't-1',
      verification: 'ping',
      verified: true,
    })

    const dump = JSON.stringify([await row(), (await client.query('select * from postrider.actions')).rows])
    for (const shown of [
      dump,
      ...(
        await Promise.all([run('list'), run('show', 'hooks/acme'), run('list', '--json'), run('show', 'hooks/acme', '--json')])
      ).map((one) => one.stdout),
    ]) {
      expect(shown).toContain('hooks/acme')
      expect(shown).not.toContain(secret.slice(6, 30))
    }
  })

  test('leaves one pending whose ping fails, says why, and enable tries again', async () => {
    customer.status = 500
    const { code, stdout, stderr } = await run('add', 'hooks/acme', '--url', url)
    expect([code, stdout]).toEqual([4, expect.stringMatching(/^whsec_/) as string])
    expect(stderr).toMatch(/ping: answered 500 after \d+ ms\. hooks\/acme stays pending/)
    expect(await row()).toMatchObject({ state: 'pending', verified: false })
    await client.query(`select postrider.emit('{"type": "a"}')`)

    const again = await run('enable', 'hooks/acme')
    expect([again.code, again.stderr]).toEqual([4, expect.stringMatching(/ping: answered 500 .* stays pending/) as string])
    customer.status = 200
    const enabled = await run('enable', 'hooks/acme')
    expect([enabled.code, enabled.stderr]).toEqual([0, expect.stringMatching(/ping: answered 200 .* is active/) as string])
    expect(await row()).toMatchObject({ state: 'active', verified: true })
    expect((await client.query('select from postrider.pending')).rowCount).toBe(1)
  })

  test('for a service of one’s own needs no ping', async () => {
    const { ping } = await json('add', 'hooks/acme', '--url', url, '--verification', 'none')
    expect([ping, customer.requests]).toEqual([null, []])
    expect(await row()).toMatchObject({ state: 'active', verification: 'none', verified: false })
  })

  test('takes a secret by reference, or from a file to seal, and prints neither', async () => {
    const [inEnv, inFile] = [generateSecret(), generateSecret()]
    environment = { ACME: inEnv }
    const referred = await run('add', 'hooks/acme', '--url', url, '--secret', 'env:ACME')
    expect([referred.code, referred.stdout]).toEqual([0, ''])
    expect(customer.signers([inEnv])).toEqual([inEnv])
    expect(await row()).toMatchObject({ secrets: { current: ['env:ACME'] } })

    const file = await directory.write('secret', `${inFile}\n`)
    const sealed = await run('add', 'hooks/filed', '--url', url, '--secret-file', file)
    expect([sealed.code, sealed.stdout]).toEqual([0, ''])
    expect(customer.signers([inFile])).toEqual([inFile])
  })

  test('seals the values of headers', async () => {
    await add('-H', 'authorization=Bearer canary-of-a-header')
    expect(customer.requests[0]?.headers.authorization).toBe('Bearer canary-of-a-header')
    expect(JSON.stringify(await row())).not.toContain('canary')
    expect((await run('show', 'hooks/acme')).stdout).toMatch(/headers: +authorization\n/)
  })

  test.for<[what: string, code: number, args: string[], says: string]>([
    ['an address that may not be reached', 2, ['hooks/acme', '--url', 'https://169.254.169.254/'], 'url: target not allowed'],
    ['an address that is none', 2, ['hooks/acme', '--url', 'nowhere'], 'url: not a URL'],
    ['a filter that is none', 2, ['hooks/acme', '--url', 'URL', '--types', 'a..b'], 'types are filters'],
    ['a name that is none', 2, ['acme', '--url', 'URL'], 'such as hooks/acme'],
    ['a secret as an argument', 2, ['hooks/acme', '--url', 'URL', '--secret', 'whsec_canary'], '--secret-file'],
    ['a reference that leads nowhere', 2, ['hooks/acme', '--url', 'URL', '--secret', 'env:NOT_SET'], 'NOT_SET is not set'],
    ['a sink that the configuration has not', 2, ['nobody/acme', '--url', 'URL'], 'sinks.nobody: is not in the configuration'],
    ['a reserved header', 2, ['hooks/acme', '--url', 'URL', '-H', 'webhook-id=a'], 'headers.webhook-id: is reserved'],
  ])('refuses %s, and writes nothing', async ([, code, args, says]) => {
    const ended = await run('add', ...args.map((arg) => (arg === 'URL' ? url : arg)))
    expect([ended.code, ended.stderr]).toEqual([code, expect.stringContaining(says) as string])
    expect(await row()).toBeUndefined()
    expect(customer.requests).toEqual([])
  })

  test('refuses a name that is taken, and a secret that it could not seal', async () => {
    await add()
    const twice = await run('add', 'hooks/acme', '--url', url)
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('there is an endpoint hooks/acme already') as string])
    await configure({})
    const unsealed = await run('add', 'hooks/other', '--url', url)
    expect([unsealed.code, unsealed.stderr]).toEqual([
      2,
      expect.stringContaining('sinks.hooks.endpoints.secretKey: is missing') as string,
    ])
  })

  test('refuses a sink that is a single destination', async () => {
    environment = { NOT_SET: generateSecret() }
    const { code, stderr } = await run('add', 'other/acme', '--url', url)
    expect([code, stderr]).toEqual([2, expect.stringContaining('sinks.other.endpoints: is missing') as string])
  })
})

describe('verification by cloudevents', () => {
  const ours = 'events.shop.example'
  const how = ['--verification', 'cloudevents']
  const consent = (more: Record<string, string> = {}): void => {
    customer.headers = { 'WebHook-Allowed-Origin': ours, ...more }
  }
  const status = async (): Promise<unknown> =>
    (await client.query('select state, rate, concurrency, verification from postrider.endpoint_status')).rows[0]
  beforeEach(() => configure({ secretKey: '${env:KEY}' }, { requestOrigin: ours }))

  test('asks for consent with the rate of the sink, takes the rate that is allowed, and says from then on who sends', async () => {
    await client.query(`update postrider.sinks set rate = 10 where name = 'hooks'`)
    consent({ 'WebHook-Allowed-Rate': '120' })
    const { code, stdout, stderr } = await run('add', 'hooks/acme', '--url', url, ...how)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^whsec_/) as string])
    expect(stderr).toMatch(/handshake: consent after \d+ ms, to 120 requests a minute\. hooks\/acme is active/)
    expect(customer.requests).toMatchObject([
      {
        method: 'OPTIONS',
        path: '/path-that-is-a-secret',
        headers: { 'webhook-request-origin': ours, 'webhook-request-rate': '600' },
        body: '',
      },
    ])
    expect(await status()).toEqual({ state: 'active', rate: 2, concurrency: 8, verification: 'cloudevents' })
    expect((await run('show', 'hooks/acme')).stdout).toMatch(/limits: +8 at once, 2\/s, .*\nverified: +by cloudevents: \d{4}-/)
    expect((await client.query('select actor, action, detail from postrider.actions order by id')).rows).toMatchObject([
      { actor: 'ada', action: 'pinged', detail: { host: '127.0.0.1' } },
      { actor: 'ada', action: 'added', detail: { state: 'pending' } },
      { actor: 'ada', action: 'limited', detail: { rate: '2' } },
      { actor: 'ada', action: 'resumed' },
    ])
    expect((await run('ping', 'hooks/acme')).code).toBe(0)
    expect(customer.requests.at(-1)).toMatchObject({ method: 'POST', headers: { 'webhook-request-origin': ours } })
  })

  test('leaves one pending that does not consent, says why, and enable asks again', async () => {
    // As many servers answer that have never heard of webhooks.
    customer.headers = { allow: 'OPTIONS, GET, POST' }
    const { code, stderr } = await run('add', 'hooks/acme', '--url', url, ...how)
    expect(code).toBe(4)
    expect(stderr).toMatch(
      /handshake: no consent after \d+ ms \(no_consent: WebHook-Allowed-Origin is missing\)\. hooks\/acme stays pending/,
    )
    expect(stderr).not.toContain('endpoints ping')
    expect(await status()).toMatchObject({ state: 'pending', verification: 'cloudevents' })

    customer.status = 405
    const again = await json('enable', 'hooks/acme')
    expect(again).toMatchObject({
      state: 'pending',
      consent: { given: false, status: 405, perMinute: null, error: { code: 'no_consent', message: 'answered 405' } },
    })
    customer.status = 200
    consent({ 'WebHook-Allowed-Rate': '*' })
    const enabled = await json('enable', 'hooks/acme')
    expect(enabled).toMatchObject({ state: 'active', consent: { given: true, status: 200, perMinute: null, error: null } })
    expect(await status()).toEqual({ state: 'active', rate: null, concurrency: 8, verification: 'cloudevents' })
    expect(customer.requests.map(({ method }) => method)).toEqual(['OPTIONS', 'OPTIONS', 'OPTIONS'])
  })

  test('change asks at a new address, and, when it is told to, where the endpoint is', { timeout: 60_000 }, async () => {
    await add()
    expect(customer.requests.at(-1)?.headers['webhook-request-origin']).toBeUndefined()
    const refused = await run('change', 'hooks/acme', ...how)
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/where it is, handshake: no consent .* Nothing was changed/) as string,
    ])
    expect(await status()).toMatchObject({ verification: 'ping' })
    consent()
    expect(await json('change', 'hooks/acme', ...how)).toMatchObject({ changed: [], consent: { given: true } })
    expect(await status()).toMatchObject({ verification: 'cloudevents', state: 'active' })

    await using moved = new Customer()
    const to = await moved.listen()
    expect((await run('change', 'hooks/acme', '--url', to)).stderr).toMatch(/at the new address, handshake: no consent/)
    expect(await row()).toMatchObject({ url })
    moved.headers = { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': '30' }
    expect((await run('change', 'hooks/acme', '--url', to)).code).toBe(0)
    expect(await row()).toMatchObject({ url: to, verified: true })
    expect(await status()).toMatchObject({ rate: 0.5 })
    expect(moved.requests.map(({ method }) => method)).toEqual(['OPTIONS', 'OPTIONS'])
  })

  test('needs the name of the sender in the configuration, and asks nobody without it', async () => {
    await configure({ secretKey: '${env:KEY}' })
    consent()
    const { code, stderr } = await run('add', 'hooks/acme', '--url', url, ...how)
    expect([code, stderr]).toEqual([2, expect.stringContaining('requestOrigin: is missing; set it for the sink') as string])
    expect([await row(), customer.requests]).toEqual([undefined, []])
    expect((await client.query('select from postrider.actions')).rowCount).toBe(0)
  })

  test('is limited as pings are: after ten of one host within a minute nothing is asked', async () => {
    consent()
    await client.query(
      `insert into postrider.actions (actor, action, sink, detail)
       select 'eve', 'pinged', 'hooks/other', '{"host": "127.0.0.1"}' from generate_series(1, 10)`,
    )
    const { code, stderr } = await run('add', 'hooks/acme', '--url', url, ...how)
    expect([code, stderr]).toEqual([1, expect.stringContaining('127.0.0.1 was pinged 10 times within a minute') as string])
    expect([await row(), customer.requests]).toEqual([undefined, []])
  })
})

describe('ping', () => {
  test('shows the whole exchange, and is no event and no attempt', async () => {
    const secret = await add()
    customer.status = 503
    const { code, stdout } = await run('ping', 'hooks/acme')
    expect(code).toBe(4)
    const last = customer.requests.at(-1)
    expect(stdout).toMatch(/sent\n +POST http:\/\/127\.0\.0\.1:\d+\/#[0-9a-f]{8}\n/)
    expect(stdout).toContain(`webhook-id: ${String(last?.headers['webhook-id'])}`)
    expect(stdout).toMatch(/answered 503 after \d+ ms\n +content-type: text\/plain\n(?: .*\n)* +no thanks\n/)
    expect(stdout).not.toContain('path-that-is-a-secret')
    expect(customer.signers([secret])).toEqual([secret])
    customer.status = 200
    expect(await json('ping', 'hooks/acme')).toMatchObject({ ok: true, status: 200, error: null, answer: { body: 'no thanks' } })
    for (const table of ['attempts', 'circuits', 'events'])
      expect((await client.query(`select from postrider.${table}`)).rowCount, table).toBe(0)
  })

  test('is refused after ten of one host, or 300 of one sink, within a minute, by whichever command; nothing is sent or added', async () => {
    await add()
    const sent = customer.requests.length
    const record = async (count: number, host: string): Promise<void> => {
      await client.query(
        `insert into postrider.actions (actor, action, sink, detail)
         select 'eve', 'pinged', 'hooks/other', jsonb_build_object('host', $2::text) from generate_series(1, $1)`,
        [count, host],
      )
    }
    await record(8, '127.0.0.1') // and the one of add
    expect((await run('ping', 'hooks/acme')).code).toBe(0)
    for (const args of [
      ['ping', 'hooks/acme'],
      ['add', 'hooks/second', '--url', url],
      ['change', 'hooks/acme', '--url', `${url}/v2`],
    ]) {
      const { code, stderr } = await run(...args)
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/127\.0\.0\.1 was pinged 10 times within a minute, at most 10/) as string,
      ])
    }
    expect(customer.requests).toHaveLength(sent + 1)
    expect((await client.query('select from postrider.endpoints')).rowCount).toBe(1)
    const { rows } = await client.query(`select actor, detail from postrider.actions where action = 'pinged' and actor <> 'eve'`)
    expect(rows).toEqual(Array.from({ length: 2 }, () => ({ actor: 'ada', detail: { host: '127.0.0.1' } })))

    await client.query(`update postrider.actions set at = at - interval '1 minute'`)
    expect((await run('ping', 'hooks/acme')).code).toBe(0)
    await record(299, 'elsewhere.test')
    expect((await run('ping', 'hooks/acme')).stderr).toContain('endpoints of hooks were pinged 300 times within a minute')
  })

  test('says why there was no answer', async () => {
    await add()
    await customer[Symbol.asyncDispose]()
    const { code, stdout } = await run('ping', 'hooks/acme')
    expect([code, stdout]).toEqual([
      4,
      expect.stringMatching(/no answer after \d+ ms \(connect: no connection \(ECONNREFUSED\)\)/) as string,
    ])
  })
})

describe('rotate-secret', () => {
  const rotate = async (...more: string[]): Promise<string> =>
    String((await json('rotate-secret', 'hooks/acme', ...more))['secret'])

  test('lets the old secret sign too until its time', async () => {
    const first = await add()
    const second = await rotate()
    const third = await rotate('--overlap', '7d')
    await run('ping', 'hooks/acme')
    expect(customer.signers([first, second, third])).toEqual([first, second, third])
    const previous = (await row())?.['secrets'] as { previous: { secret: string; until: string }[] }
    const days = previous.previous.map(({ until }) => Math.round((Date.parse(until) - Date.now()) / 86_400_000))
    expect(days).toEqual([7, 1])
    await client.query(
      `update postrider.endpoints set secrets = jsonb_set(secrets, '{previous,0,until}', to_jsonb(to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))`,
    )
    await run('ping', 'hooks/acme')
    expect(customer.signers([first, second, third])).toEqual([first, third])
  })

  test('with no overlap only the new one signs', async () => {
    const all = [await add(), await rotate(), await rotate('--overlap', '0')]
    await run('ping', 'hooks/acme')
    expect(customer.signers(all)).toEqual(all.slice(-1))
  })

  test('keeps three former ones at most, and says when there is room', async () => {
    await add()
    for (const _ of [1, 2, 3]) await rotate()
    const { code, stderr } = await run('rotate-secret', 'hooks/acme')
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/at most 3 can: wait until \d{4}-.*Z, or give --overlap 0/) as string,
    ])
  })
})

describe('change', () => {
  test('changes filters and headers, and takes them back', async () => {
    await add('-H', 'x-a=1', '-H', 'x-b=2')
    expect(
      (
        await run(
          'change',
          'hooks/acme',
          '--types',
          'a.*',
          '--tenant',
          't-1',
          '-H',
          'X-A=3',
          '--drop-header',
          'x-b',
          '--format',
          'raw',
        )
      ).code,
    ).toBe(0)
    expect(await row()).toMatchObject({ types: ['a.*'], tenant: 't-1', format: 'raw' })
    await run('ping', 'hooks/acme')
    expect(customer.requests.at(-1)?.headers).toMatchObject({ 'x-a': '3' })
    expect(customer.requests.at(-1)?.headers['x-b']).toBeUndefined()
    await run('change', 'hooks/acme', '--all-types', '--any-tenant', '--format', 'default')
    expect(await row()).toMatchObject({ types: null, tenant: null, format: null })
  })

  test('of the address needs a ping there first; when that fails nothing is changed', async () => {
    await add()
    await using moved = new Customer()
    const to = await moved.listen()
    moved.status = 404
    const refused = await run('change', 'hooks/acme', '--url', to)
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/answered 404 .*Nothing was changed/) as string])
    expect(await row()).toMatchObject({ url })
    moved.status = 200
    expect((await run('change', 'hooks/acme', '--url', to)).code).toBe(0)
    expect(await row()).toMatchObject({ url: to, verified: true })
    expect((await run('change', 'hooks/acme', '--url', `${url}2`, '--verification', 'none')).code).toBe(0)
    expect(await row()).toMatchObject({ url: `${url}2`, verified: false })
  })

  test('without anything to change says so', async () => {
    await add()
    const { code, stderr } = await run('change', 'hooks/acme')
    expect([code, stderr]).toEqual([2, expect.stringContaining('nothing to change') as string])
  })
})

describe('disable and enable', () => {
  const emit = (): Promise<unknown> => client.query(`select postrider.emit('{"type": "a"}')`)
  const pending = async (): Promise<number | null> =>
    (await client.query(`select from postrider.pending where type = 'a'`)).rowCount

  test.for([
    ['all', 2],
    ['skip', 0],
    ['time', 1],
  ] as const)('what has come meanwhile goes out as it is said: --from %s', async ([choice, expected]) => {
    await add()
    expect((await run('disable', 'hooks/acme', '--reason', 'abuse')).code).toBe(0)
    await emit()
    // A Date has whole milliseconds, and the first event may be of the same one.
    const { rows } = await client.query<{ now: Date }>(`select clock_timestamp() + interval '5 ms' as now, pg_sleep(0.01)`)
    await emit()
    const from = choice === 'time' ? (rows[0]?.now.toISOString() ?? '') : choice
    expect(await json('enable', 'hooks/acme', '--from', from)).toEqual({ endpoint: 'hooks/acme', state: 'active', ping: null })
    expect(await pending()).toBe(expected)
    expect(
      (await client.query(`select actor, action from postrider.actions where sink = 'hooks/acme' order by id`)).rows,
    ).toEqual(
      expect.arrayContaining([
        { actor: 'ada', action: 'disabled' },
        { actor: 'ada', action: 'resumed' },
      ]),
    )
  })

  test('without a terminal enable does not guess', async () => {
    await add()
    await run('disable', 'hooks/acme', '--reason', 'abuse')
    const { code, stderr } = await run('enable', 'hooks/acme')
    expect([code, stderr]).toEqual([6, expect.stringContaining('--from all, --from skip, or --from <time>') as string])
    expect(await row()).toMatchObject({ state: 'disabled' })
    expect((await run('enable', 'hooks/acme', '--from', 'tomorrow')).code).toBe(2)
  })

  test('one that is active already stays so', async () => {
    await add()
    expect((await run('enable', 'hooks/acme')).stderr).toContain('is active already')
  })
})

describe('remove', () => {
  test('asks first, and then the endpoint is nowhere', { timeout: 60_000 }, async () => {
    await add()
    expect((await run('remove', 'hooks/acme', '--reason', 'left us')).code).toBe(6)
    expect(await json('remove', 'hooks/acme', '--reason', 'left us', '--yes')).toEqual({
      endpoint: 'hooks/acme',
      removed: true,
      deliveries: 0,
    })
    expect(await row()).toBeUndefined()
    for (const args of [
      ['show', 'hooks/acme'],
      ['ping', 'hooks/acme'],
      ['change', 'hooks/acme', '--all-types'],
      ['rotate-secret', 'hooks/acme'],
      ['enable', 'hooks/acme'],
      ['disable', 'hooks/acme', '--reason', 'x'],
      ['remove', 'hooks/acme', '--reason', 'x', '--yes'],
    ])
      expect((await run(...args)).code, args.join(' ')).toBe(3)
    expect((await run('list')).stderr).toContain('There are no such endpoints')
  })
})

test('list and show tell how endpoints are', { timeout: 60_000 }, async () => {
  await add('--tenant', 't-1')
  await json('add', 'hooks/broken', '--url', url)
  await client.query(`select postrider.open_circuit('hooks/broken', null, 60000, 60000, 'status_5xx', 'answered 503', 10)`)
  await client.query(`select postrider.emit('{"type": "a", "tenant": "t-1"}')`)
  const { stdout } = await run('list')
  expect(stdout).toMatch(/hooks\/acme +active +http:\/\/127\.0\.0\.1:\d+ +all +t-1 +-/)
  expect(stdout).toMatch(/hooks\/broken +degraded .* status_5xx: answered 503/)
  expect((await run('list', '--state', 'degraded')).stdout).not.toContain('hooks/acme')
  expect((await run('list', '--tenant', 't-1')).stdout).not.toContain('hooks/broken')
  expect((await run('show', 'hooks/broken')).stdout).toMatch(/failing: +since .*, 10 attempts \(status_5xx: answered 503\)\n/)
  expect(await json('show', 'hooks/acme')).toMatchObject({
    endpoint: 'hooks/acme',
    state: 'active',
    tenant: 't-1',
    pending: 1,
    dead: 0,
  })
  for (const shown of [stdout, (await run('show', 'hooks/acme')).stdout]) expect(shown).not.toContain('path-that-is-a-secret')
})

test('reseal seals with the new key what the old one has sealed, so that the old one can go', async () => {
  const secret = await add('-H', 'x-a=1')
  await json('rotate-secret', 'hooks/acme')
  environment = { KEY: generateSealKey(), OLD: key }
  await configure({ secretKey: '${env:KEY}', previousKeys: ['${env:OLD}'] })
  expect(await json('reseal', 'hooks')).toEqual({ sink: 'hooks', endpoints: 1, sealed: ['hooks/acme'] })
  expect(await json('reseal', 'hooks')).toEqual({ sink: 'hooks', endpoints: 1, sealed: [] })
  await configure({ secretKey: '${env:KEY}' })
  expect((await run('ping', 'hooks/acme')).code).toBe(0)
  expect(customer.signers([secret])).toEqual([secret])
  expect(customer.requests.at(-1)?.headers).toMatchObject({ 'x-a': '1' })
})
