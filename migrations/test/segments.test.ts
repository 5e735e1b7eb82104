import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client
/** A segment that is not written now. */
let slot: number

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  slot = Number(await one('select (postrider.current_slot() + 4) % 8'))
})
afterEach(() => db[Symbol.asyncDispose]())

async function one(text: string, values: unknown[] = [], session: Client = client): Promise<unknown> {
  const { rows } = await session.query<Record<string, unknown>>(text, values)
  return Object.values(rows[0] ?? {})[0]
}

interface Recycling {
  readonly result: string
  readonly why: string | null
  readonly kept: number
  readonly left_behind: readonly Record<string, unknown>[] | null
}

async function recycle(session: Client = client, which = slot): Promise<Recycling> {
  const { rows } = await session.query<Recycling>('select * from postrider.recycle_segment($1)', [which])
  return first(rows)
}

const state = async (which = slot): Promise<unknown> => (await segment(which))['state']

async function segment(which = slot): Promise<Record<string, unknown>> {
  const { rows } = await client.query<Record<string, unknown>>('select * from postrider.segments where slot = $1', [which])
  return first(rows)
}

/** Writes events of days ago into the segment; answers their positions. */
async function write(session: Client, count: number, key = 'k', type = 'a', days = 7): Promise<string[]> {
  const { rows } = await session.query<{ position: string }>(
    `insert into postrider.events (slot, created_at, bucket, type, key, source, content_type, payload)
     select $1, clock_timestamp() - $5 * interval '1 day', postrider.bucket_of($3), $4, $3, 'test', 'application/json', to_jsonb(n)
     from generate_series(1, $2::int) as n returning position`,
    [slot, count, key, type, days],
  )
  return rows.map(({ position }) => position)
}

async function putSink(name: string, lanes = 1, types: readonly string[] | null = null): Promise<void> {
  await client.query(`select postrider.put_sink($1, 'webhook', $2::smallint, $3, 'key', 'block', 'all', 'beginning')`, [
    name,
    lanes,
    types,
  ])
}

/** The cursors of a sink, or of all, have passed what is visible now. */
async function pass(sink: string | null = null): Promise<void> {
  await client.query(
    `insert into postrider.checkpoints (sink, lane, fence, done)
     select sink, lane, fence + 1, pg_current_snapshot() from postrider.cursors where sink = coalesce($1, sink)`,
    [sink],
  )
}

/** Events of the segment wait at a sink. */
async function trouble(
  sink: string,
  positions: readonly string[],
  state = 'dead',
  since = 'now',
  session: Client = client,
): Promise<void> {
  await session.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, since)
     select $1, 0, position, slot, id, key, $3, $4 from postrider.events where position = any($2::bigint[])`,
    [sink, positions, state, since],
  )
  await session.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, error, started_at, duration_ms, detail)
     select $1, position, slot, id, 1, 'reject', 'no', created_at, 5, '{"a": 1}' from postrider.events where position = any($2::bigint[])`,
    [sink, positions],
  )
}

/** What is there of events or attempts, whatever segment it is in. */
async function stored(table: 'events' | 'attempts', where = 'true'): Promise<unknown[]> {
  const { rows } = await client.query<{ row: unknown }>(
    `select to_jsonb(t) - 'slot' as row from postrider.${table} as t where ${where} order by position, to_jsonb(t)::text`,
  )
  return rows.map(({ row }) => row)
}

