import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await putSink('shop')
  await putSink('crm', { types: ['order.*'], tenant: 'acme' })
})
afterEach(() => db[Symbol.asyncDispose]())

interface SinkSettings {
  readonly types?: readonly string[] | null
  readonly tenant?: string | null
  readonly onDead?: 'block' | 'park'
  readonly starts?: 'beginning' | 'now'
}

async function putSink(
  name: string,
  { types = null, tenant = null, onDead = 'block', starts = 'now' }: SinkSettings = {},
): Promise<void> {
  await client.query(`select postrider.put_sink($1, 'webhook', 4::smallint, $2, 'key', $3, 'all', $4)`, [
    name,
    types,
    onDead,
    starts,
  ])
  await client.query('update postrider.sinks set tenant = $2 where name = $1', [name, tenant])
}

/** The cursor of a sink passes everything there is. */
async function pass(sink: string): Promise<void> {
  await client.query(
    `insert into postrider.checkpoints (sink, lane, fence, done, position, horizon)
     select sink, lane, fence + 1, pg_current_snapshot(), (select max(position) from postrider.events), pg_current_xact_id()
     from postrider.cursors where sink = $1`,
    [sink],
  )
}

interface Given {
  readonly state?: string
  readonly sink?: string
  readonly attempts?: number
  readonly code?: string
  readonly error?: string
}

