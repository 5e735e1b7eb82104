import type pg from 'pg'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { createVerifier } from '@postrider/inbox'
import { generateSecret } from '@postrider/webhook'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDatabase } from '../src/connect.ts'
import { Tail, type TailFilter } from '../src/inspect/attempts.ts'
import { listEvents, type EventPage, type ListFilter } from '../src/inspect/list.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram, startProgram, type Ended, type Program } from './program.ts'

let db: TestDatabase
let client: pg.Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await client.query(`select postrider.put_sink('billing', 'webhook', 2::smallint, null, 'key', 'block', 'all', 'beginning')`)
})
afterEach(() => db[Symbol.asyncDispose]())

const settings = (): Parameters<typeof openDatabase>[0] => ({
  database: { url: db.url, directUrl: db.url, connections: 2 },
  schema: 'postrider',
})
const run = (...args: string[]): Promise<Ended> => runProgram(args, { env: { POSTRIDER_DATABASE_URL: db.url } })

/** What a command prints with `--json`. */
async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await run(...args, '--json')
  expect([code, stderr], args.join(' ')).toEqual([0, ''])
  return JSON.parse(stdout) as T
}

async function emit(...events: object[]): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>('select postrider.emit($1::text::jsonb) as id', [JSON.stringify(events)])
  return rows.map(({ id }) => id)
}