describe('a segment is emptied', () => {
  test('when its newest event is old enough and every lane has passed all of it; the one that is written now never', async () => {
    await putSink('shop', 4)
    expect(await state()).toBe('empty')
    await write(client, 10, 'k', 'a', 5)
    expect(await segment()).toMatchObject({ state: 'young', why: expect.stringMatching(/^it is kept until 20/) as string })
    await client.query(`call postrider.set_segments(keep => '4 days')`)
    expect(await recycle()).toMatchObject({
      result: 'waiting',
      why: expect.stringMatching(/^lane \d of shop has not passed it, and no relay/) as string,
    })
    await pass()
    expect(await state()).toBe('recyclable')
    expect(await recycle()).toEqual({ slot, result: 'recycled', why: null, kept: 0, left_behind: null })
    expect([await state(), await recycle()]).toEqual(['empty', expect.objectContaining({ result: 'empty' })])

    await emit(client, { type: 'a' })
    await client.query(`update postrider.ring set keep = '1 microsecond'`)
    await pass()
    expect((await recycle(client, (slot + 4) % 8)).result).toBe('writing')
  })

  test('not in a transaction with an old snapshot, nor in a database that was restored from elsewhere', async () => {
    await write(client, 1)
    await client.query('begin isolation level repeatable read')
    await expect(recycle()).rejects.toMatchObject({ code: '25000' })
    await client.query('rollback')
    await client.query('update postrider.meta set system_identifier = 1')
    expect(await recycle()).toMatchObject({
      result: 'waiting',
      why: expect.stringContaining('restored from elsewhere') as string,
    })
  })

  test('while the cursors of idle lanes are old, if nothing in it is theirs', async () => {
    await putSink('shop', 2)
    await putSink('some', 1, ['b'])
    const lane = await one('select postrider.lane_of(postrider.bucket_of($1), 2::smallint)', ['k'])
    await write(client, 10)
    await client.query(
      'insert into postrider.checkpoints (sink, lane, fence, done) select sink, lane, fence + 1, pg_current_snapshot() from postrider.cursors where sink = $1 and lane = $2',
      ['shop', lane],
    )
    expect(await state()).toBe('recyclable')
    await write(client, 1, 'k', 'b')
    expect((await segment())['why']).toMatch(/^lane 0 of shop|^lane 1 of shop/)
    expect((await segment())['why']).toMatch(/lane 0 of some has not passed it/)
  })

  test('and what is still needed is kept with its attempts, also if two sinks need it', async () => {
    await putSink('shop')
    await putSink('other')
    const positions = await write(client, 6)
    await trouble('shop', positions.slice(1, 3))
    await trouble('shop', positions.slice(3, 4), 'retrying')
    await trouble('other', positions.slice(2, 5))
    await pass()
    const needed = `position = any('{${positions.slice(1, 5).join()}}')`
    const before = [await stored('events', needed), await stored('attempts')]
    expect(await recycle()).toMatchObject({ result: 'recycled', kept: 4 })
    expect([await stored('events'), await stored('attempts')]).toEqual(before)
    expect(
      await one(
        'select count(*)::int from postrider.deliveries as d join postrider.events as e on e.position = d.position and e.slot = d.slot and e.id = d.event_id',
      ),
    ).toBe(6)
    expect((await client.query('select distinct slot from postrider.attempts')).rows).toEqual([{ slot: -1 }])
  })

  test('in pieces when very much is needed still: each call ends soon', async () => {
    await putSink('shop')
    await trouble('shop', await write(client, 1_100))
    await write(client, 10)
    await pass()
    expect([await recycle(), await recycle(), await recycle()]).toMatchObject([
      { result: 'kept', kept: 500 },
      { result: 'kept', kept: 500 },
      { result: 'recycled', kept: 100 },
    ])
    expect(await stored('events')).toHaveLength(1_100)
    expect(await one(`select count(*)::int from postrider.trouble where type = 'a'`)).toBe(1_100)
  })

  test('never of what any lane still needs: whatever the cursors, open windows, filters and late transactions', async () => {
    const results: string[] = []
    for (let seed = 1; seed <= 40; seed++) results.push(await expectRight(seed))
    for (const result of ['waiting', 'recycled']) expect(results.filter((one) => one === result).length).toBeGreaterThan(5)
  }, 60_000)

  /** A random history; the answer for its segment is compared with one that asks of each event and each lane. */
  async function expectRight(seed: number): Promise<string> {
    const random = generator(seed)
    const pick = <T>(list: readonly T[]): T => first(list.slice(Math.floor(random() * list.length)))
    await client.query(
      'truncate postrider.events, postrider.attempts, postrider.deliveries, postrider.sinks cascade; truncate postrider.checkpoints',
    )
    await putSink('all', 3)
    await putSink('some', 2, ['b'])
    await putSink('tenant', 1)
    await client.query(`update postrider.sinks set tenant = 't' where name = 'tenant'`)

    const writers = await Promise.all([db.client(), db.client(), db.client()])
    const open = new Set<Client>()
    const snapshots = ['1:1:']
    const positions = ['0']
    for (let step = 0; step < 40; step++) {
      const writer = pick(writers)
      if (random() < 0.3) snapshots.push(String(await one('select pg_current_snapshot()')))
      else if (open.has(writer) && random() < 0.5) {
        await writer.query(random() < 0.2 ? 'rollback' : 'commit')
        open.delete(writer)
      } else {
        if (!open.has(writer) && random() < 0.6) {
          await writer.query('begin')
          open.add(writer)
        }
        const written = await write(writer, 1 + Math.floor(random() * 3), `k${Math.floor(random() * 6)}`, pick(['a', 'b']))
        positions.push(...written)
      }
    }
    for (const writer of open) await writer.query('commit')
    await Promise.all(writers.map((writer) => writer.end()))
    await client.query(`update postrider.events set tenant = 't' where key in ('k1', 'k2')`)
    snapshots.push(String(await one('select pg_current_snapshot()')))

    const advanced = random() < 0.6
    for (const { sink, lane } of (await client.query<{ sink: string; lane: number }>('select sink, lane from postrider.lanes'))
      .rows) {
      const done = Math.floor((advanced ? Math.min(0.999, 0.9 + random() / 5) : random()) * snapshots.length)
      const target = random() < 0.5 ? null : done + Math.floor(random() * (snapshots.length - done))
      await client.query(
        'insert into postrider.checkpoints (sink, lane, fence, done, target, position) values ($1, $2, 2, $3, $4, $5)',
        [sink, lane, snapshots[done], target === null ? null : snapshots[target], pick(positions)],
      )
      if (random() < 0.2)
        await client.query('update postrider.lanes set anchor = $3 where sink = $1 and lane = $2', [sink, lane, pick(positions)])
    }
    await trouble(
      'all',
      positions.filter(() => random() < 0.2),
    )

    const { rows: wanted } = await client.query(
      `select c.sink, c.lane, count(*) as events, min(e.position) as first_position, max(e.position) as last_position
       from postrider.cursors as c join postrider.events as e on postrider.lane_of(e.bucket, c.lanes) = c.lane
       where (c.filter is null or e.type ~ c.filter) and (c.tenant is null or e.tenant = c.tenant)
         and not postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor)
       group by c.sink, c.lane order by c.sink, c.lane`,
    )
    const { rows: behind } = await client.query('select * from postrider.lanes_behind($1, null)', [slot])
    expect(behind, `seed ${seed}`).toEqual(wanted.map((row) => ({ ...(row as object), counted_all: true })))

    const before = [await stored('events'), await stored('attempts')]
    const needed = await stored('events', 'position in (select position from postrider.deliveries)')
    const { result } = await recycle()
    expect(result, `seed ${seed}`).toBe(wanted.length > 0 ? 'waiting' : 'recycled')
    if (wanted.length > 0) {
      expect([await stored('events'), await stored('attempts')], `seed ${seed}`).toEqual(before)
      await pass()
      expect((await recycle()).result, `seed ${seed}`).toBe('recycled')
    }
    expect(await stored('events'), `seed ${seed}`).toEqual(needed)
    expect(await stored('attempts'), `seed ${seed}`).toEqual(before[1])
    return result
  }
})

