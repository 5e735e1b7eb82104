import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { emit, emitRange, failed, quick, range, RecordingSink, refused, run, until, type Running } from './support.ts'

describe('trouble', () => {
  let db: TestDatabase
  let client: pg.Client
  let sink: RecordingSink
  let running: Running | undefined

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    sink = new RecordingSink()
  })
  afterEach(async () => {
    await running?.stop()
    running = undefined
    await db[Symbol.asyncDispose]()
  })
  const explain = async (id: string): Promise<{ state: string; reason: string; attempts: number } | undefined> =>
    (await client.query('select state, reason, attempts from postrider.explain($1)', [id])).rows[0]
  const rows = async (): Promise<number> =>
    Number((await client.query('select count(*) from postrider.deliveries')).rows[0].count)
  const drained = (): Promise<void> =>
    until(async () => {
      const { rows: backlog } = await client.query('select pending, retrying, blocked from postrider.backlog')
      return backlog.length > 0 && backlog.every((row) => Number(row.pending) + Number(row.retrying) + Number(row.blocked) === 0)
    }, 'nothing is pending, retrying or blocked')

  it('of one event is retried with the same id, and later events of its key wait behind it, while other keys flow', async () => {
    let mended = false
    sink.answer = ({ n, key }) => (n === 3 && key === 'bad' && !mended ? failed : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: { ...quick, delaysMs: Array<number>(200).fill(60) } }])
    await emitRange(client, 'bad', 1, 20)
    await emitRange(client, 'good', 1, 20)
    await until(() => sink.numbers('good').length === 20, 'the good key is through')
    await until(() => sink.receipts.filter(({ n, key }) => n === 3 && key === 'bad').length >= 3, 'it was tried three times')
    expect(sink.numbers('bad')).toEqual([1, 2])
    const waiting = await client.query(
      `select event_id from postrider.deliveries where state = 'blocked' order by position limit 1`,
    )
    expect((await explain(waiting.rows[0].event_id))?.reason).toMatch(/^behind event /)
    mended = true
    await until(() => sink.numbers('bad').length === 20, 'the bad key is through')
    expect(sink.numbers('bad')).toEqual(range(1, 20))
    const tries = sink.receipts.filter(({ n, key }) => n === 3 && key === 'bad')
    expect(new Set(tries.map(({ id }) => id)).size).toBe(1)
    expect(tries.map(({ attempt }) => attempt)).toEqual(range(1, tries.length))
    await drained()
    expect(await rows()).toBe(0)
    const attempts = await client.query(
      `select outcome, error_code, count(*)::int from postrider.attempts where event_id = $1 group by 1, 2 order by 1`,
      [tries[0]?.id],
    )
    expect(attempts.rows).toEqual([
      { outcome: 'delivered', error_code: null, count: 1 },
      { outcome: 'retry', error_code: 'status_5xx', count: tries.length - 1 },
    ])
  })

  it('at random, on a tenth of the attempts, keeps every key in order and loses nothing', async () => {
    let seed = 7
    const chance = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
    sink.answer = () => (chance() < 0.1 ? failed : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: { ...quick, delaysMs: Array<number>(30).fill(20) } }], { pageSize: 50 })
    for (let batch = 0; batch < 10; batch++) {
      for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, batch * 5 + 1, batch * 5 + 5)
    }
    await until(() => sink.delivered.length >= 1_000, 'all arrived', 20_000)
    await drained()
    for (let key = 0; key < 20; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 50))
    expect(await rows()).toBe(0)
  })

  it('without end makes a dead letter, which blocks its key until an operator retries it', async () => {
    let mended = false
    sink.answer = ({ n }) => (n === 1 && !mended ? failed : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: quick }])
    const id = await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 120)
    await until(async () => (await explain(id))?.state === 'dead', 'it is dead')
    expect((await explain(id))?.attempts).toBe(6)
    expect((await client.query('select event_id, attempts, error_code from postrider.dead_letters')).rows).toEqual([
      { event_id: id, attempts: 6, error_code: 'status_5xx' },
    ])
    expect(sink.numbers('o')).toEqual([])
    mended = true
    await client.query('select postrider.retry($1)', [id])
    await until(() => sink.numbers('o').length === 120, 'the key is through')
    expect(sink.numbers('o')).toEqual(range(1, 120))
    expect(sink.delivered[0]?.id).toBe(id)
  })

  it('that is discarded lets its key go on, and says who did it', async () => {
    sink.answer = ({ n }) => (n === 1 ? refused : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: quick }])
    const id = await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 5)
    await until(async () => (await explain(id))?.state === 'dead', 'it is dead')
    expect((await explain(id))?.attempts).toBe(1)
    await client.query(`select postrider.discard($1, 'not needed', actor => 'ann')`, [id])
    await until(() => sink.numbers('o').length === 4, 'the key is through')
    expect(await explain(id)).toMatchObject({ state: 'discarded', reason: expect.stringContaining('by ann: not needed') })
  })

  it('of a dead head is skipped by its key where the sink says so', async () => {
    sink.answer = ({ n }) => (n === 2 ? refused : { kind: 'delivered' })
    running = run(db.url, [{ sink, retry: quick, onDead: 'skip' }])
    await emitRange(client, 'o', 1, 5)
    await until(() => sink.numbers('o').length === 4, 'the others are through')
    expect(sink.numbers('o')).toEqual([1, 3, 4, 5])
    await emitRange(client, 'o', 6, 7)
    await until(() => sink.numbers('o').length === 6, 'later ones too')
  })

  it('that a destination asks to pause for spends no attempt, and the sink is quiet for that time', async () => {
    let throttled = 0
    sink.answer = () =>
      throttled++ < 1
        ? { kind: 'throttled', afterMs: 400, error: { code: 'throttled', message: '429' }, status: 429 }
        : { kind: 'delivered' }
    running = run(db.url, [{ sink, retry: quick, lanes: 1, concurrency: 1 }])
    const id = await emit(client, 'o', 1)
    await until(() => sink.receipts.length === 1, 'it was tried')
    const before = performance.now()
    await emit(client, 'p', 2)
    await until(() => sink.delivered.length === 2, 'both arrived')
    expect(performance.now() - before).toBeGreaterThan(300)
    expect(sink.receipts.find((receipt) => receipt.id === id && receipt.attempt === 1)).toBeDefined()
    expect(sink.delivered.find((receipt) => receipt.id === id)?.attempt).toBe(1)
  })

  it('of a slow event parks it: its lane goes on, its key waits, and it is settled when it ends', async () => {
    const gate = Promise.withResolvers<void>()
    sink.answer = async ({ n, key }) => {
      if (n === 1 && key === 'slow') await gate.promise
      return { kind: 'delivered' }
    }
    running = run(db.url, [{ sink, lanes: 1, concurrency: 4 }], { slowMs: 100, pageMs: 200 })
    const id = await emit(client, 'slow', 1)
    await emitRange(client, 'slow', 2, 4)
    await until(() => sink.receipts.length === 1, 'it is in flight')
    for (let n = 1; n <= 20; n++) await emit(client, 'quick', n)
    await until(() => sink.numbers('quick').length === 20, 'the lane went on')
    await until(async () => (await explain(id))?.reason.includes('slow') === true, 'its row says that it is slow')
    expect(sink.receipts.filter(({ key }) => key === 'slow').length).toBe(1)
    gate.resolve()
    await until(() => sink.numbers('slow').length === 4, 'its key is through')
    expect(sink.numbers('slow')).toEqual([1, 2, 3, 4])
    await drained()
    expect(await rows()).toBe(0)
    expect(sink.receipts.filter(({ id: received }) => received === id).length).toBe(1)
  })

  it('never comes of a sink with too few slots: what was not started stays in the log, in order, without a row', async () => {
    sink.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      return { kind: 'delivered' }
    }
    running = run(db.url, [{ sink, lanes: 2, concurrency: 2 }], { pageMs: 50, slowMs: 50, pageSize: 200 })
    for (let key = 0; key < 10; key++) await emitRange(client, `k${key}`, 1, 30)
    let most = 0
    await until(async () => {
      most = Math.max(most, await rows())
      return sink.delivered.length >= 300
    }, 'all arrived')
    await drained()
    for (let key = 0; key < 10; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 30))
    expect(most).toBe(0)
  })

  it('of a sink that throws counts as a failed attempt', async () => {
    sink.answer = ({ attempt }) => {
      if (attempt === 1) throw new Error('a bug')
      return { kind: 'delivered' }
    }
    running = run(db.url, [{ sink, retry: quick }])
    const id = await emit(client, 'o', 1)
    await until(() => sink.delivered.length === 1, 'it arrived')
    const { rows: attempts } = await client.query(
      'select error_code, error from postrider.attempts where event_id = $1 and attempt = 1',
      [id],
    )
    expect(attempts).toEqual([{ error_code: 'sink_threw', error: 'a bug' }])
  })

  it('of one sink is no trouble of another', async () => {
    const dead = new RecordingSink('dead')
    dead.answer = () => new Promise((resolve) => setTimeout(() => resolve(failed), 1_000))
    running = run(db.url, [
      { sink, retry: quick },
      { sink: dead, retry: quick, concurrency: 2 },
    ])
    const before = performance.now()
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 10)
    await until(() => sink.delivered.length === 200, 'the living sink has all')
    expect(performance.now() - before).toBeLessThan(5_000)
    expect(dead.delivered.length).toBe(0)
  })

  it('of an answer with NUL bytes and lone surrogates does not stop the settle', async () => {
    sink.answer = ({ attempt }) =>
      attempt === 1
        ? { ...failed, kind: 'retry', error: { code: 'status_5xx', message: 'a\0b\ud800' }, detail: { body: 'x\0\\u0000\udfff' } }
        : { kind: 'delivered' }
    running = run(db.url, [{ sink, retry: quick }])
    await emit(client, 'o', 1)
    await until(() => sink.delivered.length === 1, 'it arrived')
    const { rows: attempts } = await client.query('select error, detail from postrider.attempts where attempt = 1')
    expect(attempts).toEqual([{ error: 'ab\ufffd', detail: { body: 'x\\u0000\ufffd' } }])
  })
})