/** Deliveries of events at a sink, all in one state. */
async function put(ids: readonly string[], given: Given = {}): Promise<void> {
  const { state = 'dead', sink = 'shop', attempts = 3, code = 'status_5xx', error = 'answered 500' } = given
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error)
     select $2, postrider.lane_of(e.bucket, 4::smallint), e.position, e.slot, e.id, e.key, $3, $4, $5, $6
     from postrider.events as e where e.id = any($1) order by e.position`,
    [ids, sink, state, attempts, code, error],
  )
}

interface Operation {
  readonly id: string
  readonly state: string
  readonly total: string
  readonly done: string
  readonly skipped: string
  readonly waiting: boolean
  readonly error: string | null
}

async function start(kind: string, filter: unknown, more: Record<string, unknown> = {}): Promise<Operation> {
  const given = { reason: 'a test', sink: null, rate: null, as_new: false, actor: 'ann', ...more }
  const { rows } = await client.query<Operation>(`select * from postrider.start_operation($1, $2::jsonb, $3, $4, $5, $6, $7)`, [
    kind,
    JSON.stringify(filter),
    given.reason,
    given.sink,
    given.rate,
    given.as_new,
    given.actor,
  ])
  return rows.at(0)!
}

async function advance(id: string, budget = 500, session = client): Promise<Operation | null> {
  const { rows } = await session.query<Operation>('select * from postrider.advance_operation($1, $2)', [id, budget])
  return rows.find((row) => row.id !== null) ?? null
}

/** Works an operation off, piece by piece. */
async function finish({ id }: Operation, budget = 500): Promise<Operation> {
  for (;;) {
    const now = await advance(id, budget)
    if (now === null) throw new Error('somebody else is at it')
    if (now.state !== 'running') return now
  }
}

const many = (count: number, more: (n: number) => object = () => ({})): Promise<string[]> =>
  emit(
    client,
    Array.from({ length: count }, (_, n) => ({ type: 'order.placed', key: `k${n % 10}`, payload: { n }, ...more(n) })),
  )

/** State of each delivery at a sink, by event id. */
async function states(sink = 'shop'): Promise<Record<string, string>> {
  const { rows } = await client.query<{ event_id: string; state: string }>(
    'select event_id, state from postrider.deliveries where sink = $1 order by position',
    [sink],
  )
  return Object.fromEntries(rows.map(({ event_id, state }) => [event_id, state]))
}

async function count(text: string, values: unknown[] = []): Promise<number> {
  const { rows } = await client.query<{ n: number }>(`select count(*)::int as n from ${text}`, values)
  return rows.at(0)!.n
}

const nobody = '0192b0f0-0000-7000-8000-000000000000'

describe('what cannot be done is refused, with where and why', () => {
  test.for<
    [what: string, kind: string, filter: unknown, more: Record<string, unknown>, path: string | undefined, message: RegExp]
  >([
    ['no object', 'retry', [], {}, undefined, /JSON array: give an object/],
    ['null', 'retry', null, {}, undefined, /JSON null: give an object/],
    ['an unknown name', 'retry', { sinks: 'shop' }, {}, 'sinks', /sinks is not a name of the filter/],
    ['a sink that is not there', 'retry', { sink: 'nope' }, {}, 'sink', /no sink nope/],
    ['one of two sinks that is not there', 'retry', { sink: ['shop', 'nope'] }, {}, 'sink', /no sink nope/],
    ['a sink that is a number', 'retry', { sink: 3 }, {}, 'sink', /not a string or a list of strings/],
    ['no sink at all', 'retry', { sink: [] }, {}, 'sink', /empty list/],
    ['a type that is none', 'retry', { type: 'order..placed' }, {}, 'type', /order\.\.placed is not a filter/],
    ['a type of null', 'retry', { type: [null] }, {}, 'type', /not a string or a list of strings/],
    ['a key of null', 'retry', { key: null }, {}, 'key', /JSON null: give a string/],
    ['a tenant that is a number', 'retry', { tenant: 1 }, {}, 'tenant', /JSON number/],
    ['a state that is none', 'discard', { state: 'delivered' }, {}, 'state', /delivered is not a state/],
    ['a retry of what is not dead', 'retry', { state: ['dead', 'blocked'] }, {}, 'state', /what is blocked goes out by itself/],
    ['a skip of dead letters', 'skip', { state: 'dead' }, {}, 'state', /a dead letter does not/],
    ['a time without a zone', 'retry', { since: '2026-01-31T08:30:00' }, {}, 'since', /not a time/],
    ['a time that is none', 'retry', { until: 'yesterday' }, {}, 'until', /not a time/],
    [
      'since after until',
      'retry',
      { since: '2026-02-01T00:00:00Z', until: '2026-01-01T00:00:00Z' },
      {},
      'until',
      /until is not after since/,
    ],
    ['attempts below 1', 'retry', { min_attempts: 0 }, {}, 'min_attempts', /give a whole number/],
    ['attempts as a text', 'retry', { min_attempts: '3' }, {}, 'min_attempts', /give a whole number/],
    ['a part of an attempt', 'retry', { min_attempts: 1.5 }, {}, 'min_attempts', /give a whole number/],
    [
      'a fingerprint of what is not dead',
      'discard',
      { state: 'blocked', fingerprint: 'x' },
      {},
      'fingerprint',
      /only dead letters/,
    ],
    ['a skip by fingerprint', 'skip', { fingerprint: 'x' }, {}, 'fingerprint', /only dead letters/],
    ['an id that is none', 'retry', { ids: ['x'] }, {}, 'ids', /x is not the id of an event/],
    ['an unknown event', 'retry', { ids: [nobody] }, {}, 'ids', /no event 0192b0f0-.* in the log/],
    ['ids that are no list', 'retry', { ids: nobody }, {}, 'ids', /not a list of event ids/],
    ['too many ids', 'retry', { ids: Array<string>(10_001).fill(nobody) }, {}, 'ids', /at most 10000/],
    [
      'to discard everything without saying so',
      'discard',
      {},
      {},
      undefined,
      /empty filter would give up everything that is dead/,
    ],
    ['to skip everything without saying so', 'skip', {}, {}, undefined, /empty filter would give up everything that is waiting/],
    ['to discard without a reason', 'discard', { sink: 'shop' }, { reason: ' ' }, 'reason', /needs a reason/],
    ['to skip without a reason', 'skip', { sink: 'shop' }, { reason: null }, 'reason', /needs a reason/],
    ['an unknown operation', 'undo', {}, {}, 'kind', /no operation undo/],
    ['a rate of nothing', 'retry', {}, { rate: 0 }, 'rate', /rate is 0/],
    ['new ids for a retry', 'retry', {}, { as_new: true }, 'as_new', /only a replay/],
    ['a target for a retry', 'retry', {}, { sink: 'shop' }, 'sink', /only a replay goes to a sink/],
    ['a replay to nowhere', 'replay', {}, {}, 'sink', /needs the sink/],
    ['a replay to a sink that is not there', 'replay', {}, { sink: 'nope' }, 'sink', /no sink nope/],
    ['a replay that chooses by sink', 'replay', { sink: 'shop' }, { sink: 'shop' }, 'sink', /takes events of the log/],
    ['a replay that chooses by state', 'replay', { state: 'dead' }, { sink: 'shop' }, 'state', /takes events of the log/],
    [
      'a replay that chooses by cause',
      'replay',
      { fingerprint: 'x' },
      { sink: 'shop' },
      'fingerprint',
      /takes events of the log/,
    ],
  ])('%s', async ([, kind, filter, more, path, message]) => {
    await emit(client, { type: 'order.placed' })
    const refused = await start(kind, filter, more).catch((error: unknown) => error as Error & { detail: string; hint: string })
    if (!('detail' in refused)) throw new Error('it was not refused')
    expect(refused).toMatchObject({
      code: 'PR004',
      message: expect.stringMatching(message) as string,
      hint: expect.stringMatching(/\w/) as string,
    })
    expect((JSON.parse(refused.detail) as { path?: string }).path).toBe(path)
    expect(await count('postrider.operations')).toBe(0)
    expect(await count('postrider.actions')).toBe(0)
  })

  test('a replay of events that the sink does not take, by type or by tenant', async () => {
    await emit(client, { type: 'user.made', tenant: 'acme' })
    await emit(client, { type: 'order.placed', tenant: 'other' })
    await pass('crm')
    for (const filter of [{}, { type: 'user.**' }, { tenant: 'other' }]) {
      await expect(start('replay', filter, { sink: 'crm' })).rejects.toThrow(
        'sink crm takes none of these events: it takes types order.* of tenant acme',
      )
    }
    await emit(client, { type: 'order.placed', tenant: 'acme' })
    await pass('crm')
    expect(await start('replay', {}, { sink: 'crm' })).toMatchObject({ total: '1' })
  })

  test('a replay to a sink with endpoints, which are what it can go to', async () => {
    await client.query(
      `select postrider.put_sink('hooks', 'webhook', 4::smallint, null, 'key', 'block', 'all', fans_out => true)`,
    )
    await expect(start('replay', {}, { sink: 'hooks' })).rejects.toThrow('sink hooks has endpoints')
  })
})

describe('a filter', () => {
  test('finds what matches all that it names, and what a dry run shows is what is then done', async () => {
    const [plain, acme, user, keyed, tried, refused] = (await emit(client, [
      { type: 'order.placed' },
      { type: 'order.placed', tenant: 'acme' },
      { type: 'user.profile.changed' },
      { type: 'order.shipped', key: 'k' },
      { type: 'order.placed' },
      { type: 'order.placed' },
    ])) as [string, string, string, string, string, string]
    await put([plain, acme, user, keyed])
    await put([tried], { attempts: 9 })
    await put([refused], { code: 'payload_refused', error: 'answered 413' })
    await put([plain], { sink: 'crm' })
    const { rows } = await client.query<{ fingerprint: string }>(
      'select fingerprint from postrider.deliveries where event_id = $1',
      [refused],
    )
    const all = [plain, acme, user, keyed, tried, refused]
    const hour = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString()
    const cases: [filter: object, expected: string[]][] = [
      [{}, [plain, ...all]],
      [{ sink: 'shop' }, all],
      [{ sink: ['crm', 'shop'], state: ['dead'] }, [plain, ...all]],
      [{ sink: 'crm' }, [plain]],
      [{ sink: 'shop', type: 'order.placed' }, [plain, acme, tried, refused]],
      [{ sink: 'shop', type: 'order.*' }, [plain, acme, keyed, tried, refused]],
      [{ type: '*.*', sink: 'shop' }, [plain, acme, keyed, tried, refused]],
      [{ type: ['user.**', 'order.shipped'] }, [user, keyed]],
      [{ key: 'k' }, [keyed]],
      [{ key: "k' or true --" }, []],
      [{ tenant: 'acme' }, [acme]],
      [{ min_attempts: 4 }, [tried]],
      [{ error_code: 'payload_refused' }, [refused]],
      [{ fingerprint: rows.at(0)!.fingerprint }, [refused]],
      [{ ids: [user, keyed, plain.toUpperCase()], sink: 'shop' }, [plain, user, keyed]],
      [{ since: hour(-1), until: hour(1), sink: 'shop' }, all],
      [{ since: hour(1) }, []],
      [{ until: hour(-1) }, []],
      [{ type: 'order.*', tenant: 'acme', sink: 'shop', error_code: 'status_5xx', state: 'dead' }, [acme]],
    ]
    for (const [filter, expected] of cases) {
      await client.query('begin')
      const preview = await client.query<{ counted: string; counted_all: boolean; sample: { event_id: string }[] }>(
        `select * from postrider.preview_operation('retry', $1)`,
        [filter],
      )
      const what = JSON.stringify(filter)
      expect(preview.rows[0], what).toMatchObject({ counted: String(expected.length), counted_all: true })
      expect(
        preview.rows[0]?.sample.map(({ event_id }) => event_id),
        what,
      ).toEqual(expected.slice(0, 5))
      expect(await finish(await start('retry', filter)), what).toMatchObject({
        state: 'done',
        done: String(expected.length),
        skipped: '0',
      })
      const { rows: retried } = await client.query<{ event_id: string }>(
        `select event_id from postrider.deliveries where state = 'retrying' order by sink, position`,
      )
      expect(
        retried.map(({ event_id }) => event_id),
        what,
      ).toEqual(expected)
      await client.query('rollback')
    }
  })

  test('by a sink with endpoints takes those of all its endpoints', async () => {
    await client.query(
      `select postrider.put_sink('hooks', 'webhook', 4::smallint, null, 'key', 'block', 'all', fans_out => true)`,
    )
    for (const name of ['hooks/a', 'hooks/b']) {
      await client.query(`insert into postrider.sinks (name, kind, lanes, family) values ($1, 'webhook', 4, 'hooks')`, [name])
    }
    const ids = await many(2)
    await put(ids, { sink: 'hooks/a' })
    await put(ids, { sink: 'hooks/b' })
    await put(ids)
    expect(await start('retry', { sink: 'hooks' })).toMatchObject({ total: '4' })
    expect(await start('retry', { sink: 'hooks/b' })).toMatchObject({ total: '2' })
  })
})

describe('a retry', () => {
  test('gives each letter a fresh count of attempts, due in the order of positions, and says in its attempts who did it', async () => {
    const ids = await many(25)
    await put(ids)
    await client.query('update postrider.deliveries set parked = true')
    const operation = await start('retry', { sink: 'shop' }, { reason: 'mended' })
    expect(operation).toMatchObject({ kind: 'retry', state: 'pending', total: '25', counted_all: true, done: '0', actor: 'ann' })
    expect(await finish(operation, 10)).toMatchObject({ state: 'done', done: '25', skipped: '0' })
    const { rows } = await client.query<Record<string, unknown>>(
      `select event_id, state, parked, attempts, forgiven from postrider.deliveries order by available_at`,
    )
    expect(rows).toEqual(ids.map((event_id) => ({ event_id, state: 'retrying', parked: false, attempts: 3, forgiven: 3 })))
    const trail = await client.query<{ event_id: string; outcome: string; attempt: number; detail: unknown }>(
      'select event_id, outcome, attempt, detail from postrider.attempts order by position',
    )
    expect(trail.rows).toEqual(
      ids.map((event_id) => ({
        event_id,
        outcome: 'retried',
        attempt: 3,
        detail: { actor: 'ann', reason: 'mended', operation: Number(operation.id) },
      })),
    )
  })

  test('leaves alone what died after it was created, and what it has sent already', async () => {
    const ids = await many(6)
    await put(ids.slice(0, 4))
    const operation = await start('retry', {})
    await put(ids.slice(4))
    await advance(operation.id, 2)
    // The first died again.
    await client.query(`update postrider.deliveries set state = 'dead', since = clock_timestamp() where event_id = $1`, [ids[0]])
    expect(await finish(operation, 2)).toMatchObject({ state: 'done', done: '4' })
    expect(Object.values(await states())).toEqual(['dead', 'retrying', 'retrying', 'retrying', 'dead', 'dead'])
  })

  test('started twice at once, and worked off by two, retries every letter once', async () => {
    const ids = await many(200)
    await put(ids)
    const [one, two] = [await start('retry', {}), await start('retry', {})]
    const other = await db.client()
    const work = async (operation: Operation, session: Client): Promise<void> => {
      while ((await advance(operation.id, 7, session))?.state === 'running');
    }
    await Promise.all([work(one, client), work(two, other)])
    const { rows } = await client.query<Operation>('select * from postrider.operations order by id')
    expect(rows.map(({ state }) => state)).toEqual(['done', 'done'])
    expect(rows.reduce((sum, { done }) => sum + Number(done), 0)).toBe(200)
    expect(await count(`(select event_id from postrider.attempts group by 1 having count(*) = 1) as once`)).toBe(200)
  })

  test('and a discard of the same at once: each letter ends in exactly one of both', async () => {
    const ids = await many(200)
    await put(ids)
    const [retry, discard] = [await start('retry', {}), await start('discard', { state: 'dead' })]
    const other = await db.client()
    const work = async (operation: Operation, session: Client): Promise<void> => {
      while ((await advance(operation.id, 7, session))?.state === 'running');
    }
    await Promise.all([work(retry, client), work(discard, other)])
    const { rows } = await client.query<Operation>('select * from postrider.operations order by id')
    const [retried = 0, discarded = 0] = rows.map(({ done }) => Number(done))
    expect(retried + discarded).toBe(200)
    expect(retried > 0 && discarded > 0).toBe(true)
    expect(await count(`postrider.deliveries where state = 'retrying'`)).toBe(retried)
    expect(await count(`postrider.attempts where outcome = 'discarded'`)).toBe(discarded)
  })

  test('is worked off by one at a time', async () => {
    await put(await many(4))
    const operation = await start('retry', {})
    const other = await db.client()
    await other.query('begin')
    expect(await advance(operation.id, 2, other)).toMatchObject({ state: 'running', done: '2' })
    expect(await advance(operation.id)).toBeNull()
    await other.query('rollback')
    expect(await advance(operation.id)).toMatchObject({ state: 'done', done: '4' })
    expect(await advance(operation.id)).toBeNull()
  })

  test('in a transaction that is not READ COMMITTED is refused, and stays what it was', async () => {
    await put(await many(2))
    const operation = await start('retry', {})
    await client.query('begin isolation level repeatable read')
    await expect(advance(operation.id)).rejects.toThrow('READ COMMITTED')
    await client.query('rollback')
    expect(await advance(operation.id)).toMatchObject({ state: 'done', done: '2' })
  })

  test('steps back from a lane that somebody else has locked, and does not fail', async () => {
    const ids = await many(4)
    await put(ids)
    const operation = await start('retry', {})
    const other = await db.client()
    await other.query('begin')
    await other.query('select postrider.retry($1)', [ids[0]])
    const before = performance.now()
    await expect(advance(operation.id)).rejects.toMatchObject({ code: '55P03' })
    expect(performance.now() - before).toBeLessThan(1_000)
    await other.query('commit')
    expect(await advance(operation.id)).toMatchObject({ state: 'done', done: '3' })
  })

  test('goes no faster than its rate, and a pause is not made up for', async () => {
    await put(await many(60))
    const operation = await start('retry', {}, { rate: 20 })
    expect(await advance(operation.id)).toMatchObject({ done: '1' })
    expect(await advance(operation.id)).toMatchObject({ state: 'running', done: '1' })
    await client.query(`update postrider.operations set advanced_at = advanced_at - interval '500 milliseconds'`)
    const half = Number((await advance(operation.id))?.done)
    expect(half).toBeGreaterThanOrEqual(11)
    expect(half).toBeLessThan(16)
    await client.query(`update postrider.operations set advanced_at = advanced_at - interval '1 hour'`)
    expect(await advance(operation.id)).toMatchObject({ done: String(half + 20) })
  })

  test('that raises ends as failed, with what was wrong', async () => {
    await put(await many(2))
    const operation = await start('retry', {})
    await client.query(`alter table postrider.attempts add constraint nothing_more check (outcome <> 'retried') not valid`)
    expect(await advance(operation.id)).toMatchObject({
      state: 'failed',
      done: '0',
      error: expect.stringContaining('nothing_more') as string,
    })
    expect(await advance(operation.id)).toBeNull()
    expect(Object.values(await states())).toEqual(['dead', 'dead'])
  })
})

describe('a discard', () => {
  test('gives up what matches, with who and why, and the next event of each key goes on', async () => {
    const ids = await many(20)
    await put(ids.slice(0, 10))
    await put(ids.slice(10), { state: 'blocked' })
    expect(await finish(await start('discard', { state: 'dead' }, { reason: 'useless' }), 3)).toMatchObject({
      state: 'done',
      done: '10',
    })
    expect(await states()).toEqual(Object.fromEntries(ids.slice(10).map((id) => [id, 'retrying'])))
    const { rows } = await client.query<{ outcome: string; actor: string; reason: string }>(
      `select distinct outcome, detail ->> 'actor' as actor, detail ->> 'reason' as reason from postrider.attempts`,
    )
    expect(rows).toEqual([{ outcome: 'discarded', actor: 'ann', reason: 'useless' }])
  })
})

describe('a skip', () => {
  test('gives up what waits, all of a key, and lets nothing go on the way that it would give up next', async () => {
    const ids = await emit(
      client,
      Array.from({ length: 30 }, () => ({ type: 'a', key: 'k' })),
    )
    await put(ids.slice(0, 1), { state: 'retrying' })
    await put(ids.slice(1), { state: 'blocked' })
    const operation = await start('skip', { key: 'k' })
    expect(operation.total).toBe('30')
    await advance(operation.id, 10)
    expect(Object.values(await states())).toEqual(['retrying', ...Array<string>(19).fill('blocked')])
    expect(await finish(operation, 10)).toMatchObject({ state: 'done', done: '30' })
    expect(await states()).toEqual({})
  })

  test('of heads only lets the next event of each key go, and does not take that for a head of its own', async () => {
    const ids = await many(30)
    await put(ids.slice(0, 10), { state: 'retrying' })
    await put(ids.slice(10), { state: 'blocked' })
    expect(await finish(await start('skip', { state: 'retrying' }), 4)).toMatchObject({ state: 'done', done: '10' })
    expect(Object.values(await states())).toEqual([...Array<string>(10).fill('retrying'), ...Array<string>(10).fill('blocked')])
  })

  test('leaves dead letters alone', async () => {
    const ids = await many(2)
    await put(ids.slice(0, 1))
    await put(ids.slice(1), { state: 'scheduled' })
    await finish(await start('skip', { sink: 'shop' }))
    expect(await states()).toEqual({ [ids.at(0)!]: 'dead' })
  })
})

describe('a replay', () => {
  test('sends events of the log once more, in order, with an audit record, each marked with its operation', async () => {
    const ids = await many(25)
    await pass('shop')
    await client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'shop', position, slot, id, 2, 'delivered', now(), 1 from postrider.events where id = $1`,
      [ids[3]],
    )
    const operation = await start('replay', { type: 'order.*' }, { sink: 'shop', as_new: true })
    expect(operation.total).toBe('25')
    expect(await finish(operation, 10)).toMatchObject({ state: 'done', done: '25', skipped: '0' })
    const { rows } = await client.query<Record<string, unknown>>(
      `select event_id, state, attempts, forgiven, operation_id, lane = postrider.lane_of(postrider.bucket_of(key), 4::smallint) as lane
       from postrider.deliveries where available_at <= clock_timestamp() order by available_at`,
    )
    expect(rows).toEqual(
      ids.map((event_id, n) => ({
        event_id,
        state: 'retrying',
        attempts: n === 3 ? 2 : 0,
        forgiven: n === 3 ? 2 : 0,
        operation_id: operation.id,
        lane: true,
      })),
    )
    expect(await count(`postrider.attempts where outcome = 'retried' and detail ->> 'operation' = $1`, [operation.id])).toBe(25)
    expect((await client.query('select postrider.under_way($1)', [operation.id])).rows).toEqual([{ under_way: '25' }])
  })

  test('skips and counts an event that waits at the sink already, and one that the sink has not reached', async () => {
    const passed = await many(3)
    await pass('shop')
    await put(passed.slice(0, 1), { state: 'dead' })
    const ahead = await many(2)
    expect(await finish(await start('replay', {}, { sink: 'shop' }))).toMatchObject({
      state: 'done',
      total: '5',
      done: '2',
      skipped: '3',
    })
    expect(Object.keys(await states())).toEqual(passed)
    expect(ahead.some((id) => passed.includes(id))).toBe(false)
  })

  test('goes to a sink that never got these events, and only with those that it takes', async () => {
    await many(10, (n) => ({ tenant: n % 2 === 0 ? 'acme' : 'other' }))
    await emit(client, { type: 'user.made', tenant: 'acme' })
    await putSink('late', { types: ['order.*'], tenant: 'acme' })
    await client.query(`update postrider.sinks set tenant = 'acme' where name = 'late'`)
    expect(await finish(await start('replay', {}, { sink: 'late' }), 2)).toMatchObject({ total: '5', done: '5' })
  })

  test('takes a span of time, a key, single events', async () => {
    const ids = await many(40)
    await pass('shop')
    const { rows } = await client.query<{ at: string }>(
      `select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at from postrider.events order by position`,
    )
    const total = async (filter: object): Promise<number> => Number((await start('replay', filter, { sink: 'shop' })).total)
    expect(await total({ since: rows.at(10)!.at })).toBe(30)
    expect(await total({ until: rows.at(10)!.at })).toBe(10)
    expect(await total({ since: rows.at(10)!.at, until: rows.at(20)!.at })).toBe(10)
    expect(await total({ key: 'k3' })).toBe(4)
    expect(await total({ ids: ids.slice(5, 8) })).toBe(3)
    expect(await total({ ids: ids.slice(5, 8), key: 'k6' })).toBe(1)
    expect(await total({ since: '2100-01-01T00:00:00Z' })).toBe(0)
  })

  test('leaves later events alone', async () => {
    await many(3)
    await pass('shop')
    const operation = await start('replay', {}, { sink: 'shop' })
    await many(3)
    await pass('shop')
    expect(await finish(operation)).toMatchObject({ done: '3', skipped: '0' })
  })

  test('finds events of segments that were emptied and are kept', async () => {
    const [kept] = await many(3)
    await pass('shop')
    await client.query('update postrider.events set slot = -1 where id = $1', [kept])
    const since = new Date(Date.now() - 60_000).toISOString()
    expect(await finish(await start('replay', { since }, { sink: 'shop' }))).toMatchObject({ done: '3' })
  })

  test('has at most 10,000 of its own on the way, then it waits', { timeout: 60_000 }, async () => {
    for (let n = 0; n < 11; n++) await many(1_000)
    await pass('shop')
    const operation = await start('replay', {}, { sink: 'shop' })
    let now = await advance(operation.id, 1_000)
    for (let piece = 0; piece < 20; piece++) now = (await advance(operation.id, 1_000)) ?? now
    expect(now).toMatchObject({ state: 'running', waiting: true, done: '10000' })
    await client.query(
      'delete from postrider.deliveries where position in (select position from postrider.deliveries order by position limit 2000)',
    )
    expect(await finish(operation, 1_000)).toMatchObject({ state: 'done', waiting: false, done: '11000' })
  })

  test('to a sink that is removed meanwhile fails, and says so', async () => {
    await many(2)
    await putSink('short', { starts: 'now' })
    const operation = await start('replay', {}, { sink: 'short' })
    await client.query(`delete from postrider.sinks where name = 'short'`)
    expect(await advance(operation.id)).toMatchObject({ state: 'failed', error: 'sink short is no longer there' })
  })

  test('gives an event the same new id in one operation, and another in the next', async () => {
    const { rows } = await client.query<{ ids: string[] }>(
      `select array[postrider.replay_id(1, $1), postrider.replay_id(1, $1), postrider.replay_id(2, $1), postrider.replay_id(1, $2)]::text[] as ids`,
      [nobody, nobody.replace('7', '8')],
    )
    const ids = rows.at(0)!.ids
    expect(ids[0]).toBe(ids[1])
    expect(new Set(ids).size).toBe(3)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})