async function attempt(
  id: string | undefined,
  outcome: string,
  more: { sink?: string; agoSeconds?: number; number?: number } = {},
): Promise<void> {
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, status, error_code, error, started_at, duration_ms)
     select $3, position, slot, id, $5, $2, case when $2 = 'delivered' then 200 else 503 end,
       case when $2 <> 'delivered' then 'status_5xx' end, case when $2 <> 'delivered' then 'answered 503' end,
       clock_timestamp() - $4 * interval '1 second', 12 from postrider.events where id = $1`,
    [id, outcome, more.sink ?? 'billing', more.agoSeconds ?? 0, more.number ?? 1],
  )
}

const linesOf = <T>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)

describe('events list', () => {
  const all: ListFilter = { sink: null, state: null, types: null, key: null, tenant: null, since: null, until: null }
  const list = async (filter: Partial<ListFilter>, after: string | null = '0', limit = 50): Promise<EventPage> => {
    await using database = openDatabase(settings(), 'test')
    return await listEvents(database, 'postrider', { ...all, ...filter }, { after, limit })
  }
  const idsOf = ({ events }: { readonly events: readonly { readonly id: string }[] }): string[] => events.map(({ id }) => id)
  const ids = async (filter: Partial<ListFilter>): Promise<string[]> => idsOf(await list(filter))

  test('shows the newest in the order of the log, and page after page from a place on', async () => {
    const emitted = await emit(...Array.from({ length: 7 }, (_, n) => ({ type: 'a.b', key: `k${n}` })))
    expect(await list({}, null, 3)).toMatchObject({ next: null, olderUnseen: true })
    const pages: string[][] = []
    for (let after: string | null = '0'; after !== null;) {
      const page: EventPage = await list({}, after, 3)
      pages.push(idsOf(page))
      after = page.next
    }
    expect(pages).toEqual([emitted.slice(0, 3), emitted.slice(3, 6), emitted.slice(6)])
    const newest = await json<EventPage>(
      'events',
      'list',
      '--limit',
      '3',
      '--type',
      'a.*',
      '--since',
      '1h',
      '--until',
      '2099-01-01',
    )
    expect([idsOf(newest), newest.next]).toEqual([emitted.slice(0, 3), newest.events[2]?.position])
    const shown = await run('events', 'list', '--limit', '2')
    expect(shown.stdout).toMatch(new RegExp(`^position .*\\n.*${emitted[5]} .*\\n.*${emitted[6]} .*\\n$`))
    expect(shown.stderr).toContain('older ones')
  })

  test('chooses by type, key, tenant, sink and time, each with the others', async () => {
    await client.query(`select postrider.put_sink('acme', 'webhook', 1::smallint, '{order.*}', 'key', 'block', 'all')`)
    await client.query(`update postrider.sinks set tenant = 'acme' where name = 'acme'`)
    const [placed = '', paid = '', other = ''] = await emit(
      { type: 'order.placed', key: 'o-1', tenant: 'acme' },
      { type: 'order.paid', key: 'o-1', tenant: 'zeta' },
      { type: 'refund', key: 'r-1', tenant: 'acme' },
    )
    const { rows } = await client.query<{ now: string }>('select clock_timestamp()::text as now')
    const now = rows[0]?.now ?? ''
    const [late = ''] = await emit({ type: 'late' })
    expect(await ids({ types: ['order.*'] })).toEqual([placed, paid])
    expect(await ids({ key: 'o-1', tenant: 'zeta' })).toEqual([paid])
    expect(await ids({ sink: 'acme' })).toEqual([placed])
    expect(await ids({ since: now })).toEqual([late])
    expect(await ids({ until: now })).toEqual([placed, paid, other])
    expect(await ids({ since: '2020-01-01T00:00:00Z', until: now, types: ['refund'] })).toEqual([other])
    expect(await ids({ until: '2020-01-01T00:00:00Z' })).toEqual([])
  })

  test('chooses by what has become of them at a sink', async () => {
    await client.query(`select postrider.put_sink('other', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now')`)
    const [delivered = '', dead = '', waits = '', pending = ''] = await emit(
      { type: 'a' },
      { type: 'b' },
      { type: 'c' },
      { type: 'd' },
    )
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, state)
       select 'billing', 0, position, slot, id, case id when $1 then 'dead' else 'retrying' end from postrider.events where id in ($1, $2)`,
      [dead, waits],
    )
    await attempt(delivered, 'delivered')
    await client.query(
      `update postrider.lanes set anchor = (select position from postrider.events where id = $1) where sink = 'billing'`,
      [waits],
    )
    expect(await ids({ state: 'dead' })).toEqual([dead])
    expect(await ids({ state: 'retrying', sink: 'billing' })).toEqual([waits])
    expect(await ids({ state: 'retrying', sink: 'other' })).toEqual([])
    expect(await ids({ state: 'delivered' })).toEqual([delivered])
    expect(await ids({ state: 'pending', sink: 'billing' })).toEqual([pending])
    expect(await ids({ state: 'pending', sink: 'other' })).toEqual([delivered, dead, waits, pending])
    expect((await run('events', 'list', '--sink', 'nope', '--state', 'dead')).code).toBe(3)
  })
})

describe('events get', () => {
  test('shows an event with its payload as it is, and every attempt', async () => {
    const payload = '{"n": 9007199254740993, "x": 1.50, "s": "it\'s"}'
    const id = (await run('emit', 'order.placed', '--key', 'o-1', '--data', payload, '-H', 'a=b')).stdout.trim()
    await attempt(id, 'retry')
    await attempt(id, 'delivered', { number: 2, sink: 'other' })
    const shown = await run('events', 'get', id)
    expect(shown.stdout).toContain(
      `payload:    ${payload.replace('"n": 9007199254740993, "x": 1.50, "s"', '"n": 9007199254740993, "s"').replace('"it\'s"', '"it\'s", "x": 1.50')}`,
    )
    expect(shown.stdout).toMatch(/billing +1 .*retry +503 +status_5xx: answered 503\nother +2 .*delivered +200 +-\n$/)
    const document = (await run('events', 'get', id, '--json')).stdout
    expect(document).toContain('"n": 9007199254740993')
    expect(document).toContain('"x": 1.50')
    expect(JSON.parse(document)).toMatchObject({
      id,
      key: 'o-1',
      headers: { a: 'b' },
      attempts: [{ outcome: 'retry' }, { sink: 'other', attempt: 2 }],
    })
    const one = JSON.parse((await run('events', 'get', id, '--json', '--sink', 'other')).stdout) as { attempts: unknown[] }
    expect(one.attempts).toHaveLength(1)
    expect((await run('events', 'get', '018f3c2e-0000-7000-8000-0000000000ff')).code).toBe(3)
  })

  test('--curl prints a request that the shell sends as the sink does, and that a receiver takes', async () => {
    const secret = generateSecret()
    await using receiver = await startReceiver()
    await using directory = await temporaryDirectory()
    await directory.write('postrider.config.json', {
      sinks: {
        billing: {
          kind: 'webhook',
          url: receiver.url,
          trust: 'internal',
          allow: ['127.0.0.1'],
          secrets: { current: '${env:SECRET}' },
          headers: { 'x-shop': `it's` },
        },
        other: { kind: 'webhook', url: 'https://example.com', secrets: { current: '${env:NOT_SET}' } },
      },
    })
    const env = { POSTRIDER_DATABASE_URL: db.url, SECRET: secret }
    const [text = '', binary = ''] = await emit(
      { type: 'a.b', key: 'k', payload: { quote: `it's "so"`, n: 1 } },
      { type: 'a.b', payload_base64: '/wAnCg==', content_type: 'application/octet-stream' },
    )
    for (const id of [text, binary]) {
      const printed = await runProgram(['events', 'get', id, '--curl', '--sink', 'billing'], { env, directory: directory.path })
      expect([printed.code, printed.stderr]).toEqual([0, ''])
      expect(printed.stdout).not.toContain(secret)
      const sent = receiver.next()
      await promisify(execFile)('sh', ['-c', printed.stdout.replace('curl ', 'curl -m 5 -s ')], { timeout: 10_000 })
      const { headers, body } = await sent
      const verifier = createVerifier({ secrets: [secret] })
      expect(verifier.check({ headers, body })).toMatchObject({ ok: true })
      expect(headers).toMatchObject({ 'webhook-id': id, 'x-shop': `it's`, 'postrider-event-type': 'a.b' })
    }
    const without = await runProgram(['events', 'get', text, '--curl'], { env, directory: directory.path })
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('--sink <name>') as string])
  })
})

