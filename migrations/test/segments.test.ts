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
  return rows[0]!
}

const state = async (which = slot): Promise<unknown> => (await segment(which))['state']

async function segment(which = slot): Promise<Record<string, unknown>> {
  const { rows } = await client.query<Record<string, unknown>>('select * from postrider.segments where slot = $1', [which])
  return rows[0]!
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
async function trouble(sink: string, positions: readonly string[], state = 'dead', since = 'now'): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, since)
     select $1, 0, position, slot, id, key, $3, $4 from postrider.events where position = any($2::bigint[])`,
    [sink, positions, state, since],
  )
  await client.query(
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
    await client.query(`select postrider.set_segments(keep => '4 days')`)
    expect(await recycle()).toMatchObject({ result: 'waiting', why: expect.stringMatching(/^lane \d of shop has not passed it, and no relay/) as string })
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
    expect(await recycle()).toMatchObject({ result: 'waiting', why: expect.stringContaining('restored from elsewhere') as string })
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
    for (let seed = 1; seed <= 25; seed++) await checkHistory(seed)
  }, 60_000)

  /** A random history; the answer for its segment is compared with one that asks of each event and each lane. */
  async function checkHistory(seed: number): Promise<void> {
    const random = generator(seed)
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
    await client.query('truncate postrider.events, postrider.attempts, postrider.deliveries, postrider.sinks cascade; truncate postrider.checkpoints')
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
        // The tenant comes from the key, so that no update is needed.
      }
    }
    for (const writer of open) await writer.query('commit')
    await Promise.all(writers.map((writer) => writer.end()))
    await client.query(`update postrider.events set tenant = 't' where key in ('k1', 'k2')`)
    snapshots.push(String(await one('select pg_current_snapshot()')))

    for (const { sink, lane } of (await client.query<{ sink: string; lane: number }>('select sink, lane from postrider.lanes')).rows) {
      const done = Math.floor(Math.max(random(), random(), random()) * snapshots.length)
      const target = random() < 0.5 ? null : done + Math.floor(random() * (snapshots.length - done))
      await client.query('insert into postrider.checkpoints (sink, lane, fence, done, target, position) values ($1, $2, 2, $3, $4, $5)', [
        sink,
        lane,
        snapshots[done],
        target === null ? null : snapshots[target],
        pick(positions),
      ])
      if (random() < 0.2) await client.query('update postrider.lanes set anchor = $3 where sink = $1 and lane = $2', [sink, lane, pick(positions)])
    }
    await trouble('all', positions.filter(() => random() < 0.2))

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
    const { result } = await recycle()
    expect(result, `seed ${seed}`).toBe(wanted.length > 0 ? 'waiting' : 'recycled')
    if (wanted.length > 0) {
      expect([await stored('events'), await stored('attempts')], `seed ${seed}`).toEqual(before)
      await pass()
      expect((await recycle()).result, `seed ${seed}`).toBe('recycled')
    }
    const needed = before[0]!.filter((event) => dead.has((event as { id: string }).id))
    expect(await stored('events'), `seed ${seed}`).toEqual(needed)
    expect(await stored('attempts'), `seed ${seed}`).toEqual(before[1])
  }
})