describe('the roles', () => {
  test('an operator, who has the relay’s role, can do all of it; a viewer can ask what would happen, and do nothing', async () => {
    const ids = await many(3)
    await pass('shop')
    await put(ids.slice(0, 2))
    await migrate(client, { roles: true })
    const { rows } = await client.query<{ letter: string }>(
      `select postrider.letter_of(sink, position) as letter from postrider.deliveries`,
    )
    const preview = `select counted from postrider.preview_operation('retry', '{"sink": "shop", "type": "order.*"}')`
    await client.query('set role postrider_viewer')
    expect((await client.query(preview)).rows).toEqual([{ counted: '2' }])
    expect((await client.query(`select counted from postrider.preview_operation('replay', '{}', 'shop')`)).rows).toEqual([
      { counted: '3' },
    ])
    await client.query('select * from postrider.operations')
    for (const call of [
      `start_operation('retry', '{}')`,
      `advance_operation(1)`,
      `cancel_operation(1)`,
      `retry_matching('{}')`,
      `import_letters('{}')`,
    ]) {
      await expect(client.query(`select postrider.${call}`), call).rejects.toMatchObject({ code: '42501' })
    }
    await client.query('set role postrider_relay')
    expect((await client.query(preview)).rows).toEqual([{ counted: '2' }])
    expect(await finish(await start('discard', { state: 'dead' }))).toMatchObject({ state: 'done', done: '2' })
    const imported = await client.query<{ n: number }>('select postrider.import_letters($1) as n', [
      rows.map(({ letter }) => letter),
    ])
    expect(imported.rows).toEqual([{ n: 2 }])
    expect(await finish(await start('replay', {}, { sink: 'shop' }))).toMatchObject({ state: 'done', done: '1', skipped: '2' })
    const operation = await start('retry', {})
    await client.query('select postrider.cancel_operation($1)', [operation.id])
    await client.query('reset role')
  })
})