test('events explain says where an event is, and what would help', async () => {
  const [id = ''] = await emit({ type: 'a', key: 'k' })
  await client.query(`select postrider.pause('billing', 'their release', actor => 'ann')`)
  const explained = await run('events', 'explain', id)
  expect(explained.stdout).toMatch(
    /billing +pending +0 +behind the cursor, the next of its lane; the sink is paused since .* by ann: their release/,
  )
  expect(explained.stderr).toContain(`billing: select postrider.resume('billing');`)
})

describe('tail', () => {
  interface Line {
    readonly kind: string
    readonly eventId: string
    readonly outcome?: string
    readonly sink?: string
  }
  const tail = (...args: string[]): Program => startProgram(['tail', ...args], { env: { POSTRIDER_DATABASE_URL: db.url } })
  const shown = (text: string): string[] =>
    linesOf<Line>(text).map(({ eventId, outcome, kind }) => `${outcome ?? kind} ${eventId}`)

  test('begins with the last attempts, oldest first, chosen by sink, type, key and outcome', async () => {
    const [one, two, three] = await emit({ type: 'a.b', key: 'k' }, { type: 'a.c', key: 'j' }, { type: 'd', key: 'k' })
    await attempt(one, 'retry', { agoSeconds: 30 })
    await attempt(two, 'delivered', { agoSeconds: 20 })
    await attempt(one, 'delivered', { agoSeconds: 10, number: 2 })
    await attempt(three, 'reject', { agoSeconds: 5, sink: 'hooks/x' })
    const lines = async (filter: Partial<TailFilter>, count = 20): Promise<string[]> => {
      await using database = openDatabase(settings(), 'test')
      const reader = new Tail(
        database,
        'postrider',
        { sink: null, types: null, key: null, outcomes: null, ...filter },
        { events: false },
      )
      return (await reader.newest(count)).map(({ outcome, eventId }) => `${outcome} ${eventId}`)
    }
    expect(await lines({})).toEqual([`retry ${one}`, `delivered ${two}`, `delivered ${one}`, `reject ${three}`])
    expect(await lines({}, 2)).toEqual([`delivered ${one}`, `reject ${three}`])
    expect(await lines({ sink: 'hooks' })).toEqual([`reject ${three}`])
    expect(await lines({ types: ['a.*'], key: 'k' })).toEqual([`retry ${one}`, `delivered ${one}`])
    expect(await lines({ outcomes: ['retry', 'reject'] })).toEqual([`retry ${one}`, `reject ${three}`])
    const all = await run('tail', '--since', '15s', '--outcome', 'delivered', '--sink', 'billing', '--key', 'k', '--type', 'a.*')
    expect(shown(all.stdout)).toEqual([`delivered ${one}`])
  })

  test('shows all since a time, however many there are, each once and in order', async () => {
    await emit(...Array.from({ length: 1_300 }, () => ({ type: 'a' })))
    // More than a page begins at the same moment.
    await client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'billing', position, slot, id, 1, 'delivered', now() - case when nth <= 600 then interval '10 minutes' else nth * interval '1 second' end, 1
       from (select *, row_number() over (order by position) as nth from postrider.events) as e`,
    )
    const lines = linesOf<Line & { startedAt: string }>((await run('tail', '--since', '2h')).stdout)
    expect(new Set(lines.map(({ eventId }) => eventId)).size).toBe(1_300)
    expect(lines).toHaveLength(1_300)
    expect(lines.map(({ startedAt }) => startedAt)).toEqual(lines.map(({ startedAt }) => startedAt).toSorted())
  })

  test('follows each attempt and event once, also what was written by a transaction that began before; Ctrl-C is 130', async () => {
    const [first] = await emit({ type: 'a' })
    await attempt(first, 'retry')
    await using program = tail('-f', '--events')
    await program.wrote(`"eventId":"${first}"`)
    const slow = await db.client()
    await slow.query('begin')
    await slow.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'billing', position, slot, id, 2, 'throttled', clock_timestamp() - interval '20 seconds', 1 from postrider.events`,
    )
    const [second] = await emit({ type: 'b' })
    await attempt(second, 'delivered')
    await program.wrote(`"outcome":"delivered"`)
    await slow.query('commit')
    await program.wrote(`"outcome":"throttled"`)
    program.kill('SIGINT')
    const { code, stdout, stderr } = await program.ended
    expect([code, stderr]).toEqual([130, ''])
    expect(shown(stdout)).toEqual([`retry ${first}`, `event ${second}`, `delivered ${second}`, `throttled ${first}`])
  })

  test('goes on when the database comes back, without a gap or a repeat', async () => {
    const [first, second] = await emit({ type: 'a' }, { type: 'b' })
    await attempt(first, 'delivered')
    await using line = await openLine(db.url)
    await using program = startProgram(['tail', '-f'], { env: { POSTRIDER_DATABASE_URL: line.url } })
    await program.wrote(`"eventId":"${first}"`)
    await line.cut()
    await program.wrote('looking again until it is back')
    await attempt(second, 'delivered')
    await line.mend()
    await program.wrote('the database is back')
    await program.wrote(`"eventId":"${second}"`)
    program.kill('SIGINT')
    expect(shown((await program.ended).stdout)).toEqual([`delivered ${first}`, `delivered ${second}`])
  })
})

