import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { emit, emitRange, range, RecordingSink, run, until, type Running } from './support.ts'

// The interleavings that other systems invert, and their relatives. The relay runs all the time: it reads between any two steps.
describe('order per key', () => {
  let db: TestDatabase
  let running: Running
  let sink: RecordingSink
  let a: pg.Client
  let b: pg.Client
  let c: pg.Client

  beforeAll(async () => {
    db = await testDatabase()
    ;[a, b, c] = await Promise.all([db.client(), db.client(), db.client()])
    await a.query('create table orders (id text primary key, version int not null default 1)')
    sink = new RecordingSink()
    running = run(db.url, [{ sink, lanes: 2 }], { pageSize: 7 })
    await until(() => running.relay.health().lanes.length === 2, 'the relay has its lanes')
  })
  afterAll(async () => {
    await running.stop()
    await db[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    await until(async () => (await pending()) === 0, 'the log is drained')
    sink.receipts.length = 0
    sink.delivered.length = 0
    await a.query(`insert into orders values ('o') on conflict (id) do update set version = 1`)
  })
  const pending = async (): Promise<number> => Number((await c.query(`select pending from postrider.backlog`)).rows[0]?.pending)
  const settled = (count: number): Promise<void> => until(() => sink.delivered.length >= count, `${count} events arrived`)

  it('holds when an older transaction takes the row lock later', async () => {
    await a.query('begin')
    await a.query('select pg_current_xact_id(), now()') // older by every measure
    await b.query('begin')
    await b.query(`update orders set version = 2 where id = 'o'`)
    await emit(b, 'o', 2)
    await b.query('commit')
    await settled(1)
    await a.query(`update orders set version = 3 where id = 'o'`)
    await emit(a, 'o', 3)
    await a.query('commit')
    await settled(2)
    expect(sink.numbers('o')).toEqual([2, 3])
  })

  it('holds when both have committed before the relay looks', async () => {
    await a.query('begin')
    await a.query('select pg_current_xact_id(), now()')
    await b.query('begin')
    await b.query(`update orders set version = 2 where id = 'o'`)
    await emitRange(b, 'o', 1, 20)
    const waiting = a.query(`update orders set version = 3 where id = 'o'`)
    await b.query('commit')
    await waiting
    await emitRange(a, 'o', 21, 40)
    await a.query('commit')
    await settled(40)
    expect(sink.numbers('o')).toEqual(range(1, 40))
  })

  it('loses nothing when a position is drawn early and committed late, behind pages that were settled', async () => {
    await a.query('begin')
    await emit(a, 'early', 1)
    await emitRange(b, 'other', 1, 50)
    await settled(50)
    await emitRange(b, 'other', 51, 60)
    await settled(60)
    expect(sink.numbers('early')).toEqual([])
    await a.query('commit')
    await settled(61)
    expect(sink.numbers('early')).toEqual([1])
  })

  it('loses nothing when a transaction above the snapshot has drawn a position below what is settled', async () => {
    // a has the lower position but the higher transaction id; when b is settled, a is neither finished nor in the list of open transactions below xmax.
    await b.query('begin')
    await b.query('select pg_current_xact_id()')
    await a.query('begin')
    await a.query('select pg_current_xact_id()')
    await emit(a, 'low', 1)
    await emitRange(b, 'high', 1, 30)
    await b.query('commit')
    await settled(30)
    await c.query('begin')
    await emitRange(c, 'backlog', 1, 40) // a backlog larger than a page, so that a window is opened
    await c.query('commit')
    await a.query('commit')
    await settled(71)
    expect(sink.numbers('low')).toEqual([1])
    expect(sink.numbers('backlog')).toEqual(range(1, 40))
  })

  it('delivers others at once beside a transaction that stays open, and its own when it commits', async () => {
    await a.query('begin')
    await emit(a, 'long', 1)
    for (let n = 1; n <= 30; n++) {
      const before = performance.now()
      await emit(b, 'short', n)
      await until(() => sink.numbers('short').length === n, 'the short one arrived')
      expect(performance.now() - before).toBeLessThan(1_000)
    }
    await emit(a, 'long', 2)
    await a.query('commit')
    await settled(32)
    expect(sink.numbers('long')).toEqual([1, 2])
  })

  it('never sends what a savepoint or a transaction has rolled back', async () => {
    await a.query('begin')
    await emit(a, 'o', 1)
    await a.query('savepoint s')
    await emit(a, 'o', 2)
    await a.query('rollback to s')
    await emit(a, 'o', 3)
    await a.query('release s')
    await a.query('commit')
    await b.query('begin')
    await emit(b, 'o', 4)
    await b.query('rollback')
    await emit(b, 'o', 5)
    await settled(3)
    await until(async () => (await pending()) === 0, 'the log is drained')
    expect(sink.numbers()).toEqual([1, 3, 5])
  })

  it('sends the events of a prepared transaction when it is committed, and never when it is rolled back', async () => {
    for (const [gid, n] of [
      ['kept', 1],
      ['dropped', 2],
    ] as const) {
      await a.query('begin')
      await a.query('set local postrider.wake = off')
      await emit(a, 'two-phase', n)
      await a.query(`prepare transaction '${gid}'`)
    }
    await emitRange(b, 'other', 1, 20)
    await settled(20)
    expect(sink.numbers('two-phase')).toEqual([])
    await a.query(`rollback prepared 'dropped'`)
    await a.query(`commit prepared 'kept'`)
    await settled(21)
    await until(async () => (await pending()) === 0, 'the log is drained')
    expect(sink.numbers('two-phase')).toEqual([1])
  })

  it('keeps its pace while another session holds a snapshot', async () => {
    await a.query('begin isolation level repeatable read')
    await a.query('select count(*) from postrider.events')
    for (let n = 1; n <= 50; n++) await emit(b, `k${n % 5}`, n)
    await settled(50)
    for (const key of ['k0', 'k1', 'k2', 'k3', 'k4'])
      expect(sink.numbers(key)).toEqual(sink.numbers(key).toSorted((x, y) => x - y))
    await a.query('commit')
  })

  it('follows the order of commits, with order: commit, for writers that share no row lock', async () => {
    await a.query('begin')
    await emit(a, 'same', 1, { order: 'commit' })
    await b.query('begin')
    const second = emit(b, 'same', 2, { order: 'commit' })
    await new Promise((resolve) => setTimeout(resolve, 100))
    await emit(a, 'same', 3)
    await a.query('commit')
    await second
    await b.query('commit')
    await settled(3)
    expect(sink.numbers('same')).toEqual([1, 3, 2])
  })
})
