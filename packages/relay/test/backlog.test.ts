import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { subscribe } from '@postrider/relay'
import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import { emit, emitRange, range, RecordingSink, run, until } from './support.ts'

describe('a backlog', () => {
  it('of 100,000 events in one transaction arrives whole and in order, while others go on', { timeout: 60_000 }, async () => {
    await using db = await testDatabase()
    const [writer, other] = await Promise.all([db.client(), db.client()])
    const sink = new RecordingSink()
    await using _ = run(db.url, [{ sink, concurrency: 256 }])
    await writer.query('begin')
    for (let part = 0; part < 10; part++) {
      await emitRange(writer, 'huge', part * 10_000 + 1, part * 10_000 + 10_000)
      await emit(other, 'small', part)
    }
    await until(() => sink.numbers('small').length === 10, 'the others arrived')
    expect(sink.numbers('huge')).toEqual([])
    await writer.query('commit')
    await emit(other, 'small', 10)
    await until(() => sink.delivered.length >= 100_011, 'all arrived', 45_000)
    expect(sink.numbers('huge')).toEqual(range(1, 100_000))
    expect(sink.numbers('small')).toEqual(range(0, 10))
  })

  it('written before the first relay is delivered by it; a sink that starts now gets only what comes', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    for (let key = 0; key < 5; key++) await emitRange(client, `k${key}`, 1, 100)
    const [whole, late] = [new RecordingSink('whole'), new RecordingSink('late')]
    await using running = run(db.url, [{ sink: whole }, { sink: late, startFrom: 'now', lanes: 3 }], { pageSize: 20 })
    await until(() => running.relay.health().lanes.length === 7, 'all lanes are carried')
    await emitRange(client, 'k0', 101, 200)
    await until(() => whole.delivered.length === 600 && late.delivered.length === 100, 'both have their share')
    expect(late.numbers('k0')).toEqual(range(101, 200))
    for (let key = 1; key < 5; key++) expect(whole.numbers(`k${key}`)).toEqual(range(1, 100))
  })

  it.each([500, 7])(
    'keeps the order of a row lock when an older transaction wrote later, read in pages of %i',
    async (pageSize) => {
      await using db = await testDatabase()
      const [older, younger] = await Promise.all([db.client(), db.client()])
      await older.query('create table orders (id text primary key)')
      await older.query(`insert into orders values ('o')`)
      await older.query('begin')
      await older.query('select pg_current_xact_id(), now()')
      await younger.query('begin')
      await younger.query(`select from orders for update`)
      await emitRange(younger, 'o', 1, 20)
      await younger.query('commit')
      await older.query(`select from orders for update`)
      await emitRange(older, 'o', 21, 40)
      await older.query('commit')
      const sink = new RecordingSink()
      await using _ = run(db.url, [{ sink }], { pageSize })
      await until(() => sink.delivered.length === 40, 'all arrived')
      expect(sink.numbers('o')).toEqual(range(1, 40))
    },
  )

  it('that ends with a full page is not read again when the next one comes', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using _ = run(db.url, [{ sink, lanes: 1 }], { pageSize: 7 })
    for (let batch = 0; batch < 4; batch++) {
      await emitRange(client, 'o', batch * 14 + 1, batch * 14 + 14)
      await until(() => sink.delivered.length >= batch * 14 + 14, 'the batch arrived')
    }
    await emit(client, 'o', 57)
    await until(() => sink.numbers('o').includes(57), 'the last one arrived')
    expect(sink.receipts.map(({ n }) => n)).toEqual(range(1, 57))
  })

  it('of a transaction that drew positions before the cursor arrives whole, and nothing beside it a second time', async () => {
    await using db = await testDatabase()
    const [client, open] = await Promise.all([db.client(), db.client()])
    const sink = new RecordingSink()
    await using _ = run(db.url, [{ sink, lanes: 1 }], { pageSize: 5 })
    await emitRange(client, 'o', 1, 3)
    await until(() => sink.delivered.length === 3, 'the first arrived')
    await open.query('begin')
    await emit(open, 'late', 100)
    await emitRange(client, 'o', 4, 6)
    await until(() => sink.delivered.length === 6, 'the cursor stands behind the first of those that are open')
    await emitRange(open, 'late', 101, 120)
    await open.query('commit')
    await until(() => sink.numbers('late').length === 21, 'all arrived')
    await emit(client, 'o', 7)
    await until(() => sink.numbers('o').includes(7), 'the last one arrived')
    expect(sink.numbers('late')).toEqual(range(100, 120))
    expect(sink.receipts.filter(({ key }) => key === 'o').map(({ n }) => n)).toEqual(range(1, 7))
  })

  it('that comes while a window is open is not passed over when the window ends far before it', { timeout: 60_000 }, async () => {
    await using db = await testDatabase()
    const client = await db.client()
    await emitRange(client, 'before', 1, 300)
    const sink = new RecordingSink()
    sink.answer = async () => {
      await sleep(2)
      return { kind: 'delivered' }
    }
    const interrupted = run(db.url, [{ sink, lanes: 1, concurrency: 1 }], { pageSize: 50 })
    await until(() => sink.delivered.length >= 60, 'a page of the window is settled')
    await interrupted.stop()
    expect(sink.delivered.length).toBeLessThan(250)
    // More than one read looks at. The last of it lies beyond, and is what the end of the window finds.
    for (let part = 0; part < 21; part++) await emitRange(client, 'after', part * 1_000 + 1, part * 1_000 + 1_000)
    sink.answer = () => ({ kind: 'delivered' })
    await using _ = run(db.url, [{ sink, lanes: 1, concurrency: 256 }], { pageSize: 50 })
    await emit(client, 'last', 1)
    await until(() => sink.numbers('last').length === 1, 'the last one arrived', 45_000)
    expect(sink.numbers('before')).toEqual(range(1, 300))
    expect(sink.numbers('after')).toEqual(range(1, 21_000))
  })

  it('survives any number of relays that come and go in the middle of a window', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    for (let key = 0; key < 10; key++) await emitRange(client, `k${key}`, 1, 200)
    const sink = new RecordingSink()
    for (let round = 1; sink.delivered.length < 2_000 && round < 100; round++) {
      const seen = sink.delivered.length
      const running = run(db.url, [{ sink, lanes: 3 }], { pageSize: 13 })
      await until(() => sink.delivered.length > seen + 20 || sink.delivered.length >= 2_000, 'some more arrived')
      await (round % 2 === 0 ? running.stop() : running.stopHard())
    }
    for (let key = 0; key < 10; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 200))
  })

  it('of types that the sink does not take is passed over, and only those', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using _ = run(db.url, [{ sink, types: ['order.*', 'user.**'] }], { pageSize: 3 })
    const types = ['order.placed', 'order.item.added', 'order', 'user.a', 'user.a.b', 'user', 'other.order.placed']
    for (const [n, type] of types.entries()) await emit(client, 'o', n, { type })
    await emit(client, 'o', 99, { type: 'order.last' })
    await until(() => sink.numbers().includes(99), 'the last one arrived')
    expect(sink.numbers()).toEqual([0, 3, 4, 99])
  })
})

describe('large events', () => {
  it('are read in pages that a relay can hold, in order and whole', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    const pages: number[] = []
    const end = subscribe('postrider:claimed', ({ events }) => pages.push(events))
    // Random text, so that it can't be compressed: 240 events of 64 KiB.
    for (let n = 1; n <= 240; n++) {
      await emit(client, 'o', n, { payload: { n, text: randomBytes(32_768).toString('hex') } })
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }])
    await until(() => sink.delivered.length === 240, 'all arrived', 20_000)
    end()
    expect(sink.numbers('o')).toEqual(range(1, 240))
    expect(Math.max(...pages)).toBeLessThan(100)
  })
})
