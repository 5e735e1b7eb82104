import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import fc from 'fast-check'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await putSink('shop')
})
afterEach(() => db[Symbol.asyncDispose]())

async function putSink(name: string, fansOut = false): Promise<void> {
  await client.query(
    `select postrider.put_sink($1, 'webhook', 2::smallint, null, 'key', 'block', 'all', 'beginning', 32, null, $2)`,
    [name, fansOut],
  )
}

async function addEndpoint(name: string, state = 'active'): Promise<void> {
  await client.query(
    `insert into postrider.sinks (name, kind, lanes, family, state) values ($1, 'webhook', 1, split_part($1, '/', 1), $2)`,
    [name, state],
  )
  await client.query(
    `select postrider.begin_sink(s, postrider.start_of('beginning')) from postrider.sinks as s where name = $1`,
    [name],
  )
}

async function one<T>(text: string, values: unknown[] = [], session: Client = client): Promise<T | undefined> {
  return Object.values((await session.query<Record<string, T>>(text, values)).rows[0] ?? {})[0]
}

async function row(text: string, values: unknown[] = []): Promise<Record<string, unknown>> {
  const { rows } = await client.query<Record<string, unknown>>(text, values)
  expect(rows).toHaveLength(1)
  return rows[0] ?? {}
}

const sink = (name = 'shop'): Promise<Record<string, unknown>> =>
  row('select state, state_by, state_reason, state_until, state_since from postrider.sinks where name = $1', [name])
const stateOf = async (name: string): Promise<unknown> => (await sink(name))['state']

/** Of these sinks, in this order. */
async function states(...names: string[]): Promise<string[]> {
  const { rows } = await client.query<{ state: string }>(
    'select s.state from unnest($1::text[]) with ordinality as wanted (name, nth) join postrider.sinks as s using (name) order by nth',
    [names],
  )
  return rows.map(({ state }) => state)
}

async function actions(): Promise<unknown[]> {
  return (await client.query('select actor, action, sink, reason, detail from postrider.actions order by id')).rows
}

/** Notifications that a relay would get while something is done. */
async function told(work: () => Promise<unknown>): Promise<string[]> {
  const heard: string[] = []
  const relay = await db.client()
  relay.on('notification', ({ payload }) => heard.push(payload ?? ''))
  await relay.query('listen postrider')
  await work()
  await relay.query('select')
  await relay.end()
  return heard
}

describe('pause', () => {
  test('holds a sink until somebody resumes it, with who, why and since when, and tells the relays', async () => {
    const before = new Date()
    expect(await told(() => client.query(`select postrider.pause('shop', 'their release', actor => 'ann')`))).toEqual(['sinks'])
    expect(await sink()).toEqual({
      state: 'paused',
      state_by: 'ann',
      state_reason: 'their release',
      state_until: null,
      state_since: expect.any(Date) as Date,
    })
    expect(((await sink())['state_since'] as Date).getTime()).toBeGreaterThanOrEqual(before.getTime() - 1_000)
    expect(await actions()).toEqual([
      { actor: 'ann', action: 'paused', sink: 'shop', reason: 'their release', detail: { from: 'active' } },
    ])
  })

  test('for a time ends by itself, once, when it is over', async () => {
    await client.query(`select postrider.pause('shop', 'x', interval '1 hour')`)
    await client.query('select postrider.end_pauses()')
    expect(await stateOf('shop')).toBe('paused')
    expect(
      await one(
        `select state_until - clock_timestamp() between interval '59 minutes' and interval '1 hour' from postrider.sinks`,
      ),
    ).toBe(true)
    await client.query(`update postrider.sinks set state_until = clock_timestamp()`)
    expect(await told(() => client.query('select postrider.end_pauses()'))).toEqual(['sinks'])
    expect(await sink()).toMatchObject({ state: 'active', state_by: 'postrider', state_until: null })
    await client.query('select postrider.end_pauses()')
    expect((await actions()).slice(1)).toMatchObject([{ actor: 'postrider', action: 'resumed', detail: { from: 'paused' } }])
  })

  test('that an operator prolongs while relays end it goes on', async () => {
    await client.query(`select postrider.pause('shop', 'x', interval '0')`)
    const operator = await db.client()
    await operator.query(`begin; select postrider.pause('shop', 'longer', interval '1 hour')`)
    await client.query('select postrider.end_pauses()')
    await operator.query('commit')
    await client.query('select postrider.end_pauses()')
    expect(await sink()).toMatchObject({ state: 'paused', state_reason: 'longer' })
  })

  test('again takes the new time and reason, and is still since the first', async () => {
    await client.query(`select postrider.pause('shop', 'x')`)
    const { state_since: since } = await sink()
    expect(await one(`select postrider.pause('shop', 'y', interval '1 hour')`)).toBe(1)
    expect(await sink()).toMatchObject({ state_reason: 'y', state_until: expect.any(Date) as Date, state_since: since })
  })

  test('of a sink with endpoints holds those that are active, and no others', async () => {
    await putSink('hooks', true)
    await addEndpoint('hooks/a')
    await addEndpoint('hooks/b', 'disabled')
    await addEndpoint('hooks/c')
    await addEndpoint('hooks/d', 'pending')
    expect(await one(`select postrider.pause('hooks', 'x')`)).toBe(2)
    expect(await states('hooks', 'hooks/a', 'hooks/b', 'hooks/c', 'hooks/d', 'shop')).toEqual([
      'active',
      'paused',
      'disabled',
      'paused',
      'pending',
      'active',
    ])
    expect(await one(`select postrider.resume('hooks')`)).toBe(2)
    expect(await states('hooks/a', 'hooks/b', 'hooks/c', 'hooks/d')).toEqual(['active', 'disabled', 'active', 'pending'])
  })

  test('and resume of a sink that is not there do nothing', async () => {
    expect([await one(`select postrider.pause('nope', 'x')`), await one(`select postrider.resume('nope')`)]).toEqual([0, 0])
    expect(await one(`select postrider.resume('shop')`)).toBe(0)
    expect(await actions()).toEqual([])
  })
})