describe('status', () => {
  test('shows how each sink is, who made it so, and what came of attempts', async () => {
    const [id] = await emit({ type: 'a', key: 'k' })
    await attempt(id, 'delivered')
    await client.query(`select postrider.pause('billing', 'their release', interval '1 hour', 'ann')`)
    const { sinks } = await json<{ sinks: Record<string, unknown>[] }>('status')
    expect(sinks).toMatchObject([
      {
        name: 'billing',
        kind: 'webhook',
        state: 'paused',
        by: 'ann',
        reason: 'their release',
        until: expect.any(String) as string,
        circuit: 'closed',
        pending: 1,
      },
    ])
    expect(sinks[0]?.['deliveredPerSecond']).toBeCloseTo(1 / 60, 5)
    const shown = await run('status')
    expect(shown.stdout).toMatch(/billing +paused by ann until .*Z: their release +1 /)
    expect(shown.stderr).toContain('postrider resume billing')
    await client.query(
      `select postrider.resume('billing'), postrider.open_circuit('billing', gen_random_uuid(), 60000, 60000, 'connect', 'refused', 10)`,
    )
    expect((await run('status')).stdout).toMatch(/billing +degraded until .*Z: connect: refused/)
  })

  test('--watch says it again and again, and ends with 130 on Ctrl-C', async () => {
    await using program = startProgram(['status', '--watch', '0.5', '--json'], { env: { POSTRIDER_DATABASE_URL: db.url } })
    await program.wrote(/"pending":0.*\n/)
    await emit({ type: 'a' })
    await program.wrote(/"pending":1.*\n/)
    program.kill('SIGINT')
    const { code, stdout, stderr } = await program.ended
    expect([code, stderr]).toEqual([130, ''])
    expect(linesOf<{ at: string }>(stdout).every(({ at }) => !Number.isNaN(Date.parse(at)))).toBe(true)
  })
})