describe('a sink that has not passed a segment', () => {
  beforeEach(async () => {
    await putSink('shop', 2)
    await putSink('lazy', 2, ['b'])
    await write(client, 30, 'k', 'a')
    await write(client, 20, 'k', 'b')
    await write(client, 10, 'l', 'b')
    await pass('shop')
  })

  const actions = async (): Promise<unknown[]> =>
    (await client.query(`select actor, sink, reason, detail from postrider.actions where action = 'left_behind' order by sink`))
      .rows

  test('holds it back for ever while it is active, also with its circuit open', async () => {
    await client.query(
      `update postrider.ring set hold = '0'; select postrider.open_circuit('lazy', gen_random_uuid(), 1000, 1000, 'connect', 'x', 10)`,
    )
    expect(await recycle()).toMatchObject({ result: 'waiting', why: expect.stringContaining('of lazy ha') as string })
    expect(await stored('events')).toHaveLength(60)
    expect(await actions()).toEqual([])
  })

  test('holds it back for a time while it is paused, and then is left behind, with a record of what it loses', async () => {
    await client.query(
      `select postrider.pause('lazy', 'a visit'); update postrider.sinks set state_since = clock_timestamp() - interval '13 days' where name = 'lazy'`,
    )
    expect(await recycle()).toMatchObject({
      result: 'waiting',
      why: expect.stringMatching(
        /^lanes? [01, ]+ of lazy (has|have) not passed it: the sink is paused, and is left behind at 20/,
      ) as string,
    })
    await client.query(`call postrider.set_segments(hold => '12 days')`)
    const { rows: range } = await client.query<{ first_position: number; last_position: number }>(
      `select min(position)::int as first_position, max(position)::int as last_position from postrider.events where type = 'b'`,
    )
    const loss = { sink: 'lazy', events: 30, counted_all: true, ...first(range) }
    const answer = await recycle()
    expect(answer).toMatchObject({ result: 'recycled', left_behind: [loss] })
    const { sink: _, ...detail } = first(answer.left_behind ?? [])
    expect(await actions()).toEqual([
      { actor: 'postrider', sink: 'lazy', reason: expect.stringMatching(/^it is paused since 20/) as string, detail },
    ])
    // It goes on with what is there, from its old cursor.
    await emit(client, { type: 'b', key: 'k' })
    await client.query(`select postrider.resume('lazy')`)
    expect(await one(`select count(*)::int from postrider.pending where sink = 'lazy'`)).toBe(1)
  })

  test('is left behind though it is active only where that is allowed, and whoever carries it can settle nothing of it', async () => {
    await client.query(`call postrider.set_segments(pass_lagging => true)`)
    const fence = await one(`select max(fence)::int from postrider.checkpoints where sink = 'lazy'`)
    const carrier = await db.client()
    await carrier.query('begin')
    await carrier.query(`insert into postrider.checkpoints (sink, lane, fence, done) values ('lazy', 0, $1::int + 1, '1:1:')`, [
      fence,
    ])
    expect(await recycle()).toMatchObject({ result: 'waiting', why: 'a lock was not free' })
    await carrier.query('rollback')
    expect(await recycle()).toMatchObject({ result: 'recycled', left_behind: [{ sink: 'lazy', events: 30 }] })
    expect(await actions()).toMatchObject([{ sink: 'lazy', reason: 'it lags, and pass_lagging is set' }])
    await expect(
      carrier.query(`insert into postrider.checkpoints (sink, lane, fence, done) values ('lazy', 0, $1::int + 1, '1:1:')`, [
        fence,
      ]),
    ).rejects.toMatchObject({ constraint: 'checkpoints_pkey' })
  })

  test('that is resumed at this moment is not left behind', async () => {
    await client.query(`select postrider.pause('lazy', 'a visit'); update postrider.ring set hold = '0'`)
    const operator = await db.client()
    await operator.query(`begin; select postrider.resume('lazy')`)
    expect(await recycle()).toMatchObject({ result: 'waiting', why: 'a lock was not free' })
    await operator.query('commit')
    expect(await recycle()).toMatchObject({ result: 'waiting', why: expect.stringContaining('of lazy ha') as string })
    expect(await stored('events')).toHaveLength(60)
  })
})