describe('a scheduled event', () => {
  const soon = (ms: number): { deliver_at: string } => ({ deliver_at: new Date(Date.now() + ms).toISOString() })

  it('goes out when its time has come, lets its key pass until then, and waits its turn if the key is in trouble', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let mended = false
    sink.answer = ({ n }) => (n === 3 && !mended ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: { ...quick, delaysMs: Array<number>(100).fill(100) } }])
    await emit(client, 'o', 1, soon(700))
    await emit(client, 'o', 2)
    await until(() => sink.numbers('o').length === 1, 'the later one passed')
    await emit(client, 'o', 3)
    await emit(client, 'o', 4, soon(300))
    await until(
      async () => (await client.query(`select 1 from postrider.deliveries where state = 'blocked'`)).rows.length === 1,
      'the time of the fourth came, and it waits behind the third',
    )
    await until(() => sink.numbers('o').length === 2, 'the first overtakes nobody, and goes')
    expect(sink.numbers('o')).toEqual([2, 1])
    mended = true
    await until(() => sink.numbers('o').length === 4, 'all arrived')
    expect(sink.numbers('o')).toEqual([2, 1, 3, 4])
  })

  it('that comes due behind a failing head takes none of its followers past that head', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let mended = false
    sink.answer = ({ n }) => (n === 1 && !mended ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: { ...quick, delaysMs: Array<number>(100).fill(150) } }])
    await emit(client, 'o', 1)
    await until(() => sink.receipts.length >= 1, 'the head was tried')
    await emit(client, 'o', 2, soon(200))
    await emitRange(client, 'o', 3, 6)
    await until(
      async () => (await client.query(`select 1 from postrider.deliveries where state = 'blocked'`)).rows.length === 5,
      'all five wait',
    )
    expect(sink.numbers('o')).toEqual([])
    mended = true
    await until(() => sink.numbers('o').length === 6, 'all arrived')
    expect(sink.numbers('o')).toEqual(range(1, 6))
  })

  it('that an operator discards stays away, also when its page is read again', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    const gate = Promise.withResolvers<void>()
    sink.answer = async ({ n }) => {
      if (n < 3) await gate.promise
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1, concurrency: 1 }], { pageMs: 50, slowMs: 50 })
    await client.query('begin') // one page: an attempt that lasts, one that finds no slot, and ours behind them
    await emit(client, 'a', 1)
    await emit(client, 'b', 2)
    const id = await emit(client, 'c', 3, soon(1_500))
    await client.query('commit')
    await until(
      async () => (await client.query('select 1 from postrider.deliveries where event_id = $1', [id])).rows.length === 1,
      'its row is there',
    )
    await client.query(`select postrider.discard($1, 'changed our mind')`, [id])
    gate.resolve()
    await until(() => sink.delivered.length === 2, 'the others arrived')
    await new Promise((resolve) => setTimeout(resolve, 1_700))
    expect(sink.receipts.map(({ n }) => n)).not.toContain(3)
  })
})

