import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import { emit, emitRange, failed, range, RecordingSink, run, until } from './support.ts'

describe('a schedule', () => {
  it('is honoured to the second while the sink is busy with other things', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const lateness: number[] = []
    const sink = new RecordingSink()
    const dueAt = new Map<number, number>()
    sink.answer = async ({ n }) => {
      const due = dueAt.get(n)
      if (due !== undefined) lateness.push(Date.now() - due)
      await sleep(2)
      return { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink, concurrency: 8 }])
    const begun = Date.now()
    const scheduled = range(1, 400).map((n) => {
      const due = begun + 1_000 + n * 5
      dueAt.set(n, due)
      return { type: 'test.made', payload: { n }, deliver_at: new Date(due).toISOString() }
    })
    await client.query('select count(*) from postrider.emit($1::text::jsonb)', [JSON.stringify(scheduled)])
    // More than the sink can take until they are due.
    for (let batch = 0; batch < 8; batch++) await emitRange(client, null, 10_000 + batch * 1_000, 10_999 + batch * 1_000)
    await until(() => lateness.length === 400, 'all arrived', 20_000)
    expect(Math.min(...lateness)).toBeGreaterThanOrEqual(-2)
    expect(Math.max(...lateness)).toBeLessThan(1_500)
    const sorted = lateness.toSorted((a, b) => a - b)
    expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(1_000)
  })

  it('takes its place in the order of the key when it is due', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let mended = false
    sink.answer = ({ n }) => (n === 2 && !mended ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: { delaysMs: Array<number>(200).fill(50), jitter: 0, maxAgeMs: 60_000 } }])
    await emit(client, 'o', 1, { deliver_at: new Date(Date.now() + 700).toISOString() })
    await emit(client, 'o', 2)
    await emit(client, 'o', 3)
    // 1 comes due while 2 fails and 3 waits behind it: it stands before both, and waits for neither.
    await until(() => sink.delivered.length === 1, 'it is due')
    mended = true
    await until(() => sink.delivered.length === 3, 'all arrived')
    expect(sink.numbers('o')).toEqual([1, 2, 3])
  })
})

describe('an event that expires', () => {
  const soon = (ms: number): string => new Date(Date.now() + ms).toISOString()

  it('while its sink is paused is not sent afterwards, and says why; its key goes on', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    await using running = run(db.url, [{ sink, audit: 'none' }])
    await until(() => running.relay.health().listener === 'listening', 'it hears')
    await client.query(`select postrider.pause('sink', 'x')`)
    await sleep(400)
    const id = await emit(client, 'o', 1, { expires_at: soon(300) })
    await emit(client, 'o', 2, { expires_at: soon(60_000) })
    await emit(client, 'o', 3)
    await sleep(400)
    await client.query(`select postrider.resume('sink')`)
    await until(() => sink.delivered.length === 2, 'the others arrived')
    expect(sink.numbers('o')).toEqual([2, 3])
    const explained = await client.query('select state, reason from postrider.explain($1)', [id])
    expect(explained.rows[0]).toMatchObject({ state: 'expired', reason: expect.stringContaining('expired') })
  })

  it('while it is retried is given up at its time, not at its next attempt, and lets its key go', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ n }) => (n === 1 ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: { delaysMs: [60_000], jitter: 0, maxAgeMs: 600_000 } }])
    const id = await emit(client, 'o', 1, { expires_at: soon(1_200) })
    const other = await emit(client, 'o', 2)
    await until(async () => (await client.query('select 1 from postrider.deliveries')).rows.length === 2, 'the second waits')
    await until(() => sink.delivered.length === 1, 'the second went', 5_000)
    expect(sink.delivered[0]?.id).toBe(other)
    await until(async () => (await client.query('select 1 from postrider.deliveries')).rows.length === 0, 'no row is left')
    const { rows } = await client.query('select state, attempts from postrider.explain($1)', [id])
    expect(rows[0]).toMatchObject({ state: 'expired', attempts: 1 })
  })

  it('while it waits behind its key never goes', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let mended = false
    sink.answer = ({ n }) => (n === 1 && !mended ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: { delaysMs: Array<number>(100).fill(100), jitter: 0, maxAgeMs: 600_000 } }])
    await emit(client, 'o', 1)
    await emit(client, 'o', 2, { expires_at: soon(500) })
    await emit(client, 'o', 3)
    await sleep(700)
    mended = true
    await until(() => sink.delivered.length === 2, 'the others arrived')
    expect(sink.numbers('o')).toEqual([1, 3])
  })
})

describe('an event that cannot be delivered', () => {
  it('is skipped with a record where the sink says so, and is no dead letter', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ n }) =>
      n === 1 ? { kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' } } : { kind: 'delivered' }
    await using _ = run(db.url, [{ sink, onDead: 'skip', audit: 'none' }])
    const id = await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 5)
    await until(() => sink.delivered.length === 4, 'the others arrived')
    await until(async () => (await client.query('select 1 from postrider.attempts')).rows.length > 0, 'it is recorded')
    expect((await client.query('select 1 from postrider.deliveries')).rows).toEqual([])
    const { rows } = await client.query('select state, reason from postrider.explain($1)', [id])
    expect(rows[0]).toMatchObject({ state: 'discarded', reason: expect.stringContaining('answered 413') })
  })

  it('is parked where the sink says so: its key goes on, and it can be sent again', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let mended = false
    sink.answer = ({ n }) =>
      n === 1 && !mended ? { kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' } } : { kind: 'delivered' }
    await using _ = run(db.url, [{ sink, onDead: 'park' }])
    const id = await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 5)
    await until(() => sink.delivered.length === 4, 'the others arrived')
    await until(async () => (await client.query('select 1 from postrider.dead_letters')).rows.length === 1, 'it is a dead letter')
    expect((await client.query('select state, parked from postrider.deliveries')).rows).toEqual([{ state: 'dead', parked: true }])
    mended = true
    await client.query('select postrider.retry($1)', [id])
    await until(() => sink.delivered.length === 5, 'it arrived')
    expect(sink.numbers('o')).toEqual([2, 3, 4, 5, 1])
  })

  it('blocks its key until an operator lets the others pass; then it is still there', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ n }) =>
      n === 1 ? { kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' } } : { kind: 'delivered' }
    await using _ = run(db.url, [{ sink }])
    await emit(client, 'o', 1)
    await emitRange(client, 'o', 2, 200)
    await until(async () => (await client.query(`select 1 from postrider.dead_letters`)).rows.length === 1, 'it is dead')
    await sleep(200)
    expect(sink.numbers('o')).toEqual([])
    await client.query(`select postrider.release_key('sink', 'o', 'the first is not needed', 'ann')`)
    await until(() => sink.delivered.length === 199, 'the others arrived')
    expect(sink.numbers('o')).toEqual(range(2, 200))
    expect((await client.query(`select 1 from postrider.dead_letters`)).rows.length).toBe(1)
    expect((await client.query(`select actor, action, reason from postrider.actions`)).rows).toEqual([
      { actor: 'ann', action: 'released', reason: 'the first is not needed' },
    ])
  })
})
