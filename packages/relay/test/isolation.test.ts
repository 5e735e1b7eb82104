import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import type { Outcome } from '@postrider/relay'
import { emit, emitRange, failed, quick, range, RecordingSink, refused, run, until } from './support.ts'

describe('nothing stands still', () => {
  it('when an operator leaves a transaction open that has changed dead letters of other sinks', async () => {
    await using db = await testDatabase()
    const [client, operator] = await Promise.all([db.client(), db.client()])
    const [touched, healthy] = [new RecordingSink('touched'), new RecordingSink('healthy')]
    touched.answer = ({ n }) => (n === 0 ? refused : failed)
    await using _ = run(db.url, [{ sink: touched, retry: quick }, { sink: healthy }], { connections: 4 })
    for (let key = 0; key < 20; key++) await emit(client, `k${key}`, 0)
    await until(async () => (await client.query('select 1 from postrider.dead_letters')).rows.length === 20, 'all are dead there')
    await operator.query('begin')
    await operator.query(`select postrider.discard(event_id, 'in a hurry, slowly') from postrider.dead_letters`)
    const before = healthy.delivered.length
    for (let key = 0; key < 20; key++) await emitRange(client, `other-${key}`, 1, 10)
    await until(() => healthy.delivered.length === before + 200, 'the healthy sink has all', 5_000)
    // Every lane of the other sink has met the lock by now, and more came for it.
    for (let key = 0; key < 20; key++) await emit(client, `more-${key}`, 1)
    await until(() => healthy.delivered.length === before + 220, 'and what came later', 5_000)
    await operator.query('commit')
  })

  it('when relays have different sinks: each lane is carried by one that has its sink', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const [a, b] = [new RecordingSink('a'), new RecordingSink('b')]
    await using first = run(db.url, [{ sink: a }])
    await until(() => first.relay.health().lanes.length === 4, 'the first has all lanes of a')
    await using second = run(db.url, [{ sink: b }])
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 5)
    await until(() => a.delivered.length === 100 && b.delivered.length === 100, 'both sinks have all')
    expect(second.relay.health().lanes.length).toBe(4)
  })

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['an unknown word', { kind: 'maybe' }],
    ['a BigInt in its detail', { ...failed, detail: { n: 1n } }],
    ['a name in its detail that no database holds', { ...failed, detail: { 'a\0b': 1, '\ud800': 2 } }],
    [
      'a detail that holds itself',
      {
        ...failed,
        detail: Object.assign(
          {},
          {
            get self() {
              return this
            },
          },
        ),
      },
    ],
    ['half a status', { ...failed, status: 200.5 }],
    ['no number', { ...failed, afterMs: Number.NaN }],
    ['a refusal without a reason', { kind: 'reject' }],
    ['a code of its own', { kind: 'retry', error: { code: 'mine', message: 'a\0b' } }],
  ])('when a sink answers with %s', async (_name, answer) => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ n, attempt }) => (n === 1 && attempt === 1 ? (answer as Outcome) : { kind: 'delivered' })
    await using _ = run(db.url, [{ sink, retry: quick, onDead: 'skip' }])
    await emitRange(client, 'o', 1, 3)
    await until(() => sink.numbers('o').includes(3), 'the lane went on')
    const { rows } = await client.query('select count(*)::int as count from postrider.attempts')
    await until(
      async () => (await client.query('select count(*)::int as count from postrider.attempts')).rows[0].count >= 3,
      `attempts are recorded, of which ${rows[0].count}`,
    )
  })
})

describe('a stop', () => {
  it('without a crash repeats nothing, also when a throttled sink has left gaps in a page', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    sink.answer = ({ n, key }) =>
      key === 'x' && n === 1
        ? { kind: 'throttled', afterMs: 60_000, error: { code: 'throttled', message: '429' } }
        : { kind: 'delivered' }
    const first = run(db.url, [{ sink, lanes: 1, concurrency: 3 }], { pageMs: 100, slowMs: 100 })
    await until(() => first.relay.health().lanes.length === 1, 'the lane is carried')
    await client.query('begin')
    await emitRange(client, 'x', 1, 2)
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 2)
    await client.query('commit')
    await until(() => sink.receipts.some(({ key, n }) => key === 'x' && n === 1), 'the sink is throttled')
    await new Promise((resolve) => setTimeout(resolve, 400))
    await first.stop()
    sink.answer = () => ({ kind: 'delivered' })
    await client.query(`update postrider.deliveries set available_at = now() where state = 'retrying'`)
    await client.query('update postrider.circuits set quiet_until = null')
    await using _ = run(db.url, [{ sink, lanes: 1 }])
    await until(() => sink.delivered.length >= 42, 'all arrived')
    for (let key = 0; key < 20; key++) expect(sink.numbers(`k${key}`)).toEqual(range(1, 2))
    expect(sink.numbers('x')).toEqual([1, 2])
    expect(sink.delivered.length).toBe(42)
  })
})
