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
       select 'all', 0, position, slot, id, key, (array['scheduled', 'retrying', 'retrying', 'blocked', 'held', 'dead', 'dead', 'dead'])[nth]
       from unnest($1::uuid[]) with ordinality as wanted (id, nth) join postrider.events as e using (id)`,
      [ids.slice(0, 8)],
    )
    expect(await backlog('all')).toEqual({
      sink: 'all',
      state: 'active',
      pending: '50',
      scheduled: '1',
      retrying: '2',
      blocked: '1',
      held: '1',
      dead: '3',
      oldest_pending_at: (await client.query<{ at: Date }>('select min(created_at) as at from postrider.events')).rows[0]?.at,
      counted_all: true,
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
      Plans?: Node[]
    }
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: Node }[] }>(
      `explain (analyze, timing off, format json) ${statement}`,
    )
    const read = (node: Node): number =>
      node['Actual Loops'] *
        (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Join Filter'] ?? 0)) +
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
         case when nth = 1 then 'held' when nth <= 15000 then 'blocked' when nth % 2 = 0 then 'dead' else 'retrying' end
       from (select *, row_number() over (order by position) as nth from postrider.events) as e where nth <= 20000`,
    )
    await client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'all', position, slot, id, 1, 'delivered', now(), 5 from postrider.events`,
    )
    await client.query('analyze postrider.events, postrider.deliveries, postrider.attempts')
    const { rows } = await client.query<{ id: string }>(
      `select event_id as id from postrider.deliveries where state = 'blocked' order by position desc limit 1`,
    )
    const id = rows[0]?.id ?? ''

    expect(await rowsRead(`select * from postrider.explain('${id}')`)).toBeLessThan(100)
    expect((await client.query('select reason from postrider.explain($1)', [id])).rows).toEqual([
      { reason: expect.stringMatching(/which is held$/) as string },
    ])
    expect(await rowsRead(`select * from postrider.pending where sink = 'all' limit 20`)).toBeLessThan(1_000)
    expect(await rowsRead(`select * from postrider.dead_letters order by dead_since, position limit 20`)).toBeLessThan(1_000)
    expect(await rowsRead(`select * from postrider.recent_attempts limit 20`)).toBeLessThan(1_000)
    // Letting go of a key looks neither at those that wait behind it nor at the trouble of others.
    await client.query('set enable_seqscan = off; set enable_bitmapscan = off')
    await client.query(`delete from postrider.deliveries where state = 'held'`)
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