describe('nobody waits long for retention', () => {
  beforeEach(async () => {
    await putSink('shop')
    await write(client, 100)
    await pass()
  })

  /** Calls again and again while something is going on; fails when one waits longer for a lock. Answers how many calls there were. */
  async function expectNoWait(
    mostMs: number,
    call: (session: Client) => Promise<unknown>,
    work: () => Promise<void>,
  ): Promise<number> {
    const session = await db.client()
    await session.query(`set lock_timeout = ${mostMs}`)
    await call(session)
    let [calls, going] = [0, true]
    const calling = (async () => {
      for (; going; calls++) await call(session)
    })()
    const working = work().finally(() => (going = false))
    await Promise.all([calling, working])
    return calls
  }

  const insert = (session: Client): Promise<unknown> => emit(session, { type: 'a', key: 'k' })
  const read = (session: Client): Promise<unknown> => session.query('select from postrider.events where position = 1')

  test('beside an open transaction that writes, one that reads, and a segment that is to be emptied: inserts do not wait, reads a tenth of a second', async () => {
    const [writer, reader, recycler] = await Promise.all([db.client(), db.client(), db.client()])
    await writer.query('begin')
    await insert(writer)
    await reader.query('begin; select from postrider.events')
    const attempts = async (): Promise<void> => {
      for (let n = 0; n < 4; n++) {
        expect(await recycle(recycler)).toMatchObject({ result: 'waiting', why: 'a lock was not free' })
        await sleep(20)
      }
    }
    expect(await expectNoWait(10, insert, attempts)).toBeGreaterThan(20)
    expect(await expectNoWait(400, read, attempts)).toBeGreaterThan(3)
    await reader.query('commit')
    expect(await recycle(recycler)).toMatchObject({ result: 'recycled' })
    await writer.query('commit')
  })

  test('one that has written into it and is open still is found out, and neither inserts nor reads notice', async () => {
    const [late, recycler] = await Promise.all([db.client(), db.client()])
    await late.query('begin')
    await write(late, 1)
    const attempt = async (): Promise<void> => {
      expect(await recycle(recycler)).toMatchObject({ result: 'waiting', why: 'a lock was not free' })
    }
    expect(await expectNoWait(10, insert, attempt)).toBeGreaterThan(3)
    expect(await expectNoWait(10, read, attempt)).toBeGreaterThan(3)
    await late.query('commit')
    expect(await recycle(recycler)).toMatchObject({ result: 'waiting', why: expect.stringMatching(/^lane 0 of shop/) as string })
    await pass()
    expect(await recycle(recycler)).toMatchObject({ result: 'recycled' })
  })

  test('a delivery that is being settled is not waited for: nothing is changed', async () => {
    const positions = await write(client, 3)
    await trouble('shop', positions)
    await pass()
    const settling = await db.client()
    await settling.query('begin')
    await settling.query('select from postrider.deliveries where position = $1 for update', [positions[1]])
    const before = [await stored('events'), await stored('attempts')]
    expect(await recycle()).toMatchObject({ result: 'waiting', why: 'a lock was not free', kept: 0 })
    expect([await stored('events'), await stored('attempts')]).toEqual(before)
    await settling.query('commit')
    expect(await recycle()).toMatchObject({ result: 'recycled', kept: 3 })
  })

  test('an insert into a segment while it is emptied ends up in it', async () => {
    const [recycler, producer] = await Promise.all([db.client(), db.client()])
    await recycler.query('begin')
    expect(await recycle(recycler)).toMatchObject({ result: 'recycled' })
    const writing = write(producer, 1)
    await sleep(50)
    await recycler.query('commit')
    await writing
    expect(await stored('events')).toHaveLength(1)
  })

  test('a segment that the ring has no longer is dropped when it is empty, and inserts wait a moment at most', async () => {
    await client.query('call postrider.set_segments(10)')
    await client.query(`call postrider.set_segments(8)`)
    const [writer, recycler] = await Promise.all([db.client(), db.client()])
    await writer.query('begin')
    await insert(writer)
    const attempt = async (): Promise<void> => {
      for (let n = 0; n < 5; n++) {
        expect(await recycle(recycler, 9)).toMatchObject({ result: 'waiting', why: 'a lock was not free' })
        await sleep(20)
      }
    }
    expect(await expectNoWait(200, insert, attempt)).toBeGreaterThan(3)
    await writer.query('commit')
    for (const which of [9, 8]) expect(await recycle(recycler, which)).toMatchObject({ result: 'dropped' })
    expect(await one('select count(*)::int from postrider.segments where slot >= 0')).toBe(8)
  })
})