describe('resume', () => {
  const wanted = async (): Promise<string[]> =>
    (await client.query<{ id: string }>('select event_id as id from postrider.pending order by position')).rows.map(
      ({ id }) => id,
    )
  const fences = async (): Promise<unknown> =>
    (await client.query('select lane, max(fence)::int as fence from postrider.checkpoints group by lane order by lane')).rows

  test('goes on with all that has come meanwhile, and closes the circuit', async () => {
    const before = await emit(client, { type: 'a', key: 'k' })
    await client.query(`select postrider.open_circuit('shop', $1, 1000, 9000, 'connect', 'refused', 10)`, [relay])
    await client.query(`select postrider.pause('shop', 'x')`)
    const meanwhile = await emit(client, { type: 'a', key: 'j' })
    expect(await one(`select postrider.resume('shop', 'mended', actor => 'ann')`)).toBe(1)
    expect(await sink()).toMatchObject({ state: 'active', state_by: 'ann', state_reason: 'mended' })
    expect(await wanted()).toEqual([...before, ...meanwhile])
    expect(await circuit()).toMatchObject({ state: 'closed', trips: 0 })
    expect((await actions()).slice(1)).toEqual([
      { actor: 'ann', action: 'resumed', sink: 'shop', reason: 'mended', detail: { from: 'paused' } },
    ])
  })

  test('from now on leaves out what there is, takes the lanes from whoever has them, and says how far it reaches', async () => {
    await emit(client, [
      { type: 'a', key: 'k' },
      { type: 'a', key: 'j' },
    ])
    await client.query(`select postrider.pause('shop', 'x')`)
    await client.query(`update postrider.lanes set relay = $1, leased_until = clock_timestamp() + interval '1 minute'`, [relay])
    const newest = await one('select max(position) from postrider.events')
    expect(await one(`select postrider.resume('shop', 'too old', 'infinity', 'ann')`)).toBe(1)
    expect(await wanted()).toEqual([])
    expect((await client.query('select relay, leased_until::text, anchor from postrider.lanes')).rows).toEqual(
      [0, 1].map(() => ({ relay: null, leased_until: '-infinity', anchor: newest })),
    )
    expect(await fences()).toEqual([0, 1].map((lane) => ({ lane, fence: 2 })))
    expect((await actions())[1]).toMatchObject({
      actor: 'ann',
      action: 'left_out',
      sink: 'shop',
      reason: 'too old',
      detail: { up_to_position: Number(newest) },
    })
    const after = await emit(client, { type: 'a', key: 'k' })
    expect(await wanted()).toEqual(after)
  })

  test('from a time on leaves out what was written before', async () => {
    const old = await emit(client, [
      { type: 'a', key: 'k' },
      { type: 'a', key: 'j' },
    ])
    const since = await one<string>('select clock_timestamp()::text')
    const kept = await emit(client, [
      { type: 'a', key: 'k' },
      { type: 'a', key: 'j' },
    ])
    await client.query(`select postrider.pause('shop', 'x')`)
    await client.query(`select postrider.resume('shop', since => $1)`, [since])
    expect(await wanted()).toEqual(kept)
    expect(await one(`select detail ->> 'up_to_position' from postrider.actions where action = 'left_out'`)).toBe(
      await one('select position from postrider.events where id = $1', [old[1]]),
    )
  })

  test('from a time that has not come leaves out all; from one before the log, nothing', async () => {
    const ids = await emit(client, [
      { type: 'a', key: 'k' },
      { type: 'a', key: 'j' },
    ])
    await client.query(`select postrider.pause('shop', 'x'), postrider.resume('shop', since => '2000-01-01')`)
    expect(await wanted()).toEqual(ids)
    await client.query(`select postrider.pause('shop', 'x')`)
    await client.query(`select postrider.resume('shop', since => clock_timestamp() + interval '1 day')`)
    expect(await wanted()).toEqual([])
  })

  test('never moves an anchor back, and leaves trouble where it is', async () => {
    const [first] = await emit(client, [
      { type: 'a', key: 'k' },
      { type: 'a', key: 'k' },
    ])
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'shop', postrider.lane_of(bucket, 2::smallint), position, slot, id, key, 'dead' from postrider.events where id = $1`,
      [first],
    )
    await client.query('update postrider.lanes set anchor = 1000000')
    await client.query(`select postrider.pause('shop', 'x')`)
    await client.query(`select postrider.resume('shop', since => 'infinity')`)
    expect((await client.query('select distinct anchor from postrider.lanes')).rows).toEqual([{ anchor: '1000000' }])
    expect((await client.query('select state from postrider.deliveries')).rows).toEqual([{ state: 'dead' }])
  })

  test('from now on counts what a relay settles at this very moment, and nothing of it afterwards', async () => {
    await client.query(`select postrider.pause('shop', 'x')`)
    const settling = await db.client()
    await settling.query('begin')
    await settling.query(
      `insert into postrider.checkpoints (sink, lane, fence, done) values ('shop', 0, 2, pg_current_snapshot())`,
    )
    const resumed = client.query(`select postrider.resume('shop', since => 'infinity')`)
    await expect
      .poll(() =>
        one<number>(`select count(*)::int from pg_locks where not granted and locktype = 'transactionid'`, [], settling),
      )
      .toBe(1)
    await settling.query('commit')
    await resumed
    expect(await fences()).toEqual([
      { lane: 0, fence: 3 },
      { lane: 1, fence: 2 },
    ])
    await expect(
      settling.query(`insert into postrider.checkpoints (sink, lane, fence, done) values ('shop', 0, 3, pg_current_snapshot())`),
    ).rejects.toMatchObject({ code: '23505' })
  })

  test.for(['disabled', 'gone'])('brings a sink back that is %s', async (state) => {
    await client.query(`select postrider.set_state('shop', $1, 'x', 'postrider')`, [state])
    expect(await one(`select postrider.resume('shop')`)).toBe(1)
    expect(await stateOf('shop')).toBe('active')
  })
})

describe('set_limits', () => {
  const limits = (): Promise<Record<string, unknown>> =>
    row('select concurrency, rate, live_concurrency, live_rate from postrider.sinks where name = $1', ['shop'])

  test('sets limits that outweigh those configured, until they are taken back', async () => {
    const heard = await told(() => client.query(`select postrider.set_limits('shop', 2, 0.5, 'they asked', 'ann')`))
    expect(heard).toEqual(['sinks'])
    expect(await limits()).toEqual({ concurrency: 32, rate: null, live_concurrency: 2, live_rate: 0.5 })
    await putSink('shop')
    expect(await limits()).toMatchObject({ live_concurrency: 2, live_rate: 0.5 })
    expect(await one(`select postrider.set_limits('shop', null, 'infinity')`)).toBe(true)
    expect(await limits()).toMatchObject({ live_concurrency: null, live_rate: Infinity })
    await client.query(`select postrider.set_limits('shop', null, null)`)
    expect(await limits()).toMatchObject({ live_concurrency: null, live_rate: null })
    expect((await actions())[0]).toEqual({
      actor: 'ann',
      action: 'limited',
      sink: 'shop',
      reason: 'they asked',
      detail: { concurrency: 2, rate: '0.5' },
    })
  })

  test.for([
    ['no slot', '0', 'null', 'sinks_live_concurrency'],
    ['more slots than there can be', '10001', 'null', 'sinks_live_concurrency'],
    ['no rate', 'null', '0', 'sinks_live_rate'],
  ])('refuses %s', async ([, concurrency, rate, constraint]) => {
    await expect(client.query(`select postrider.set_limits('shop', ${concurrency}, ${rate})`)).rejects.toMatchObject({
      constraint,
    })
  })

  test('knows no sink that is not there, and none that fans out', async () => {
    await putSink('hooks', true)
    for (const name of ['nope', 'hooks']) expect(await one(`select postrider.set_limits($1, 1, 1)`, [name])).toBe(false)
    expect(await actions()).toEqual([])
  })
})

const relay = '018f3c2e-0000-7000-8000-0000000000aa'
const other = '018f3c2e-0000-7000-8000-0000000000bb'

const circuit = (): Promise<Record<string, unknown>> =>
  row(
    `select *, extract(epoch from until - clock_timestamp())::float8 * 1000 as in_ms from postrider.circuits where sink = 'shop'`,
  )
const open = (by = relay, baseMs = 10_000, mostMs = 60_000): Promise<unknown> =>
  client.query(`select postrider.open_circuit('shop', $1, $2, $3, 'connect', 'refused', 10)`, [by, baseMs, mostMs])
const probe = (by = relay, ms = 5_000): Promise<unknown> => one(`select postrider.half_open_circuit('shop', $1, $2)`, [by, ms])
const due = (): Promise<unknown> => client.query(`update postrider.circuits set until = clock_timestamp()`)

describe('the circuit of a sink', () => {
  test('opens for its time and up to a fifth longer, and tells the relays; one that is open stays as it is', async () => {
    expect(await told(() => open())).toEqual(['sinks'])
    const opened = await circuit()
    expect(opened).toMatchObject({ state: 'open', trips: 1, error_code: 'connect', error: 'refused', failures: 10, prober: null })
    expect(opened['in_ms']).toBeGreaterThan(9_000)
    expect(opened['in_ms']).toBeLessThan(12_000)
    expect(await told(() => open(other))).toEqual([])
    expect(await circuit()).toMatchObject({ trips: 1, until: opened['until'], failures: 10 })
  })

  test('gives the right to probe to one relay, when its time has come', async () => {
    await open()
    expect(await probe()).toBe(false)
    await due()
    expect(
      await Promise.all(
        [relay, other].map(
          async (by) => await one(`select postrider.half_open_circuit('shop', $1, 5000)`, [by], await db.client()),
        ),
      ),
    ).toSatisfy((granted: boolean[]) => granted.filter(Boolean).length === 1)
    expect(await circuit()).toMatchObject({ state: 'half_open' })
    expect(await probe()).toBe(false)
    // A relay that does not come back with an answer loses the right.
    await due()
    expect(await probe(other)).toBe(true)
    expect(await circuit()).toMatchObject({ prober: other })
  })

  test('opens again only for the relay that probes, twice as long each time, up to the most', async () => {
    const base: number[] = []
    await open()
    const { opened_at: since } = await circuit()
    for (let n = 0; n < 4; n++) {
      await due()
      expect(await probe()).toBe(true)
      await open(other)
      expect(await circuit()).toMatchObject({ state: 'half_open', prober: relay })
      await open()
      const { in_ms: ms } = await circuit()
      base.push(Number(ms))
    }
    const times = [20_000, 40_000, 60_000, 60_000]
    expect(base.map((ms, n) => ms > (times[n] ?? 0) * 0.95 && ms < (times[n] ?? 0) * 1.2)).toEqual([true, true, true, true])
    expect(await circuit()).toMatchObject({ state: 'open', trips: 5, failures: 50, opened_at: since })
  })

  test('opens again for any relay when the one that probes is lost', async () => {
    await open()
    await due()
    await probe(relay, -1)
    await open(other)
    expect(await circuit()).toMatchObject({ state: 'open', trips: 2 })
  })

  test('closes with nothing left of the trouble, and tells only when there was some', async () => {
    await open()
    expect(await told(() => client.query(`select postrider.close_circuit('shop')`))).toEqual(['sinks'])
    expect(await circuit()).toMatchObject({
      state: 'closed',
      trips: 0,
      until: null,
      failing_since: null,
      failures: 0,
      error: null,
    })
    expect(await told(() => client.query(`select postrider.close_circuit('shop')`))).toEqual([])
    expect(await probe()).toBe(false)
    await open()
    expect(await circuit()).toMatchObject({ trips: 1, failures: 10 })
  })

  test('goes with its sink', async () => {
    await open()
    await client.query('delete from postrider.sinks')
    expect((await client.query('select from postrider.circuits')).rowCount).toBe(0)
  })
})

test('quiet_sink keeps the latest end of a pause that the destination asked for, and tells when it moves by half a second', async () => {
  const quiet = (ms: number): Promise<string[]> => told(() => client.query(`select postrider.quiet_sink('shop', $1)`, [ms]))
  expect(await quiet(60_000)).toEqual(['sinks'])
  const { quiet_until: until } = await circuit()
  expect(await quiet(1_000)).toEqual([])
  expect(await quiet(60_200)).toEqual([])
  expect(await circuit()).toMatchObject({ quiet_until: until, state: 'closed' })
  expect(await quiet(70_000)).toEqual(['sinks'])
  expect((await circuit())['quiet_until']).not.toEqual(until)
})

describe('a destination that says it is gone', () => {
  const gone = (): Promise<unknown> => one(`select postrider.gone_sink('shop', $1, 60000, 'answered 410')`, [relay])

  test('is asked once more, and gone when it says so again', async () => {
    expect(await gone()).toBe('active')
    expect(await circuit()).toMatchObject({ state: 'open', trips: 1, error_code: 'gone', gone_at: expect.any(Date) as Date })
    expect(await stateOf('shop')).toBe('active')
    await due()
    expect(await probe()).toBe(true)
    expect(await gone()).toBe('gone')
    expect(await sink()).toMatchObject({
      state: 'gone',
      state_by: 'postrider',
      state_reason: 'the destination says that it is gone: answered 410',
    })
    expect(await actions()).toMatchObject([{ actor: 'postrider', action: 'gone', sink: 'shop', detail: { from: 'active' } }])
  })

  test('is not gone by answers that were in flight already', async () => {
    expect([await gone(), await gone(), await gone()]).toEqual(['active', 'active', 'active'])
    expect(await circuit()).toMatchObject({ state: 'open', trips: 1, failures: 1 })
  })

  test('is forgotten when it takes an event in between', async () => {
    await gone()
    await client.query(`select postrider.close_circuit('shop')`)
    expect(await gone()).toBe('active')
    expect(await stateOf('shop')).toBe('active')
  })
})

describe('position_at', () => {
  test('is the first position at or after a time, whatever gaps, equal times and segments there are', async () => {
    const start = Date.parse('2026-01-01T00:00:00Z')
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            gap: fc.integer({ min: 1, max: 50 }),
            ms: fc.integer({ min: 0, max: 40 }),
            slot: fc.integer({ min: 0, max: 7 }),
          }),
          {
            maxLength: 40,
          },
        ),
        fc.array(fc.integer({ min: -10, max: 900 }), { minLength: 1, maxLength: 20 }),
        async (steps, asked) => {
          await client.query('truncate postrider.events')
          const events = steps.reduce<{ position: number; at: string; slot: number }[]>((all, { gap, ms, slot }) => {
            const last = all.at(-1)
            return [
              ...all,
              {
                position: (last?.position ?? 0) + gap,
                at: new Date(Date.parse(last?.at ?? new Date(start).toISOString()) + ms).toISOString(),
                slot,
              },
            ]
          }, [])
          await client.query(
            `insert into postrider.events (position, created_at, slot, bucket, type, source, content_type) overriding system value
             select position, at, slot, 0, 'a', 's', 'a/b' from jsonb_to_recordset($1) as e (position bigint, at timestamptz, slot smallint)`,
            [JSON.stringify(events)],
          )
          const { rows } = await client.query<{ found: string | null; expected: string | null }>(
            `select postrider.position_at(t) as found, (select min(position) from postrider.events where created_at >= t) as expected
             from unnest($1::timestamptz[]) as t`,
            [[...asked.map((ms) => new Date(start + ms).toISOString()), '-infinity', 'infinity']],
          )
          expect(rows.map(({ found }) => found)).toEqual(rows.map(({ expected }) => expected))
        },
      ),
      { numRuns: 60 },
    )
  })

  test('passes over events that were kept from an older segment', async () => {
    await client.query(
      `insert into postrider.events (position, created_at, slot, bucket, type, source, content_type) overriding system value
       values (1, '2026-01-01', -1, 0, 'a', 's', 'a/b'), (900, '2026-02-01', 0, 0, 'a', 's', 'a/b'), (901, '2026-02-02', 0, 0, 'a', 's', 'a/b')`,
    )
    expect(await one(`select postrider.position_at('2025-01-01')`)).toBe('900')
    expect(await one(`select postrider.position_at('2026-02-01 12:00')`)).toBe('901')
  })
})
