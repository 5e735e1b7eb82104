import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Outcome } from '@postrider/relay'
import { emit, emitRange, failed, range, RecordingSink, refused, run, until } from './support.ts'

const later = { delaysMs: [60_000], jitter: 0, maxAgeMs: 600_000 }

describe('what was begun beside others that end', () => {
  let db: TestDatabase
  let client: pg.Client
  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
  })
  afterEach(() => db[Symbol.asyncDispose]())

  /** Keys of one lane of two. */
  async function keysOf(lane: number, count: number): Promise<string[]> {
    const { rows } = await client.query<{ key: string }>(
      `select 'k' || n as key from generate_series(1, 200) as n
       where postrider.lane_of(postrider.bucket_of('k' || n), 2::smallint) = $1 limit $2`,
      [lane, count],
    )
    return rows.map(({ key }) => key)
  }

  it('is not lost when a slow event arrives while it is in doubt whose failure another was', async () => {
    const sink = new RecordingSink()
    const [slow = '', failing = ''] = await keysOf(0, 2)
    sink.answer = async ({ n }, signal): Promise<Outcome> => {
      if (n === 1) await sleep(200)
      if (n === 2) return failed
      if (n >= 10) await sleep(1_500, undefined, { signal }).catch(() => undefined)
      return { kind: 'delivered' }
    }
    const first = run(db.url, [{ sink, lanes: 2, concurrency: 3 }], { slowMs: 100 })
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 2,
      'carried',
    )
    await client.query('begin')
    await emit(client, slow, 1)
    await emit(client, failing, 2)
    await emit(client, slow, 3)
    await client.query('commit')
    await sleep(50)
    // The other lane takes every slot, so that 3 has to wait for one.
    await client.query('begin')
    for (const [index, key] of (await keysOf(1, 6)).entries()) await emit(client, key, 10 + index)
    await client.query('commit')
    await until(() => sink.numbers().includes(1), 'the slow one arrived')
    await sleep(400)
    await first.stopHard()
    const after = new RecordingSink()
    await using _ = run(db.url, [{ sink: after, lanes: 2 }])
    await until(() => [...sink.numbers(), ...after.numbers()].includes(3), 'what was behind it arrived')
  })
})

describe('a destination that is back is found out', () => {
  it('though the backlog begins with events that have expired, and those go at once', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, lanes: 1, concurrency: 4, circuit: { failures: 3, openMs: 1_500, mostMs: 1_500 } }])
    for (let n = 1; n <= 20; n++) await emit(client, null, n, { expires_at: new Date(Date.now() + 800).toISOString() })
    await until(
      async () => (await client.query(`select 1 from postrider.circuits where state = 'open'`)).rows.length === 1,
      'it is open',
    )
    await emitRange(client, null, 21, 30)
    down = false
    await until(() => sink.delivered.length === 10, 'the others arrived', 5_000)
    expect(sink.numbers()).toEqual(range(21, 30))
    await until(
      async () => (await client.query(`select 1 from postrider.attempts where outcome = 'expired'`)).rows.length === 20,
      'it is recorded',
    )
  })

  it('though what comes first waits behind a dead letter, and nobody is busy for nothing', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    sink.answer = ({ n }) => (n === 1 ? refused : down ? failed : { kind: 'delivered' })
    const settings = { sink, lanes: 1, circuit: { failures: 3, openMs: 300, mostMs: 300 }, retry: later }
    {
      await using _ = run(db.url, [settings], { pageSize: 5 })
      await emit(client, 'k', 1)
      await until(async () => (await client.query('select 1 from postrider.dead_letters')).rows.length === 1, 'it is dead')
      await client.query(`select postrider.pause('sink', 'x')`)
      await sleep(200)
    }
    await client.query(`select postrider.open_circuit('sink', gen_random_uuid(), 300, 300, 'timeout', 'x', 10)`)
    await emitRange(client, 'k', 2, 20)
    await emitRange(client, 'free', 21, 30)
    await client.query(`update postrider.sinks set state = 'active'`)
    down = false
    await using _ = run(db.url, [settings], { pageSize: 5 })
    await until(() => sink.delivered.length === 10, 'the others arrived', 5_000)
    expect(sink.numbers('free')).toEqual(range(21, 30))
  })

  it('though the event that was to be the probe is not sent in the end', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    let probes = 0
    sink.answer = async (_, signal): Promise<Outcome> => {
      if (down) return failed
      if (++probes > 1) return { kind: 'delivered' }
      await sleep(1_900, undefined, { signal }).catch(() => undefined)
      return { kind: 'retry', error: { code: 'interrupted', message: 'aborted' } }
    }
    await using _ = run(db.url, [{ sink, lanes: 2, circuit: { failures: 3, openMs: 500, mostMs: 500 } }])
    for (let key = 0; key < 20; key++) await emit(client, `k${key}`, key)
    await until(
      async () => (await client.query(`select 1 from postrider.circuits where state = 'open'`)).rows.length === 1,
      'it is open',
    )
    down = false
    await until(() => probes === 1, 'it is probed')
    // The lane that probes is lost; the right to probe would be theirs for seven seconds.
    await client.query(`update postrider.lanes set relay = null, leased_until = '-infinity'; notify postrider, 'lanes'`)
    await until(() => sink.delivered.length === 20, 'all arrived', 5_000)
  })
})
