import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import type { Outcome } from '@postrider/relay'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Solo } from '../src/poison.ts'
import { emit, emitRange, failed, RecordingSink, run, until } from './support.ts'

const retry = { delaysMs: Array<number>(100).fill(50), jitter: 0, maxAgeMs: 60_000 }

/** The lanes of a sink look as if their relay had died at this moment. */
const die = (client: pg.Client): Promise<unknown> =>
  client.query(`update postrider.lanes set relay = gen_random_uuid(), leased_until = clock_timestamp() - interval '1 ms' where relay is not null;
    notify postrider, 'lanes'`)
const care = async (client: pg.Client): Promise<number[]> =>
  (await client.query('select careful from postrider.lanes order by lane')).rows.map(({ careful }) => careful as number)

/** The only lane is taken over from a dead relay, with that much care; its sink is paused, because a page without events would end the care. */
async function takeOverWithCare(client: pg.Client, size: 1 | 8): Promise<void> {
  await client.query(`select postrider.pause('sink', 'x')`)
  await until(async () => {
    await client.query('update postrider.lanes set careful = $1', [size * 8])
    await die(client)
    // Before the relay has heard of the pause it may look once more.
    await sleep(300)
    return (await care(client))[0] === size
  }, `it carries ${size} at a time`)
}

describe('a suspect', () => {
  it('has its turn among lanes that never rest, and they have theirs', async () => {
    const solo = new Solo()
    const never = new AbortController().signal
    let beside = 0
    let others = 0
    let over = false
    const busy = async (): Promise<void> => {
      while (!over) {
        await solo.carry(false, never, async () => {
          others++
          beside++
          await sleep(20)
          beside--
        })
      }
    }
    const lanes = [busy(), sleep(10).then(busy)]
    await sleep(30)
    for (let turn = 0; turn < 5; turn++) {
      const before = others
      const carried = solo.carry(true, never, async () => {
        expect(beside).toBe(0)
        await sleep(10)
        expect(beside).toBe(0)
        return 'carried'
      })
      expect(await Promise.race([carried, sleep(1_000, 'starved')])).toBe('carried')
      await sleep(25)
      expect(others).toBeGreaterThan(before)
    }
    over = true
    await Promise.all(lanes)
  })

  it('whose lane is given back while it waits takes nobody else’s turn', async () => {
    const solo = new Solo()
    const never = new AbortController().signal
    const released = new AbortController()
    let inside = 0
    const work = async (): Promise<void> => {
      inside++
      await sleep(50)
      inside--
    }
    const first = solo.carry(true, never, work)
    const second = solo.carry(true, released.signal, async () => undefined)
    const third = solo.carry(false, never, async () => expect(inside).toBe(0))
    released.abort()
    await second
    expect(inside).toBe(1)
    await Promise.all([first, third])
  })

  it('is not blamed for deaths that come after it was carried', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, lanes: 1, circuit: { failures: 1, openMs: 50, mostMs: 50 }, retry }])
    const id = await emit(client, 'k', 1)
    for (let death = 0; death < 8; death++) {
      const heard = sink.receipts.length
      await until(
        async () => sink.receipts.length > heard || (await client.query('select 1 from postrider.dead_letters')).rows.length > 0,
        'it was tried',
      )
      await sleep(30)
      await die(client)
    }
    down = false
    await until(
      async () => (await client.query('select state from postrider.explain($1)', [id])).rows[0]?.state !== 'retrying',
      'it is over',
    )
    expect((await client.query('select error from postrider.dead_letters')).rows).toEqual([])
    await until(() => sink.delivered.length === 1, 'it arrived')
  })

  it('is carried while its relay reads no page of another lane: by its size that one could kill too', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const [sink, other] = [new RecordingSink(), new RecordingSink('other')]
    const carried = Promise.withResolvers<Outcome>()
    sink.answer = () => carried.promise
    await using _ = run(
      db.url,
      [
        { sink, lanes: 1 },
        { sink: other, lanes: 1 },
      ],
      { slowMs: 5_000, pageMs: 5_000 },
    )
    await emit(client, 'k', 0)
    await until(() => sink.receipts.length === 1 && other.delivered.length === 1, 'both carry')
    await client.query(`update postrider.lanes set careful = 8, relay = gen_random_uuid(), leased_until = '-infinity' where sink = 'sink';
      notify postrider, 'lanes'`)
    await until(() => sink.receipts.length === 2, 'it is carried alone')
    const read: string[] = []
    const note = (message: unknown): void => void read.push((message as { sink: string }).sink)
    subscribe('postrider:claimed', note)
    try {
      await emit(client, 'k', 1)
      await sleep(500)
      expect(read).toEqual([])
      carried.resolve({ kind: 'delivered' })
      await until(() => other.delivered.length === 2, 'the other goes on')
      expect(read).toContain('other')
    } finally {
      carried.resolve({ kind: 'delivered' })
      unsubscribe('postrider:claimed', note)
    }
  })

  it('is not blamed for deaths during which it was not carried', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let hangs = true
    sink.answer = async (_, signal): Promise<Outcome> => {
      if (hangs) await sleep(1_900, undefined, { signal }).catch(() => undefined)
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }], { slowMs: 1_000 })
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 1,
      'carried',
    )
    await takeOverWithCare(client, 1)
    await emit(client, 'k', 1)
    await client.query(`select postrider.resume('sink')`)
    await until(() => sink.receipts.length === 1, 'it is carried')
    await client.query(`select postrider.pause('sink', 'x')`)
    for (let death = 0; death < 4; death++) {
      await die(client)
      const taken = async (): Promise<boolean> =>
        (await client.query('select 1 from postrider.lanes where leased_until > clock_timestamp()')).rows.length === 1
      await until(taken, 'it was taken over')
      await sleep(50)
    }
    expect((await client.query('select strikes from postrider.lanes')).rows).toEqual([{ strikes: 1 }])
    hangs = false
    await client.query(`select postrider.resume('sink')`)
    await until(() => sink.delivered.length === 1, 'it arrived')
  })
})