describe('kept events', () => {
  test('go when no delivery of any sink needs them and their last attempt is old; looked at in parts', async () => {
    await putSink('shop')
    await putSink('other')
    const positions = await write(client, 5)
    await trouble('shop', positions)
    await trouble('other', positions.slice(0, 2))
    await pass()
    expect(await recycle()).toMatchObject({ result: 'recycled', kept: 5 })
    const forget = async (after = '0', look = 100): Promise<unknown> =>
      (await client.query('select reached, forgotten from postrider.forget_kept($1, $2)', [after, look])).rows[0]
    expect(await forget()).toEqual({ reached: '0', forgotten: 0 })

    await client.query('delete from postrider.deliveries where sink = $1', ['shop'])
    await client.query(`update postrider.attempts set started_at = now() where position = $1`, [positions[4]])
    expect(await forget('0', 3)).toEqual({ reached: positions[2], forgotten: 1 })
    expect(await forget(positions[2], 3)).toEqual({ reached: '0', forgotten: 1 })
    const left = `position = any('{${[0, 1, 4].map((n) => positions[n]).join()}}')`
    expect(await stored('events')).toEqual(await stored('events', left))
    expect(await stored('events')).toHaveLength(3)
    expect(await one('select array_agg(distinct position order by position) from postrider.attempts')).toEqual(
      [0, 1, 4].map((n) => positions[n]),
    )
  })

  test('are not taken away from somebody who is about to send them again', async () => {
    await putSink('shop')
    const positions = await write(client, 1)
    await trouble('shop', positions)
    await pass()
    await recycle()
    await client.query('delete from postrider.deliveries')
    const replaying = await db.client()
    await replaying.query('begin')
    await trouble('shop', positions, 'retrying', 'now', replaying)
    await expect(client.query('select postrider.forget_kept()')).rejects.toMatchObject({ code: '55P03' })
    await replaying.query('commit')
    expect(await one('select forgotten from postrider.forget_kept()')).toBe(0)
    expect(await stored('events')).toHaveLength(1)
  })
})

