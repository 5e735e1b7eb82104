import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Outcome } from '@postrider/relay'
import { emit, emitRange, failed, quick, range, RecordingSink, run, until, type Running } from './support.ts'

/** Opens soon and for a short time, so that a test can wait for it. */
const circuit = { failures: 10, openMs: 300, mostMs: 1_200 }
const invalid: Outcome = {
  ...failed,
  scope: 'event',
  error: { code: 'status_4xx', message: 'answered 422' },
  status: 422,
} as Outcome

describe('a sink whose destination is down', () => {
  let db: TestDatabase
  let client: pg.Client
  let sink: RecordingSink
  const running: Running[] = []
  const start = (...args: Parameters<typeof run> extends [string, ...infer Rest] ? Rest : never): Running => {
    const one = run(db.url, ...args)
    running.push(one)
    return one
  }

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    sink = new RecordingSink()
  })
  afterEach(async () => {
    for (const one of running.splice(0)) await one.stop()
    await db[Symbol.asyncDispose]()
  })
  const one = async (text: string): Promise<Record<string, unknown>> => (await client.query(text)).rows[0] ?? {}
  const rows = async (): Promise<number> => Number((await one('select count(*) from postrider.deliveries'))['count'])
  const state = async (): Promise<unknown> => (await one('select state from postrider.circuits'))['state']

  it('costs no row, charges no event, and is drained in order when it returns', async () => {
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    for (let batch = 0; batch < 10; batch++) {
      for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, batch * 10 + 1, batch * 10 + 10)
    }
    start([{ sink, circuit, retry: quick }], { pageSize: 100 })
    await until(async () => (await state()) === 'open', 'the circuit is open')
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 101, 110)
    await sleep(700)
    expect(await rows()).toBe(0)
    // What was in flight when it opened, and a few probes.
    expect(sink.receipts.length).toBeLessThan(32 + 8)
    expect(sink.receipts.every(({ attempt }) => attempt === 1)).toBe(true)
    down = false
    await until(() => sink.delivered.length >= 2_200, 'all arrived', 20_000)
    for (let key = 0; key < 20; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 110))
    expect(sink.delivered.every(({ attempt }) => attempt === 1)).toBe(true)
    expect(await rows()).toBe(0)
    expect(await state()).toBe('closed')
  })

  it('is paid for by fewer events than it takes to open the circuit, when they come one by one', async () => {
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    start([{ sink, circuit, retry: quick }])
    for (let n = 1; n <= 20; n++) {
      for (let key = 0; key < 20; key++) await emit(client, `k${key}`, n)
    }
    await until(async () => (await state()) === 'open', 'the circuit is open')
    const paid = await one(`select count(*)::int as heads from postrider.deliveries where state = 'retrying'`)
    expect(Number(paid['heads'])).toBeLessThan(circuit.failures)
    down = false
    await until(() => sink.delivered.length >= 400, 'all arrived', 20_000)
    for (let key = 0; key < 20; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 20))
  })

  it('gets one real event to see, and is left alone twice as long after each that fails', async () => {
    sink.answer = () => failed
    start([{ sink, circuit }])
    await emitRange(client, null, 1, 100)
    await until(async () => (await state()) === 'open', 'the circuit is open')
    const before = sink.receipts.length
    await until(async () => Number((await one('select trips from postrider.circuits'))['trips']) >= 3, 'two probes failed')
    expect(sink.receipts.length - before).toBe(2)
    const { seconds } = await one('select extract(epoch from until - changed_at)::float8 as seconds from postrider.circuits')
    expect(Number(seconds)).toBeGreaterThanOrEqual(1.2)
    expect(Number(seconds)).toBeLessThanOrEqual(1.5)
  })

  it('is loaded step by step when it returns', async () => {
    let down = true
    let most = 0
    let inFlight = 0
    const seen: number[] = []
    sink.answer = async () => {
      if (down) return failed
      most = Math.max(most, ++inFlight)
      seen.push(inFlight)
      await sleep(10)
      inFlight--
      return { kind: 'delivered' }
    }
    start([{ sink, circuit, concurrency: 16 }])
    await emitRange(client, null, 1, 200)
    await until(async () => (await state()) === 'open', 'the circuit is open')
    down = false
    await until(() => sink.delivered.length >= 200, 'all arrived', 20_000)
    expect(Math.max(...seen.slice(0, 1))).toBe(1)
    expect(Math.max(...seen.slice(0, 3))).toBeLessThanOrEqual(2)
    expect(Math.max(...seen.slice(0, 7))).toBeLessThanOrEqual(4)
    expect(most).toBe(16)
  })

  it('is opened again by the first failure after it has come back', async () => {
    let answers: Outcome[] = []
    sink.answer = () => answers.shift() ?? failed
    await emitRange(client, null, 1, 50)
    start([{ sink, circuit }])
    await until(async () => (await state()) === 'open', 'the circuit is open')
    answers = [{ kind: 'delivered' }]
    await until(() => sink.delivered.length === 1, 'the probe arrived')
    await until(async () => (await state()) === 'open', 'the circuit is open again')
    expect(await rows()).toBe(0)
  })

  it('is found by one relay, and known to all', async () => {
    const other = new RecordingSink()
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    other.answer = sink.answer
    start([{ sink, circuit: { failures: 10, openMs: 1_500, mostMs: 1_500 } }])
    start([{ sink: other, circuit: { failures: 10, openMs: 1_500, mostMs: 1_500 } }])
    await until(async () => {
      const { rows: found } = await client.query(
        'select count(distinct relay)::int as n from postrider.lanes where relay is not null',
      )
      return found[0]?.n === 2
    }, 'both have lanes')
    await emitRange(client, null, 1, 200)
    await until(async () => (await state()) === 'open', 'the circuit is open')
    await sleep(300)
    const before = sink.receipts.length + other.receipts.length
    await sleep(900)
    expect(sink.receipts.length + other.receipts.length).toBe(before)
    await until(() => sink.receipts.length + other.receipts.length > before, 'a probe')
    await sleep(400)
    expect(sink.receipts.length + other.receipts.length).toBe(before + 1)
    down = false
    await until(() => sink.delivered.length + other.delivered.length >= 200, 'all arrived', 20_000)
    expect(await rows()).toBe(0)
  })

  it('is not what one event says that fails again and again, while others arrive or are not there', async () => {
    sink.answer = ({ n }) => (n === 1 ? failed : { kind: 'delivered' })
    start([
      { sink, circuit: { ...circuit, failures: 3 }, retry: { delaysMs: Array<number>(8).fill(20), jitter: 0, maxAgeMs: 60_000 } },
    ])
    const id = await emit(client, 'poor', 1)
    await until(async () => (await one(`select state from postrider.explain('${id}')`))['state'] === 'dead', 'it is dead')
    expect(sink.receipts.length).toBe(9)
    expect(await state()).toBeUndefined()
  })

  it('is not what answers say that are about the event', async () => {
    sink.answer = () => invalid
    start([{ sink, circuit, retry: { delaysMs: [60_000], jitter: 0, maxAgeMs: 600_000 } }])
    await emitRange(client, null, 1, 40)
    await until(async () => (await rows()) === 40, 'each waits for its own sake')
    expect(await state()).toBeUndefined()
  })

  it('is not blamed for ever on the event that happens to be the probe', async () => {
    // The first event fails whatever happens; the others would be taken.
    let down = true
    sink.answer = ({ n }) => (down || n === 1 ? failed : { kind: 'delivered' })
    start([
      {
        sink,
        lanes: 1,
        circuit: { failures: 2, openMs: 100, mostMs: 100 },
        retry: { delaysMs: [60_000], jitter: 0, maxAgeMs: 600_000 },
      },
    ])
    await emitRange(client, null, 1, 30)
    await until(async () => (await state()) === 'open', 'the circuit is open')
    down = false
    await until(() => sink.delivered.length === 29, 'the others arrived')
    expect(await rows()).toBe(1)
  })

  it('that says it is gone twice stands still, and nothing of it is lost', async () => {
    let gone = true
    sink.answer = () =>
      gone ? { kind: 'gone', error: { code: 'gone', message: 'answered 410' }, status: 410 } : { kind: 'delivered' }
    start([{ sink }])
    await emitRange(client, 'o', 1, 20)
    await until(async () => (await state()) === 'open', 'it was heard once')
    await client.query(`update postrider.circuits set until = now()`)
    await client.query(`notify postrider, 'sinks'`)
    await until(async () => (await one('select state from postrider.sinks'))['state'] === 'gone', 'it is gone')
    expect(await rows()).toBe(0)
    const heard = sink.receipts.length
    gone = false
    await emitRange(client, 'o', 21, 30)
    await sleep(300)
    expect(sink.receipts.length).toBe(heard)
    await client.query(`select postrider.resume('sink', 'it is back')`)
    await until(() => sink.delivered.length >= 30, 'all arrived')
    expect(sink.numbers('o')).toEqual(range(1, 30))
  })

  it('and one that never answers parks no more rows than it has slots', async () => {
    let down = true
    sink.answer = async (_, signal) => {
      if (!down) return { kind: 'delivered' }
      await sleep(400, undefined, { signal }).catch(() => undefined)
      return { kind: 'retry', error: { code: 'timeout', message: 'no answer' } }
    }
    start([{ sink, circuit: { failures: 10, openMs: 600, mostMs: 600 }, concurrency: 12 }], { pageMs: 100, slowMs: 50 })
    for (let key = 0; key < 50; key++) await emitRange(client, `k${key}`, 1, 10)
    await until(async () => (await state()) === 'open', 'the circuit is open')
    const { waiting, paid } = await one(
      `select count(*) filter (where state = 'retrying') as waiting, coalesce(sum(attempts), 0) as paid from postrider.deliveries`,
    )
    expect(Number(waiting)).toBeLessThanOrEqual(12)
    expect(Number(paid)).toBeLessThan(10)
    down = false
    await until(() => sink.delivered.length >= 500, 'all arrived', 20_000)
    for (let key = 0; key < 50; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 10))
  })
})