describe('pause and resume', () => {
  const states = async (): Promise<unknown> =>
    (
      await client.query(
        'select name, state, state_by as by, state_reason as reason from postrider.sinks where not fans_out order by name',
      )
    ).rows

  test('hold one sink or all, with who, why and for how long', async () => {
    await client.query(`select postrider.put_sink('other', 'webhook', 1::smallint, null, 'key', 'block', 'all')`)
    expect(await json('pause', 'billing', '--reason', 'their release', '--for', '30m', '--actor', 'ann')).toEqual({ paused: 1 })
    const { rows } = await client.query(
      `select state_until - state_since between interval '29 minutes' and interval '31 minutes' as fits from postrider.sinks where name = 'billing'`,
    )
    expect(rows).toEqual([{ fits: true }])
    expect(await json('pause', '--all', '--reason', 'night', '--actor', 'bob')).toEqual({ paused: 2 })
    expect(await states()).toEqual(['billing', 'other'].map((name) => ({ name, state: 'paused', by: 'bob', reason: 'night' })))
    expect(await json('resume', 'other', '--reason', 'day', '--actor', 'ann')).toEqual({ resumed: 1 })
    expect(await json('resume', '--all')).toEqual({ resumed: 1 })
    expect(await states()).toMatchObject([{ state: 'active' }, { state: 'active', by: 'ann', reason: 'day' }])
    const none = [await run('resume', '--all'), await run('resume', 'billing'), await run('pause', 'nope', '--reason', 'x')]
    expect(none.map(({ code }) => code)).toEqual([3, 3, 3])
  })

  test('resume can leave out what has come, if that is confirmed', async () => {
    await emit({ type: 'a' })
    await client.query(`select postrider.pause('billing', 'x')`)
    expect((await run('resume', 'billing', '--from', 'skip')).code).toBe(6)
    expect(await states()).toMatchObject([{ state: 'paused' }])
    expect(await json('resume', 'billing', '--from', 'skip', '--yes')).toEqual({ resumed: 1 })
    expect((await client.query('select from postrider.pending')).rowCount).toBe(0)
    await emit({ type: 'a' })
    await client.query(`select postrider.pause('billing', 'x')`)
    await json('resume', 'billing', '--from', '1h', '--yes')
    expect((await client.query('select from postrider.pending')).rowCount).toBe(1)
  })
})

