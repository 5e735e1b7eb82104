import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterEach(() => db[Symbol.asyncDispose]())

async function putSink(name: string, types: readonly string[] | null = null, lanes = 4): Promise<void> {
  await client.query(`select postrider.put_sink($1, 'webhook', $2::smallint, $3, 'key', 'block', 'all', 'beginning')`, [
    name,
    lanes,
    types,
  ])
}

/** The cursors of all lanes have passed what is visible now; with a position, a window is open up to there. */
async function pass(position: string | null = null): Promise<void> {
  await client.query(
    position === null
      ? `insert into postrider.checkpoints (sink, lane, fence, done) select sink, lane, fence + 1, pg_current_snapshot() from postrider.cursors`
      : `insert into postrider.checkpoints (sink, lane, fence, done, target, position)
         select sink, lane, fence + 1, done, pg_current_snapshot(), ${position} from postrider.cursors`,
  )
}

const keyed = (count: number, type = 'a'): object[] => Array.from({ length: count }, (_, n) => ({ type, key: `k${n}` }))

async function pending(sink: string): Promise<string[]> {
  const { rows } = await client.query<{ event_id: string }>(
    'select event_id from postrider.pending where sink = $1 order by position',
    [sink],
  )
  return rows.map(({ event_id }) => event_id)
}

async function backlog(sink: string): Promise<Record<string, unknown> | undefined> {
  return (await client.query<Record<string, unknown>>('select * from postrider.backlog where sink = $1', [sink])).rows[0]
}

async function positionOf(id: string | undefined): Promise<string> {
  return (
    (await client.query<{ position: string }>('select position from postrider.events where id = $1', [id])).rows[0]?.position ??
    ''
  )
}

describe('pending holds each committed event that a sink has not reached, once', () => {
  test('before, within and after an open window, also of a transaction that was open when the cursor was taken', async () => {
    await putSink('all')
    await putSink('some', ['b'])
    const open = await db.client()
    await open.query('begin')
    const late = await emit(open, { type: 'b', key: 'late' })
    const passed = await emit(client, keyed(20))
    const [last] = passed.slice(-1)
    const within = await emit(client, keyed(20, 'b'))
    await pass(await positionOf(last))
    const after = await emit(client, keyed(20, 'b'))
    expect(await pending('all')).toEqual([...within, ...after])
    await open.query('commit')
    expect(await pending('all')).toEqual([...late, ...within, ...after])
    expect(await pending('some')).toEqual([...late, ...within, ...after])
    await pass()
    expect(await pending('all')).toEqual([])
  })

  test('and none that a filter keeps away, or that stands at or below the anchor', async () => {
    await putSink('some', ['b.*'])
    const [, second] = await emit(client, [{ type: 'b.x' }, { type: 'b.y' }, { type: 'a.x' }])
    const [first] = await pending('some')
    expect(await pending('some')).toHaveLength(2)
    await client.query('update postrider.lanes set anchor = $1', [await positionOf(first)])
    expect(await pending('some')).toEqual([second])
  })

  test('says in which lane, and how old', async () => {
    await putSink('all')
    const [id] = await emit(client, { type: 'a', key: 'k' })
    const { rows } = await client.query(
      `select p.lane = postrider.lane_of(e.bucket, 4::smallint) as lane, p.type, p.key, p.age between interval '0' and interval '1 minute' as age
       from postrider.pending as p join postrider.events as e on e.id = p.event_id where e.id = $1`,
      [id],
    )
    expect(rows).toEqual([{ lane: true, type: 'a', key: 'k', age: true }])
  })
})