test('dead letters that are too old are discarded with a record, and let the rest of their key go', async () => {
  await putSink('shop')
  const positions = await write(client, 4)
  await trouble('shop', positions.slice(0, 1), 'dead', '2001-01-01')
  await trouble('shop', positions.slice(1, 2), 'blocked', '2001-01-01')
  await trouble('shop', positions.slice(2), 'dead')
  await client.query(`update postrider.deliveries set parked = true where position = any($1::bigint[])`, [positions.slice(2)])
  expect([await one('select postrider.discard_old()'), await one('select postrider.discard_old()')]).toEqual([1, 0])
  expect((await client.query('select position, state from postrider.deliveries order by position')).rows).toEqual([
    { position: positions[1], state: 'retrying' },
    { position: positions[2], state: 'dead' },
    { position: positions[3], state: 'dead' },
  ])
  expect(
    (await client.query(`select position, outcome, detail from postrider.attempts where outcome = 'discarded'`)).rows,
  ).toEqual([
    { position: positions[0], outcome: 'discarded', detail: { actor: 'postrider', reason: 'dead for more than 90 days' } },
  ])
  expect((await client.query('select actor, action, sink, reason, detail from postrider.actions')).rows).toEqual([
    {
      actor: 'postrider',
      action: 'discarded',
      sink: 'shop',
      reason: 'dead for more than 90 days',
      detail: { lane: 0, events: 1 },
    },
  ])
})

test('records of actions are forgotten after a year', async () => {
  await client.query(
    `insert into postrider.actions (at, actor, action) select now() - months * interval '1 month', 'me', 'paused' from unnest('{14, 13, 11}'::int[]) as months`,
  )
  expect([await one('select postrider.forget_actions()'), await one('select count(*)::int from postrider.actions')]).toEqual([
    2, 1,
  ])
})