describe('a letter that is imported', () => {
  type Letter = Record<'sink' | 'event' | 'delivery' | 'attempts', Record<string, unknown>>
  const no = (change: (letter: Letter) => unknown) => change

  test.for<[what: string, change: (letter: Letter) => unknown, said: RegExp, path: string | undefined]>([
    ['is none', no((letter) => Object.assign(letter, { delivery: [] })), /line 8: it is not a dead letter/, undefined],
    ['is for no sink', no((letter) => Object.assign(letter, { sink: 'nope' })), /line 8: there is no sink nope/, 'sink'],
    ['has no id', no(({ event }) => delete event['id']), /line 8: the event has no id/, 'event.id'],
    ['has an id that is none', no(({ event }) => (event['id'] = 'x')), /line 8: id is not a UUID/, 'event.id'],
    ['has a type that is none', no(({ event }) => (event['type'] = 'a..')), /line 8: type is one to ten segments/, 'event.type'],
    [
      'has an attribute too many',
      no(({ event }) => (event['colour'] = 'red')),
      /line 8: colour is not an attribute/,
      'event.colour',
    ],
    [
      'has a bucket that is none',
      no(({ event }) => Object.assign(event, { id: nobody, key: null, bucket: 999 })),
      /line 8: the bucket is not 0 to 255/,
      'event.bucket',
    ],
    [
      'has no time',
      no(({ event }) => Object.assign(event, { id: nobody, created_at: 'never' })),
      /line 8: invalid input syntax for type timestamp/,
      'event.created_at',
    ],
    [
      'has an attempt without a meaning',
      no((letter) => {
        letter.event['id'] = nobody
        Object.assign(letter, { attempts: [{ attempt: 1, outcome: 'lost', started_at: 'now', duration_ms: 1 }] })
      }),
      /line 8: .*attempts_outcome/,
      'attempts',
    ],
    [
      'has attempts that are no number',
      no(({ delivery }) => (delivery['attempts'] = 'many')),
      /line 8: invalid input syntax for type integer/,
      'delivery',
    ],
  ])('and %s is refused with its line, and with it all others', async ([, change, said, path]) => {
    await put(await many(3))
    const { rows } = await client.query<{ letter: string }>(
      `select postrider.letter_of(sink, position) as letter from postrider.deliveries`,
    )
    const letters = rows.map(({ letter }) => letter)
    const bad = JSON.parse(letters[1] ?? '') as Letter
    change(bad)
    await client.query('delete from postrider.deliveries; delete from postrider.events')
    const refused = client.query('select postrider.import_letters($1, 7)', [[letters[0], JSON.stringify(bad), letters[2]]])
    await expect(refused).rejects.toMatchObject({
      code: 'PR001',
      message: expect.stringMatching(said) as string,
      detail: expect.toSatisfy((detail: string) => (JSON.parse(detail) as { path?: string }).path === path) as string,
    })
    expect(await count('postrider.deliveries')).toBe(0)
    expect(await count('postrider.events')).toBe(0)
  })

  test('blocks no key, and is retried like any other', async () => {
    const [dead] = await emit(client, [{ type: 'a', key: 'k' }])
    await put([dead ?? ''])
    const { rows } = await client.query<{ letter: string }>(
      `select postrider.letter_of(sink, position) as letter from postrider.deliveries`,
    )
    await finish(await start('discard', { state: 'dead' }))
    await client.query('select postrider.import_letters($1)', [[rows[0]?.letter]])
    expect(
      (
        await client.query(
          'select state, parked, lane = postrider.lane_of(postrider.bucket_of(key), 4::smallint) as lane from postrider.deliveries',
        )
      ).rows,
    ).toEqual([{ state: 'dead', parked: true, lane: true }])
    expect(await finish(await start('retry', { key: 'k' }))).toMatchObject({ done: '1' })
  })
})

