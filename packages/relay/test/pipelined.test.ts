import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome } from '@postrider/relay'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LogSink } from '@postrider/test/log-sink'
import { emit, emitRange, quick, range, run, until, type Running } from './support.ts'

const busy: Outcome & { kind: 'retry' } = {
  kind: 'retry',
  scope: 'event',
  free: true,
  afterMs: 40,
  error: { code: 'connect', message: 'the partition has no leader' },
}
const down: Outcome & { kind: 'retry' } = {
  kind: 'retry',
  free: true,
  error: { code: 'connect', message: 'no broker answers' },
}

describe('a sink that keeps the order of a key by itself', () => {
  let db: TestDatabase
  let client: pg.Client
  let running: Running | undefined

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
  })
  afterEach(async () => {
    await running?.stop()
    running = undefined
    await db[Symbol.asyncDispose]()
  })
  const rows = async (): Promise<number> => (await client.query('select from postrider.deliveries')).rowCount ?? 0
  const pending = async (): Promise<number> => (await client.query('select from postrider.pending')).rowCount ?? 0

  it('gets many events of one key at once, in order, and where each stands is kept', async () => {
    const sink = new LogSink(1)
    await emitRange(client, 'k1', 1, 300)
    running = run(db.url, [{ sink, lanes: 1, retry: quick, concurrency: 1_000 }])
    await until(() => sink.log.length === 300, 'all are in the log')
    await until(async () => (await pending()) === 0, 'all are settled')
    expect(sink.sequences().get('k1')).toEqual(range(1, 300))
    expect(sink.mostOfAKey).toBe(50)
    const { rows: appends } = await client.query<{ offset: string; position: string }>(
      `select (a.first_offset + p.nth - 1)::text as offset, p.position::text as position
       from postrider.appends as a cross join lateral unnest(a.positions) with ordinality as p (position, nth)
       where a.sink = 'log' and a.topic = 'log' and a.partition = 0 order by a.first_offset + p.nth`,
    )
    expect(appends).toEqual(sink.log.map(({ event }, offset) => ({ offset: String(offset), position: event.position })))
    expect((await client.query('select from postrider.appends')).rowCount).toBeLessThan(20)
  })

  it('loses nothing and keeps the order when batches fail, stall beyond their page, and the relay is stopped hard', async () => {
    const keys = Array.from({ length: 9 }, (_, n) => `k${n}`)
    for (let round = 0; round < 6; round++) {
      for (const key of keys) await emitRange(client, key, round * 20 + 1, round * 20 + 20)
      await emit(client, null, round)
    }
    const sink = new LogSink(3)
    let batch = 0
    sink.fate = async () => {
      batch++
      if (batch % 11 === 3) return busy
      if (batch % 17 === 5) return { ...down, free: false }
      if (batch % 13 === 7) await sleep(400)
      return 'written'
    }
    const begin = (): Running =>
      run(db.url, [{ sink, lanes: 2, retry: { ...quick, delaysMs: Array<number>(60).fill(30) }, concurrency: 100 }], {
        pageSize: 60,
        pageMs: 150,
        slowMs: 50,
        leaseMs: 1_000,
      })
    for (let times = 0; times < 3; times++) {
      const before = sink.log.length
      running = begin()
      await until(() => sink.log.length > before + 150, 'it goes on')
      await running.stopHard()
    }
    running = begin()
    await until(async () => (await pending()) === 0 && (await rows()) === 0, 'all are settled', 25_000)
    const sequences = sink.sequences()
    for (const key of keys) expect(sequences.get(key), key).toEqual(range(1, 120))
    expect(sequences.get(null)).toHaveLength(6)
  }, 60_000)

  it('spends no attempt on what could not be tried, and opens its circuit when the whole of it is down', async () => {
    const sink = new LogSink(2)
    sink.fate = () => down
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 5)
    running = run(db.url, [{ sink, retry: { ...quick, delaysMs: [30] } }])
    await until(
      async () => (await client.query(`select from postrider.circuits where state <> 'closed'`)).rowCount === 1,
      'it is open',
    )
    await sleep(300)
    expect(await rows()).toBe(0)
    sink.fate = () => 'written'
    await until(() => sink.log.length >= 100, 'all arrived when it was back')
    for (let key = 0; key < 20; key++) expect(sink.sequences().get(`k${key}`)).toEqual(range(1, 5))
    expect((await client.query('select from postrider.deliveries where attempts > 0')).rowCount).toBe(0)
  })

  it('refuses one event, and only what is behind it in its key waits for an operator', async () => {
    const sink = new LogSink(1)
    sink.fate = (batch) =>
      batch.some(({ event }) => event.payloadText === '{"n": 3}' && event.key === 'k1')
        ? { kind: 'reject', error: { code: 'payload_refused', message: 'too large' } }
        : 'written'
    running = run(db.url, [{ sink, retry: quick, lanes: 1 }])
    await emitRange(client, 'k1', 1, 2)
    await until(() => sink.log.length === 2, 'the first two')
    await emitRange(client, 'k1', 3, 6)
    await until(
      async () => (await client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount === 1,
      'it is dead',
    )
    await emitRange(client, 'k2', 1, 2)
    await until(() => sink.log.length === 4, 'others pass')
    const { rows: states } = await client.query<{ state: string }>('select state from postrider.deliveries order by position')
    expect(states.map(({ state }) => state)).toEqual(['dead', 'blocked', 'blocked', 'blocked'])
  })

  it('is told which events another relay may have sent before it died', async () => {
    running = run(db.url, [{ sink: new LogSink(1), lanes: 1, retry: quick }])
    await until(() => running?.relay.health().lanes.length === 1, 'the sink is there')
    await running.stop()
    await emitRange(client, 'k1', 1, 10)
    // As if it had been killed: the lane is with somebody who is no more.
    await client.query(`update postrider.lanes set relay = gen_random_uuid(), leased_until = clock_timestamp()`)
    const next = new LogSink(1)
    await emitRange(client, 'k2', 1, 3)
    running = run(db.url, [{ sink: next, lanes: 1, retry: quick }], { leaseMs: 1_000 })
    await until(() => next.log.length === 13, 'all arrived')
    expect(next.doubtful).toBe(13)
    await emitRange(client, 'k2', 4, 5)
    await until(() => next.log.length === 15, 'so do later ones')
    expect(next.doubtful).toBe(13)
  })
})