describe('care', () => {
  it('lasts while nothing can be carried', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, lanes: 2, circuit: { failures: 1, openMs: 1_000, mostMs: 1_000 } }])
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 5)
    await until(
      async () => (await client.query(`select 1 from postrider.circuits where state = 'open'`)).rows.length === 1,
      'it is open',
    )
    await die(client)
    await until(async () => (await care(client)).every((size) => size === 64), 'both are careful')
    // Both want to probe, again and again; only one may.
    const heard = sink.receipts.length
    await until(() => sink.receipts.length >= heard + 3, 'it was probed')
    expect(await care(client)).toEqual([64, 64])
    down = false
    await until(() => sink.delivered.length === 100, 'all arrived')
    await until(async () => (await care(client)).every((size) => size === 0), 'all is well')
  })

  it('carries nothing beside what is still in flight', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let slow = 0
    let beside = 0
    sink.answer = async ({ n }): Promise<Outcome> => {
      if (slow > 0) beside++
      if (n !== 1) return { kind: 'delivered' }
      slow++
      await sleep(800)
      slow--
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }], { slowMs: 50 })
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 1,
      'carried',
    )
    await takeOverWithCare(client, 1)
    await client.query(
      `select postrider.emit(jsonb_agg(jsonb_build_object('type', 'test.made', 'payload', jsonb_build_object('n', n)) order by n)) from generate_series(1, 30) as n`,
    )
    await client.query(`select postrider.resume('sink')`)
    await until(() => sink.delivered.length === 30, 'all arrived')
    expect(beside).toBe(0)
  })

  it('has as many in flight as a careful page holds, and a slow one holds up none of the others', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
    let inFlight = 0
    let most = 0
    sink.answer = async ({ n }): Promise<Outcome> => {
      most = Math.max(most, ++inFlight)
      await (n === 1 ? answered : sleep(5))
      inFlight--
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }], { slowMs: 20 })
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 1,
      'carried',
    )
    await takeOverWithCare(client, 8)
    await client.query(
      `select postrider.emit(jsonb_agg(jsonb_build_object('type', 'test.made', 'payload', jsonb_build_object('n', n)) order by n)) from generate_series(1, 200) as n`,
    )
    await client.query(`select postrider.resume('sink')`)
    // So many that the others cannot be guilty; the slow one may be, so it ends before the lane is carried as usual.
    await until(() => sink.delivered.length >= 64, 'others arrived')
    await sleep(200)
    expect(sink.delivered.length).toBeLessThan(64 + 8 + 1)
    expect(most).toBeLessThanOrEqual(8)
    expect(await care(client)).toEqual([8])
    answer()
    await until(() => sink.delivered.length === 200, 'all arrived')
    await until(async () => (await care(client))[0] === 0, 'all is well')
  })

  it('begins with what was in flight when the relay died', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let slow = 0
    sink.answer = async ({ n }, signal): Promise<Outcome> => {
      if (n === 1 && ++slow === 1) await sleep(1_900, undefined, { signal }).catch(() => undefined)
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, lanes: 1 }], { slowMs: 50, leaseMs: 1_000 })
    await emitRange(client, 'k', 1, 3)
    await until(
      async () => (await client.query(`select 1 from postrider.deliveries where error_code = 'slow'`)).rows.length === 1,
      'it is parked',
    )
    const died = performance.now()
    await die(client)
    await until(() => slow === 2, 'it was sent again')
    expect(performance.now() - died).toBeLessThan(1_500)
    await until(() => sink.numbers('k').includes(3), 'all arrived')
    expect([...new Set(sink.numbers('k'))]).toEqual([1, 2, 3])
  })
})