describe('sinks', () => {
  test('list and show tell settings, limits and what was done', async () => {
    await client.query(`select postrider.pause('billing', 'their release', actor => 'ann')`)
    const listed = await run('sinks', 'list')
    expect(listed.stdout).toMatch(/^sink .*\nbilling +webhook +paused by ann: their release +\d+\w+ +32 +any +nobody 0-1\n$/)
    const shown = await run('sinks', 'show', 'billing')
    expect(shown.stdout).toMatch(/limits: +32 in flight, any a second\n/)
    expect(shown.stdout).toMatch(/Z +ann +paused +their release\n$/)
    expect(await json('sinks', 'show', 'billing')).toMatchObject({
      name: 'billing',
      ordering: 'key',
      onDead: 'block',
      actions: [{ action: 'paused', actor: 'ann' }],
    })
    expect((await run('sinks', 'show', 'nope')).code).toBe(3)
  })

  test('limits change what is given and leave the rest, until they are reset', async () => {
    expect(await json('sinks', 'limits', 'billing', '--concurrency', '2')).toEqual({
      sink: 'billing',
      concurrency: 2,
      rate: null,
    })
    expect(await json('sinks', 'limits', 'billing', '--rate', '30/m', '--reason', 'they asked')).toEqual({
      sink: 'billing',
      concurrency: 2,
      rate: 0.5,
    })
    expect((await run('sinks', 'list')).stdout).toMatch(/ 2\* +0\.5\*/)
    expect(await json('sinks', 'limits', 'billing', '--rate', 'none')).toEqual({ sink: 'billing', concurrency: 2, rate: null })
    expect(await json('sinks', 'limits', 'billing', '--reset')).toEqual({ sink: 'billing', concurrency: 32, rate: null })
    expect((await client.query('select reason from postrider.actions order by id')).rows).toMatchObject([
      {},
      { reason: 'they asked' },
      {},
      {},
    ])
    await client.query(
      `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now', fans_out => true)`,
    )
    const wrong = [
      await run('sinks', 'limits', 'nope', '--rate', '1'),
      await run('sinks', 'limits', 'hooks', '--rate', '1'),
      await run('sinks', 'limits', 'billing'),
    ]
    expect(wrong.map(({ code }) => code)).toEqual([3, 3, 2])
  })
})

/** A way to the database that can be cut. */
async function openLine(
  url: string,
): Promise<{ readonly url: string; cut(): Promise<void>; mend(): Promise<void> } & AsyncDisposable> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const open = async (port: number): Promise<Server> => {
    const server = createServer((here) => {
      const there = connect(Number(target.port), target.hostname)
      for (const [socket, other] of [
        [here, there],
        [there, here],
      ] as const) {
        sockets.add(socket)
        socket.on('error', () => other.destroy()).on('close', () => other.destroy())
        socket.pipe(other)
      }
    }).listen(port, '127.0.0.1')
    await once(server, 'listening')
    return server
  }
  let server = await open(0)
  const { port } = server.address() as AddressInfo
  const way = new URL(url)
  way.host = `127.0.0.1:${port}`
  const cut = async (): Promise<void> => {
    const closed = server.listening ? once(server, 'close') : null
    server.close()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await closed
  }
  return {
    url: way.href,
    cut,
    async mend() {
      server = await open(port)
    },
    [Symbol.asyncDispose]: cut,
  }
}

interface Request {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** Takes requests as bytes, so that nothing stands between what was sent and what is compared. */
async function startReceiver(): Promise<{ readonly url: string; next(): Promise<Request> } & AsyncDisposable> {
  let take: (request: Request) => void = () => undefined
  const server = createServer((socket) => {
    let received = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      const end = received.indexOf('\r\n\r\n')
      const [, ...lines] = received.subarray(0, Math.max(0, end)).toString('latin1').split('\r\n')
      const headers = Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
      )
      const body = received.subarray(end + 4)
      if (end === -1 || body.length < Number(headers['content-length'])) return
      socket.end('HTTP/1.1 204 No Content\r\n\r\n')
      take({ headers, body })
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?a=1`,
    next: () => new Promise((resolve) => (take = resolve)),
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}