describe('steering a sink', () => {
  it('a pause stops it at once, keeps its cursor, and a resume lets everything go in order', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using running = run(db.url, [{ sink }])
    await until(() => running.relay.health().listener === 'listening', 'it hears')
    await emitRange(client, 'o', 1, 10)
    await until(() => sink.delivered.length === 10, 'it flows')
    await client.query(`select postrider.pause('sink', 'maintenance', actor => 'ann')`)
    await sleep(400)
    await emitRange(client, 'o', 11, 300)
    await sleep(500)
    expect(sink.delivered.length).toBe(10)
    expect((await client.query('select 1 from postrider.deliveries')).rows).toEqual([])
    await client.query(`select postrider.resume('sink')`)
    await until(() => sink.delivered.length === 300, 'all arrived')
    expect(sink.numbers('o')).toEqual(range(1, 300))
  })

  it('a pause for a time ends by itself, to the second', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using running = run(db.url, [{ sink }])
    await until(() => running.relay.health().listener === 'listening', 'it hears')
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 4,
      'carried',
    )
    await client.query(`select postrider.pause('sink', 'two seconds', '2 seconds')`)
    const paused = performance.now()
    await sleep(600)
    await emit(client, 'o', 1)
    await until(() => sink.delivered.length === 1, 'it went on')
    expect(performance.now() - paused).toBeGreaterThan(1_950)
    expect(performance.now() - paused).toBeLessThan(3_000)
  })

  it('resumed from a time or from now on, it leaves out what was before and says so', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using running = run(db.url, [{ sink }])
    await until(() => running.relay.health().listener === 'listening', 'it hears')
    await client.query(`select 1`)
    await until(async () => (await client.query(`select 1 from postrider.sinks`)).rows.length === 1, 'it is there')
    await client.query(`select postrider.pause('sink', 'x')`)
    await sleep(400)
    await emitRange(client, 'o', 1, 10)
    const { rows } = await client.query('select clock_timestamp()::text as now')
    await sleep(5)
    await emitRange(client, 'o', 11, 20)
    await client.query(`select postrider.resume('sink', 'half of it', $1)`, [rows[0]?.now])
    await until(() => sink.delivered.length === 10, 'the later ones arrived')
    await client.query(`select postrider.pause('sink', 'x')`)
    await sleep(400)
    await emitRange(client, 'o', 21, 30)
    await client.query(`select postrider.resume('sink', 'none of it', 'infinity')`)
    await emitRange(client, 'o', 31, 40)
    await until(() => sink.delivered.length === 20, 'what came afterwards arrived')
    expect(sink.numbers('o')).toEqual([...range(11, 20), ...range(31, 40)])
    const left = await client.query(`select count(*)::int as n from postrider.actions where action = 'left_out'`)
    expect(left.rows[0]?.n).toBe(2)
  })

  it('limits hold over all relays, and change while it runs', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    let inFlight = 0
    let most = 0
    const times: number[] = []
    const make = (): RecordingSink => {
      const sink = new RecordingSink()
      sink.answer = async () => {
        times.push(performance.now())
        most = Math.max(most, ++inFlight)
        await sleep(10)
        inFlight--
        return { kind: 'delivered' }
      }
      return sink
    }
    await using _one = run(db.url, [{ sink: make(), concurrency: 8, rate: 50 }])
    await using _two = run(db.url, [{ sink: make(), concurrency: 8, rate: 50 }])
    await until(
      async () => (await client.query('select count(distinct relay)::int as n from postrider.lanes')).rows[0]?.n === 2,
      'both carry',
    )
    await emitRange(client, null, 1, 600)
    await sleep(2_500)
    // 50 a second, and what a bucket holds at first.
    expect(times.length).toBeLessThanOrEqual(50 * 2.7 + 20)
    expect(times.length).toBeGreaterThan(50)
    expect(most).toBeLessThanOrEqual(8)
    await client.query(`select postrider.set_limits('sink', 4, 'infinity', 'hurry')`)
    await sleep(100)
    most = 0
    await until(() => times.length >= 600, 'all arrived')
    expect(most).toBeLessThanOrEqual(4)
  })
})