describe('a parked attempt', () => {
  it('that ends while the sink is quiet is not sent again', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    Object.assign(sink, { deadlineMs: 300 }) // its row comes due 1.3 s after it was parked
    const gate = Promise.withResolvers<void>()
    sink.answer = async ({ n }) => {
      if (n === 1) await gate.promise
      return n === 2 ? { kind: 'throttled', afterMs: 2_500, error: { code: 'throttled', message: '429' } } : { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1, concurrency: 2 }], { slowMs: 50, pageMs: 100 })
    await emit(client, 'slow', 1)
    await until(
      async () => (await client.query(`select 1 from postrider.deliveries where error_code = 'slow'`)).rows.length === 1,
      'it is parked',
    )
    await emit(client, 'throttled', 2)
    await until(() => sink.receipts.length === 2, 'the sink asked for quiet')
    gate.resolve()
    await until(() => sink.receipts.filter(({ n }) => n === 2).length === 2, 'the quiet is over')
    expect(sink.receipts.filter(({ n }) => n === 1).length).toBe(1)
  })

  it('whose row is discarded still keeps its key waiting until it ends', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    const gate = Promise.withResolvers<void>()
    sink.answer = async ({ n }) => {
      if (n === 1) await gate.promise
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }], { slowMs: 50, pageMs: 100 })
    const id = await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 3)
    await until(
      async () => (await client.query(`select 1 from postrider.deliveries where error_code = 'slow'`)).rows.length === 1,
      'it is parked',
    )
    await client.query(`select postrider.discard($1, 'too slow')`, [id])
    await emit(client, 'o', 4)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(sink.receipts.map(({ n }) => n)).toEqual([1])
    gate.resolve()
    await until(() => sink.delivered.length === 4, 'all arrived')
    expect(sink.numbers('o')).toEqual([1, 2, 3, 4])
  })
})

describe('an event that is old when it is first tried', () => {
  it('has its retries all the same', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ attempt }) => (attempt === 1 ? failed : { kind: 'delivered' })
    await emit(client, 'o', 1)
    await client.query(`update postrider.events set created_at = now() - interval '30 days'`)
    await using _ = run(db.url, [{ sink, retry: { ...quick, maxAgeMs: 60_000 } }])
    await until(() => sink.delivered.length === 1, 'it arrived')
  })
})