describe('the ring is cut anew', () => {
  test('with partitions that are as the first ones, but for their place', async () => {
    await client.query('grant select, truncate on postrider.events_0, postrider.attempts_0, postrider.appends_0 to public')
    await client.query('call postrider.set_segments(9)')
    for (const table of ['events', 'attempts'])
      expect(await describeTable(`${table}_8`)).toEqual(await describeTable(`${table}_0`))
  })

  async function describeTable(name: string): Promise<string[]> {
    const { rows } = await client.query<{ line: string }>(
      `select format('column %s %s %s %s %s %s %s %s %s', a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
           a.attislocal, a.attinhcount, pg_get_expr(d.adbin, d.adrelid)) as line
         from pg_attribute as a left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum where a.attrelid = $1::regclass and a.attnum > 0
       union all select format('constraint %s %s %s %s %s', conname, pg_get_constraintdef(oid), conislocal, coninhcount, convalidated) from pg_constraint where conrelid = $1::regclass
       union all select format('index %s %s of %s', pg_get_indexdef(i.indexrelid), i.indisvalid, h.inhparent::regclass)
         from pg_index as i left join pg_inherits as h on h.inhrelid = i.indexrelid where i.indrelid = $1::regclass
       union all select format('table %s %s %s', relowner::regrole, reloptions, array(select format('%s %s', grantee, privilege_type) from aclexplode(relacl) order by 1))
         from pg_class where oid = $1::regclass
       order by 1`,
      [`postrider.${name}`],
    )
    const nr = name.replace(/\D/g, '')
    return rows.map(({ line }) => line.replaceAll(`_${nr}`, '_N'))
  }

  test('a plan says what would be done and does nothing; done twice it does nothing either', async () => {
    const cut = `(slots => 16, width => '1 hour', keep => '12 hours')`
    const plan = async (): Promise<unknown[]> =>
      (await client.query<{ step: number }>(`select step from postrider.plan_segments${cut}`)).rows.map(({ step }) => step)
    expect(await plan()).toEqual([...Array<number>(8 * 2 * 3).fill(1), 2, 2])
    expect(await one('select count(*)::int from postrider.segments where slot >= 0')).toBe(8)
    for (let times = 0; times < 2; times++) await client.query(`call postrider.set_segments${cut}`)
    expect(await plan()).toEqual([])
    expect(await one('select count(*)::int from postrider.segments where slot >= 0')).toBe(16)
    expect(await one(`select count(*)::int from postrider.actions where action = 'ring_changed'`)).toBe(1)
    expect(await one('select postrider.current_slot() = (extract(epoch from clock_timestamp())::bigint / 3600) % 16')).toBe(true)
  })

  test.each([
    ['slots => 2', '2 segments: give 3 to 64'],
    ['slots => 65', '65 segments: give 3 to 64'],
    ['slots => 100000', '100000 segments: give 3 to 64'],
    [`width => '9 seconds'`, 'a width of 00:00:09: give whole seconds, from 10 seconds to 31 days'],
    [`width => '32 days'`, 'a width of 32 days: give'],
    [`width => '10.5 seconds'`, 'a width of 00:00:10.5: give whole seconds'],
    [`keep => '7 days'`, 'events cannot be kept for 7 days in 8 segments of 1 day: give more than nothing, and 6 days at most'],
    [`slots => 4, width => '1 hour'`, 'events cannot be kept for 6 days in 4 segments of 01:00:00'],
    [`keep => '0'`, 'events cannot be kept for 00:00:00'],
    [`keep_dead => '-1 day'`, 'dead letters are kept for -1 days'],
    [`hold => '-1 day'`, 'the log is held back for -1 days'],
  ])('nonsense is refused: %s', async (args, message) => {
    await expect(client.query(`call postrider.set_segments(${args})`)).rejects.toMatchObject({
      code: '22023',
      message: expect.stringContaining(message) as string,
    })
    expect(await one('select count(*)::int from postrider.segments where slot >= 0')).toBe(8)
  })

  test('for sessions that run already too: their next transaction writes by the new cut, one that is open goes on by any', async () => {
    const session = await db.client()
    const emitPrepared = async (): Promise<number> => {
      const { rows } = await session.query<{ id: string }>({ name: 'emit', text: `select postrider.emit('{"type": "a"}') as id` })
      return Number(await one('select slot from postrider.events where id = $1', [first(rows).id], session))
    }
    for (let n = 0; n < 8; n++) await emitPrepared() // until its plan is kept
    // By the new cut it is a slot that was not there before.
    const now = Number(await one('select extract(epoch from clock_timestamp())::bigint'))
    const slots = [11, 13, 17, 19, 23, 29, 31, 37].find(
      (count) => Math.floor(now / 3600) % count > 7 && Math.floor(now / 3600 + 1) % count > 7,
    )
    await session.query('begin')
    await emitPrepared()
    await client.query(`call postrider.set_segments($1, '1 hour', '1 hour')`, [slots])
    await emitPrepared()
    await session.query('commit')
    expect(await emitPrepared()).toBeGreaterThan(7)
  })
})

function first<T>(list: readonly T[]): T {
  for (const item of list) return item
  throw new Error('there is none')
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
