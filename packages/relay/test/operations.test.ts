import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase, type Database } from '../src/database.ts'
import { runOperations } from '../src/operations.ts'
import { untilDone } from '../src/retry.ts'
import { Bell } from '../src/wait.ts'
import { emit, emitRange, failed, quick, range, RecordingSink, refused, run, until, type Running } from './support.ts'

interface Operation {
  readonly id: string
  readonly state: string
  readonly done: string
  readonly skipped: string
  readonly total: string
}

describe('operations', () => {
  let db: TestDatabase
  let client: pg.Client
  let database: Database
  let stop: AbortController
  let working: Promise<unknown> | undefined
  let running: Running | undefined

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    database = openDatabase(db.url, 'postrider', 'test', 2)
    stop = new AbortController()
  })
  afterEach(async () => {
    stop.abort()
    await working
    working = undefined
    await running?.stop()
    running = undefined
    await database.close()
    await db[Symbol.asyncDispose]()
  })

  /** Those who work hear of an operation, as relays do by notifications and beats. */
  const bells = new Set<Bell>()
  /** One who works on operations, as every relay does. */
  function work(bell = new Bell(), signal = stop.signal): Promise<void> {
    bells.add(bell)
    const failures: unknown[] = []
    return runOperations(
      { database, bell, untilDone: (until, task) => untilDone(until, task, (error) => failures.push(error)) },
      signal,
    )
  }
  const start = async (call: string): Promise<Operation> => {
    const { rows } = await client.query<Operation>(`select * from postrider.${call}`)
    const [operation] = rows
    if (operation === undefined) throw new Error('no operation')
    for (const bell of bells) bell.ring()
    return operation
  }
  const read = async ({ id }: Operation): Promise<Operation | undefined> =>
    (await client.query<Operation>('select * from postrider.operations where id = $1', [id])).rows[0]
  const ended = (operation: Operation, state = 'done'): Promise<void> =>
    until(async () => (await read(operation))?.state === state, `operation ${operation.id} is ${state}`)
  const waiting = async (): Promise<number> =>
    Number((await client.query('select count(*) from postrider.deliveries')).rows[0].count)
  /** So many dead letters of their own keys, with numbers from 1. */
  async function letters(count: number): Promise<void> {
    await client.query(`select postrider.put_sink('sink', 'recording', 4::smallint, null, 'key', 'block', 'all', 'now')`)
    for (let key = 0; key < 10; key++) await emitRange(client, `k${key}`, 1, count / 10)
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error)
       select 'sink', postrider.lane_of(bucket, 4::smallint), position, slot, id, key, 'dead', 3, 'gone', 'x' from postrider.events`,
    )
    await client.query(
      `insert into postrider.checkpoints (sink, lane, fence, done, position, horizon)
       select sink, lane, fence + 1, pg_current_snapshot(), (select max(position) from postrider.events), pg_current_xact_id() from postrider.cursors`,
    )
  }

  it('are taken up at a notification, worked off in pieces, and delivered in order per key', async () => {
    await letters(3_000)
    const sink = new RecordingSink()
    running = run(db.url, [{ sink, retry: quick }])
    await until(() => running?.relay.health().lanes.length === 4, 'the relay carries')
    const retry = await start(`retry_matching('{"sink": "sink"}')`)
    const before = performance.now()
    await until(async () => Number((await read(retry))?.done) > 0, 'it has begun')
    expect(performance.now() - before).toBeLessThan(1_000)
    await ended(retry)
    await until(async () => (await waiting()) === 0, 'all are delivered', 20_000)
    for (let key = 0; key < 10; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 300))
  }, 60_000)

  it('are found without a notification too', async () => {
    await letters(10)
    const retry = await start(`retry_matching('{}')`)
    await client.query('select postrider.cancel_operation($1)', [retry.id])
    running = run(db.url, [{ sink: new RecordingSink(), retry: quick }])
    await until(() => running?.relay.health().lanes.length === 4, 'the relay carries')
    await client.query(`update postrider.operations set state = 'pending' where id = $1`, [retry.id])
    await ended(retry)
    expect(await read(retry)).toMatchObject({ done: '10' })
  })

  it('go on with another when one has died: all that is known stands in the row', async () => {
    await letters(400)
    const first = new AbortController()
    const dying = work(new Bell(), first.signal)
    const retry = await start(`retry_matching('{}', rate => 400)`)
    await until(async () => Number((await read(retry))?.done) > 50, 'it has begun')
    first.abort()
    await dying
    const reached = Number((await read(retry))?.done)
    expect(reached).toBeLessThan(400)
    working = work()
    await ended(retry)
    expect(await read(retry)).toMatchObject({ done: '400', skipped: '0' })
    expect((await client.query(`select from postrider.attempts where outcome = 'retried'`)).rowCount).toBe(400)
  })

  it('keep to their rate', async () => {
    await letters(200)
    working = work()
    const before = performance.now()
    await ended(await start(`retry_matching('{}', rate => 100)`))
    expect(performance.now() - before).toBeGreaterThan(1_700)
  })

  it('stop soon after they are cancelled', async () => {
    await letters(2_000)
    working = work()
    const retry = await start(`retry_matching('{}', rate => 500)`)
    await until(async () => Number((await read(retry))?.done) > 50, 'it has begun')
    const before = performance.now()
    await client.query('select postrider.cancel_operation($1)', [retry.id])
    expect(performance.now() - before).toBeLessThan(1_000)
    const { done } = (await read(retry)) ?? retry
    await client.query('select pg_sleep(0.5)')
    expect(await read(retry)).toMatchObject({ state: 'cancelled', done })
    expect((await client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount).toBe(2_000 - Number(done))
  })

  it('that were cancelled half way leave no event behind for a later one of its key to overtake', async () => {
    await letters(1_000)
    // More wait behind the first of a key than are read with it.
    await client.query(
      `update postrider.deliveries as d set state = 'retrying', available_at = clock_timestamp() + case when n = 1 then interval '1 second' else '0' end
       from (select position, (payload ->> 'n')::int as n from postrider.events) as e where e.position = d.position and e.n <= 80`,
    )
    const sink = new RecordingSink()
    running = run(db.url, [{ sink, retry: quick }])
    await until(async () => (await waiting()) === 200, 'what was retried is delivered')
    await ended(await start(`retry_matching('{}')`))
    await until(async () => (await waiting()) === 0, 'all are delivered')
    for (let key = 0; key < 10; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 100))
  }, 30_000)

  it('of which one cannot go on do not keep the others', async () => {
    await letters(20)
    const locked = await db.client()
    await locked.query('begin')
    await locked.query(`select postrider.lock_trouble('sink', lane::smallint) from generate_series(0, 3) as lane`)
    await client.query(`select postrider.put_sink('other', 'recording', 1::smallint, null, 'key', 'block', 'all', 'now')`)
    const stuck = await start(`retry_matching('{"sink": "sink"}')`)
    const free = await start(`replay('{}', 'other')`)
    working = work()
    await ended(free)
    expect(await read(stuck)).toMatchObject({ state: 'pending' })
    await locked.query('commit')
    await ended(stuck)
  })

  it('that fail are over, and the others go on', async () => {
    await letters(20)
    await client.query(`select postrider.put_sink('other', 'recording', 1::smallint, null, 'key', 'block', 'all', 'now')`)
    const broken = await start(`replay('{}', 'other')`)
    await client.query(`delete from postrider.sinks where name = 'other'`)
    const whole = await start(`retry_matching('{}')`)
    working = work()
    await ended(broken, 'failed')
    await ended(whole)
    expect(await read(whole)).toMatchObject({ done: '20' })
  })

  it('that replay send delivered events again with their ids, in order, and live events of a key wait behind them', async () => {
    const sink = new RecordingSink()
    running = run(db.url, [{ sink, retry: quick }])
    working = work()
    for (let key = 0; key < 5; key++) await emitRange(client, `k${key}`, 1, 40)
    await until(() => sink.delivered.length === 200, 'all are delivered')
    const ids = sink.delivered.map(({ id }) => id).toSorted()
    let open = false
    const gate = Promise.withResolvers<void>()
    sink.answer = async () => {
      if (!open) await gate.promise
      return { kind: 'delivered' }
    }
    sink.delivered.length = 0
    sink.receipts.length = 0
    const replay = await start(`replay('{"type": "test.*"}', 'sink')`)
    expect(replay.total).toBe('200')
    await ended(replay)
    for (let key = 0; key < 5; key++) await emit(client, `k${key}`, 41)
    await emit(client, 'free', 1)
    await until(() => sink.receipts.length > 5, 'the first are on the way')
    open = true
    gate.resolve()
    await until(() => sink.delivered.length === 206, 'all are delivered again')
    for (let key = 0; key < 5; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 41))
    const again = sink.delivered.filter(({ n, key }) => n <= 40 && key !== 'free').map(({ id }) => id)
    expect(again.toSorted()).toEqual(ids)
    await until(async () => (await waiting()) === 0, 'nothing waits')
  }, 60_000)

  it('that replay as new give each event another id, the same on every attempt, and tell the first', async () => {
    const sink = new RecordingSink()
    running = run(db.url, [{ sink, retry: quick }])
    for (let key = 0; key < 3; key++) await emitRange(client, `k${key}`, 1, 5)
    await until(() => sink.delivered.length === 15, 'all arrived')
    const first = new Set(sink.delivered.map(({ id }) => id))
    const seen = sink.receipts.length
    const failedOnce = new Set<string | null>()
    sink.answer = ({ n, key }) => (n === 2 && !failedOnce.has(key) && failedOnce.add(key) ? failed : { kind: 'delivered' })
    const operation = await start(`replay('{}', 'sink', as_new => true, reason => 'they were lost over there')`)
    await until(() => sink.delivered.length === 30, 'all arrived again')
    const again = sink.receipts.slice(seen)
    expect(again.every(({ replay }) => replay?.operation === operation.id && first.has(replay.originalId ?? ''))).toBe(true)
    expect(again.some(({ id }) => first.has(id))).toBe(false)
    expect(new Set(again.map(({ id }) => id)).size).toBe(15)
    expect(again.length).toBe(18)
    // The trail is that of the event.
    const { rows } = await client.query('select distinct event_id from postrider.attempts')
    expect(new Set(rows.map(({ event_id }) => event_id))).toEqual(first)
  })

  it('that replay events of which one is dead again block its key, and lose nothing', async () => {
    const sink = new RecordingSink()
    running = run(db.url, [{ sink, retry: quick }])
    working = work()
    await emitRange(client, 'k', 1, 30)
    await until(() => sink.delivered.length === 30, 'all are delivered')
    sink.answer = ({ n }) => (n === 10 ? refused : { kind: 'delivered' })
    sink.delivered.length = 0
    await ended(await start(`replay('{"key": "k"}', 'sink')`))
    await until(() => sink.delivered.length === 9, 'those before it are delivered')
    await until(async () => (await waiting()) === 21, 'the rest waits')
    sink.answer = () => ({ kind: 'delivered' })
    await ended(await start(`retry_matching('{"key": "k"}')`))
    await until(() => sink.delivered.length === 30, 'all are delivered again')
    expect(sink.numbers('k')).toEqual(range(1, 30))
  }, 30_000)

  it('that skip and live traffic at once lose no event that does not match', async () => {
    const sink = new RecordingSink()
    sink.answer = ({ n, key }) => (key === 'bad' && n === 1 ? refused : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: quick }])
    working = work()
    await emitRange(client, 'bad', 1, 50)
    await emitRange(client, 'good', 1, 50)
    await until(async () => (await waiting()) === 50, 'the bad key waits')
    const skip = await start(`skip_matching('{"key": "bad"}', 'a test')`)
    await emitRange(client, 'bad', 51, 60)
    await ended(skip)
    expect(await read(skip)).toMatchObject({ done: '49' })
    await client.query(`select postrider.skip_key('sink', 'bad', 'a test')`)
    await until(() => sink.numbers('bad').length === 10, 'later events go on')
    expect(sink.numbers('bad')).toEqual(range(51, 60))
    expect(sink.numbers('good')).toEqual(range(1, 50))
  }, 30_000)
})