describe('backlog counts what waits at a sink', () => {
  test('in the log and in each state, with the age of the oldest', async () => {
    await putSink('all')
    await putSink('idle')
    const ids = await emit(client, keyed(50))
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'all', 0, position, slot, id, key, (array['scheduled', 'retrying', 'retrying', 'blocked', 'dead', 'dead', 'dead'])[nth]
       from unnest($1::uuid[]) with ordinality as wanted (id, nth) join postrider.events as e using (id)`,
      [ids.slice(0, 7)],
    )
    expect(await backlog('all')).toEqual({
      sink: 'all',
      state: 'active',
      pending: '50',
      scheduled: '1',
      retrying: '2',
      blocked: '1',
      dead: '3',
      oldest_pending_at: (await client.query<{ at: Date }>('select min(created_at) as at from postrider.events')).rows[0]?.at,
      counted_all: true,
      family: null,
      tenant: null,
      circuit: 'closed',
      circuit_until: null,
    })
    await pass()
    expect(await backlog('idle')).toMatchObject({ pending: '0', dead: '0', oldest_pending_at: null, counted_all: true })
  })

  test('up to 10,001, and says when it has not seen all', async () => {
    await putSink('all', null, 1)
    await putSink('many', null, 64)
    await putSink('rare', ['rare'])
    for (let n = 0; n < 6; n++) {
      await client.query(
        `select postrider.emit(jsonb_agg(jsonb_build_object('type', 'a', 'key', 'k' || n))) from generate_series(1, 5000) as n`,
      )
    }
    await emit(client, { type: 'rare' })
    expect(await backlog('all')).toMatchObject({ pending: '10001', counted_all: true })
    expect(await backlog('many')).toMatchObject({ counted_all: false })
    expect(await backlog('rare')).toMatchObject({ pending: '0', counted_all: false })
    await putSink('rare-one-lane', ['rare'], 1)
    expect(await backlog('rare-one-lane')).toMatchObject({ pending: '1', counted_all: true })
  })
})

/** Rows of `deliveries` for events in this order. */
async function trouble(
  sink: string,
  ids: readonly string[],
  set: { readonly state: string; readonly error?: string; readonly parked?: boolean; readonly since?: string },
): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, error_code, error, status, parked, since)
     select $1, 0, position, slot, id, key, $3, case when $4::text is null then null else 'status_5xx' end, $4, 503, $5, coalesce($6::timestamptz, now())
     from unnest($2::uuid[]) as wanted (id) join postrider.events as e using (id)`,
    [sink, ids, set.state, set.error ?? null, set.parked ?? false, set.since ?? null],
  )
}

describe('sink_status says how a sink is, and why', () => {
  async function statusOf(sink: string): Promise<Record<string, unknown> | undefined> {
    return (await client.query<Record<string, unknown>>('select * from postrider.sink_status where sink = $1', [sink])).rows[0]
  }

  test('active, paused for a time, degraded', async () => {
    await putSink('all')
    await emit(client, keyed(3))
    await client.query(
      `update postrider.lanes set relay = gen_random_uuid(), leased_until = clock_timestamp() + interval '1 minute', careful = lane where lane < 2`,
    )
    expect(await statusOf('all')).toMatchObject({
      kind: 'webhook',
      state: 'active',
      since: expect.any(Date) as Date,
      circuit: 'closed',
      concurrency: 32,
      rate: null,
      limits_are_live: false,
      lanes: 4,
      lanes_carried: 2,
      lanes_careful: 1,
      pending: '3',
      oldest_pending_age: expect.anything() as unknown,
    })
    await client.query(`select postrider.open_circuit('all', gen_random_uuid(), 60000, 60000, 'connect', 'refused', 10)`)
    const degraded = await statusOf('all')
    expect(degraded).toMatchObject({
      state: 'degraded',
      by: 'postrider',
      reason: 'connect: refused',
      circuit: 'open',
      trips: 1,
      failures: 10,
    })
    expect([degraded?.['until'], degraded?.['since']]).toEqual([degraded?.['circuit_until'], degraded?.['failing_since']])
    expect(await backlog('all')).toMatchObject({ state: 'degraded', circuit: 'open', circuit_until: degraded?.['until'] })
    await client.query(`select postrider.pause('all', 'their release', interval '1 hour', 'ann')`)
    expect(await statusOf('all')).toMatchObject({
      state: 'paused',
      by: 'ann',
      reason: 'their release',
      until: expect.any(Date) as Date,
      circuit: 'open',
    })
  })

  test('with the limits in force, whoever set them', async () => {
    await putSink('all')
    await client.query('update postrider.sinks set rate = 9')
    expect(await statusOf('all')).toMatchObject({ concurrency: 32, rate: 9, limits_are_live: false })
    await client.query(`select postrider.set_limits('all', 2, 0.5)`)
    expect(await statusOf('all')).toMatchObject({ concurrency: 2, rate: 0.5, limits_are_live: true })
    await client.query(`select postrider.set_limits('all', null, 'infinity')`)
    expect(await statusOf('all')).toMatchObject({ concurrency: 32, rate: null, limits_are_live: true })
  })

  test('of each endpoint, and not of the sink that has them; a tenant has only its own events before it', async () => {
    await client.query(
      `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'beginning', fans_out => true)`,
    )
    await client.query(
      `insert into postrider.sinks (name, kind, lanes, family, tenant) values ('hooks/a', 'webhook', 1, 'hooks', 'acme');
       select postrider.begin_sink(s, postrider.start_of('beginning')) from postrider.sinks as s where name = 'hooks/a'`,
    )
    await emit(client, [{ type: 'a', tenant: 'acme' }, { type: 'a', tenant: 'zeta' }, { type: 'a' }])
    const { rows } = await client.query('select sink, family, tenant, pending from postrider.sink_status')
    expect(rows).toEqual([{ sink: 'hooks/a', family: 'hooks', tenant: 'acme', pending: '1' }])
  })
})

describe('blocked_keys', () => {
  test('names each key that waits, the head it waits for, and how many wait', async () => {
    await putSink('all')
    await putSink('other')
    const ids = await emit(
      client,
      ['a', 'a', 'a', 'b', 'b', 'c', 'd', 'd'].map((key) => ({ type: 't', key })),
    )
    await trouble('all', ids.slice(0, 1), { state: 'dead', error: 'answered 503', since: '2026-01-02T03:04:05Z' })
    await trouble('all', ids.slice(1, 3), { state: 'blocked' })
    await trouble('all', ids.slice(3, 4), { state: 'retrying', error: 'x' })
    await trouble('all', ids.slice(4, 5), { state: 'blocked' })
    await trouble('all', ids.slice(5, 6), { state: 'dead' }) // nobody waits for it
    await trouble('all', ids.slice(6, 7), { state: 'dead', parked: true }) // nobody has to wait for it
    await trouble('all', ids.slice(7, 8), { state: 'blocked' })
    await trouble('other', ids.slice(1, 2), { state: 'blocked' })
    const { rows } = await client.query(
      'select sink, key, head_event_id, head_state, error_code, error, since, blocked from postrider.blocked_keys order by sink, key',
    )
    expect(rows).toMatchObject([
      {
        sink: 'all',
        key: 'a',
        head_event_id: ids[0],
        head_state: 'dead',
        error_code: 'status_5xx',
        error: 'answered 503',
        since: new Date('2026-01-02T03:04:05Z'),
        blocked: '2',
      },
      { sink: 'all', key: 'b', head_event_id: ids[3], head_state: 'retrying', blocked: '1' },
      { sink: 'all', key: 'd', head_event_id: null, head_state: null, blocked: '1' },
      { sink: 'other', key: 'a', head_event_id: null, blocked: '1' },
    ])
  })
})

test('dead_groups gathers dead letters by cause, with a sample, how many, and when they were seen', async () => {
  await putSink('all')
  await putSink('other')
  const ids = await emit(client, keyed(6))
  const at = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z', '2026-01-03T00:00:00Z']
  for (const [n, since = ''] of at.entries()) {
    await trouble('all', ids.slice(n, n + 1), { state: 'dead', error: `order ${n + 17} is closed`, since, parked: n === 1 })
  }
  await trouble('all', ids.slice(3, 4), { state: 'dead', error: 'no room' })
  await trouble('all', ids.slice(4, 5), { state: 'retrying', error: 'no room' })
  await trouble('other', ids.slice(0, 1), { state: 'dead', error: 'order 1 is closed' })
  const { rows } = await client.query(
    `select sink, error_code, status, sample, sample_event_id, count, first_seen, last_seen from postrider.dead_groups order by count desc, sink`,
  )
  expect(rows).toMatchObject([
    {
      sink: 'all',
      error_code: 'status_5xx',
      status: 503,
      sample: 'order 17 is closed',
      sample_event_id: ids[0],
      count: '3',
      first_seen: new Date(at[0] ?? ''),
      last_seen: new Date(at[2] ?? ''),
    },
    { sink: 'all', sample: 'no room', count: '1' },
    { sink: 'other', sample: 'order 1 is closed', count: '1' },
  ])
})

test('recent_rates tells what came of attempts a second in the last minute', async () => {
  await putSink('all')
  await emit(client, keyed(120))
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
     select 'all', position, slot, id, 1, case when nth <= 60 then 'delivered' when nth <= 90 then 'retry' else 'retried' end,
       now() - case when nth % 2 = 0 then interval '5 seconds' else interval '2 minutes' end, 5
     from (select *, row_number() over (order by position) as nth from postrider.events) as e`,
  )
  expect((await client.query('select * from postrider.recent_rates')).rows).toEqual([
    { sink: 'all', delivered: 0.5, failed: 0.25 },
  ])
})

test('trouble, dead_letters and recent_attempts name the event, and stay when retention has taken it', async () => {
  await putSink('all')
  const [id, gone] = await emit(client, [
    { type: 'a', key: 'k' },
    { type: 'a', key: 'k' },
  ])
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error)
     select 'all', 0, position, slot, id, key, 'dead', 12, 'gone', 'answered 410' from postrider.events`,
  )
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
     select 'all', position, slot, id, 12, 'reject', now(), 5 from postrider.events`,
  )
  await client.query('delete from postrider.events where id = $1', [gone])
  const dead = { sink: 'all', attempts: 12, error_code: 'gone', error: 'answered 410' }
  const expected = [
    { event_id: id, type: 'a', key: 'k' },
    { event_id: gone, type: null },
  ]
  for (const view of ['trouble', 'dead_letters']) {
    const { rows } = await client.query(`select * from postrider.${view} order by position`)
    expect(rows).toMatchObject(expected.map((row) => ({ ...row, ...dead })))
  }
  const { rows } = await client.query('select * from postrider.recent_attempts')
  expect(rows).toMatchObject(expected.toReversed().map((row) => ({ ...row, sink: 'all', attempt: 12, outcome: 'reject' })))
})

describe('a question about a large table reads a small part of it', () => {
  /** Rows that the plan of a statement read or threw away, in all its nodes. */
  async function rowsRead(statement: string): Promise<number> {
    interface Node {
      'Actual Rows': number
      'Actual Loops': number
      'Rows Removed by Filter'?: number
      'Rows Removed by Join Filter'?: number
      'Rows Removed by Index Recheck'?: number
      Plans?: Node[]
    }
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: Node }[] }>(
      `explain (analyze, timing off, format json) ${statement}`,
    )
    const read = (node: Node): number =>
      node['Actual Loops'] *
        (node['Actual Rows'] +
          (node['Rows Removed by Filter'] ?? 0) +
          (node['Rows Removed by Join Filter'] ?? 0) +
          (node['Rows Removed by Index Recheck'] ?? 0)) +
      (node.Plans ?? []).reduce((sum, child) => sum + read(child), 0)
    const plan = rows[0]?.['QUERY PLAN'][0]?.Plan
    return plan === undefined ? Number.NaN : read(plan)
  }

  test('30,000 events, 20,000 deliveries, most of them blocked behind one key', async () => {
    await putSink('all')
    for (let n = 0; n < 6; n++) {
      await client.query(
        `select postrider.emit(jsonb_agg(jsonb_build_object('type', 'a', 'key', 'k' || n))) from generate_series(1, 5000) as n`,
      )
    }
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'all', 0, position, slot, id, case when nth <= 15000 then 'hot' else key end,
         case when nth = 1 then 'retrying' when nth <= 15000 then 'blocked' when nth % 2 = 0 then 'dead' else 'retrying' end
       from (select *, row_number() over (order by position) as nth from postrider.events) as e where nth <= 20000`,
    )
    await client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'all', position, slot, id, 1, 'delivered', now() - (30000 - row_number() over (order by position)) * interval '1 second', 5
       from postrider.events order by position`,
    )
    await client.query('analyze postrider.events, postrider.deliveries, postrider.attempts')
    const { rows } = await client.query<{ id: string }>(
      `select event_id as id from postrider.deliveries where state = 'blocked' order by position desc limit 1`,
    )
    const id = rows[0]?.id ?? ''

    expect(await rowsRead(`select * from postrider.explain('${id}')`)).toBeLessThan(100)
    expect((await client.query('select reason from postrider.explain($1)', [id])).rows).toEqual([
      { reason: expect.stringMatching(/which is retrying$/) as string },
    ])
    const newest = await client.query<{ id: string }>('select id from postrider.events order by position desc limit 1')
    await client.query('delete from postrider.attempts where event_id = $1', [newest.rows[0]?.id])
    const behind = `select * from postrider.explain('${newest.rows[0]?.id}')`
    expect((await client.query(behind)).rows).toMatchObject([{ reason: expect.stringContaining('at least ') as string }])
    expect(await rowsRead(behind)).toBeLessThan(10_000)
    expect(await rowsRead(`select * from postrider.pending where sink = 'all' limit 20`)).toBeLessThan(1_000)
    expect(await rowsRead(`select * from postrider.dead_letters order by dead_since, position limit 20`)).toBeLessThan(1_000)
    expect(await rowsRead(`select * from postrider.recent_attempts limit 20`)).toBeLessThan(1_000)
    // One key with 14,999 that wait: no more of them is read than is counted.
    expect(await rowsRead(`select * from postrider.blocked_keys limit 20`)).toBeLessThan(5_000)
    expect(await rowsRead(`select head_event_id from postrider.blocked_keys where sink = 'all' limit 20`)).toBeLessThan(100)
    // One cause with 2,500 letters.
    expect(await rowsRead(`select sample, first_seen, last_seen from postrider.dead_groups`)).toBeLessThan(100)
    await client.query('vacuum postrider.attempts')
    expect(await rowsRead(`select count(*) from postrider.attempts where started_at > now() - interval '1 minute'`)).toBeLessThan(
      5_000,
    )
    await pass()
    expect(await rowsRead(`select sink, state, pending, lanes_carried from postrider.sink_status`)).toBeLessThan(200)
    // Letting go of a key looks neither at those that wait behind it nor at the trouble of others.
    await client.query('set enable_seqscan = off; set enable_bitmapscan = off')
    await client.query(`delete from postrider.deliveries where key = 'hot' and state = 'retrying'`)
    await client.query('begin')
    await client.query(`select postrider.release_heads('all', '{hot}')`)
    const { rows: fetched } = await client.query(
      `select pg_stat_get_xact_tuples_fetched('postrider.deliveries'::regclass)::int as rows`,
    )
    await client.query('commit')
    expect(fetched[0]?.['rows']).toBeLessThan(20)
    expect((await client.query(`select from postrider.deliveries where key = 'hot' and state = 'retrying'`)).rowCount).toBe(1)
  })
})