describe('an operation', () => {
  test('that is cancelled stops where it is, and stays as it ended', async () => {
    await put(await many(10))
    const operation = await start('retry', {})
    await advance(operation.id, 3)
    const cancel = async (id: string): Promise<Operation | undefined> =>
      (await client.query<Operation>(`select * from postrider.cancel_operation($1, 'bob', 'enough')`, [id])).rows[0]
    expect(await cancel(operation.id)).toMatchObject({ state: 'cancelled', done: '3', finished_at: expect.any(Date) as Date })
    expect(await advance(operation.id)).toBeNull()
    expect(await cancel(operation.id)).toMatchObject({ state: 'cancelled', done: '3' })
    expect((await cancel('4711'))?.id).toBeNull()
    expect(await count(`postrider.deliveries where state = 'dead'`)).toBe(7)
    const { rows } = await client.query('select actor, action, reason, detail from postrider.actions order by id')
    const id = Number(operation.id)
    expect(rows).toEqual([
      { actor: 'ann', action: 'started', reason: 'a test', detail: { operation: id, kind: 'retry', filter: {} } },
      { actor: 'bob', action: 'cancelled', reason: 'enough', detail: { operation: id, kind: 'retry', done: 3 } },
    ])
  })

  test('wakes relays when it is created, and when it has made something due', async () => {
    await put(await many(1))
    const heard: (string | undefined)[] = []
    const listener = await db.client()
    listener.on('notification', ({ payload }) => heard.push(payload))
    await listener.query('listen postrider')
    const operation = await start('retry', {})
    await advance(operation.id)
    await expect.poll(() => heard).toEqual(['operations', 'due'])
  })

  test('has short forms for a session of psql', async () => {
    const ids = await many(6)
    await pass('shop')
    await put(ids.slice(0, 4))
    await put(ids.slice(4, 5), { state: 'blocked' })
    const run = async (call: string): Promise<string> => {
      const { rows } = await client.query<Operation>(`select * from postrider.${call}`)
      return (await finish(rows.at(0)!)).done
    }
    expect(await run(`retry_matching('{"ids": ["${ids[0]}"]}')`)).toBe('1')
    expect(await run(`discard_matching('{"ids": ["${ids[1]}"]}', 'useless')`)).toBe('1')
    expect(await run(`skip_matching('{"state": "blocked"}', 'useless')`)).toBe('1')
    expect(await run(`replay('{"ids": ["${ids[5]}"]}', 'shop', as_new => true)`)).toBe('1')
  })

  test('on 30,000 letters starts within a second, counted', async () => {
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'shop', 0, n, 0, gen_random_uuid(), 'k' || n, 'dead' from generate_series(1, 30000) as n`,
    )
    await client.query(`select setval(pg_get_serial_sequence('postrider.events', 'position'), 30000)`)
    await many(1)
    const before = performance.now()
    expect(await start('retry', {})).toMatchObject({ total: '30000' })
    expect(performance.now() - before).toBeLessThan(1_000)
  })
})
