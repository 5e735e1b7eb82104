import { expect, test } from 'vitest'
import { testDatabase } from './postgres/index.ts'
import { bigNumber, startReceiver } from './receiver.ts'
import { startRelay, type RelayProcess } from './relay-process.ts'
import { until } from './until.ts'

/** Relays that are started again whenever they die, as an orchestrator does; counts the deaths. */
async function keepAlive(start: () => Promise<RelayProcess>): Promise<AsyncDisposable & { readonly deaths: number }> {
  let deaths = 0
  let over = false
  let current: RelayProcess | undefined
  const loop = (async () => {
    while (!over && deaths < 30) {
      const relay = await start().catch(() => undefined)
      if (relay === undefined) {
        deaths++ // it died before it could say that it runs
        continue
      }
      current = relay
      await relay.ended
      if (!over) deaths++
    }
  })()
  return {
    get deaths() {
      return deaths
    },
    async [Symbol.asyncDispose]() {
      over = true
      await current?.stop()
      await loop
    },
  }
}

const emit = `
  select postrider.emit(jsonb_agg(jsonb_build_object('type', case when n = $2 and key = 7 then 'test.poison' else 'test.made' end,
    'key', 'k' || key, 'payload', jsonb_build_object('key', 'k' || key, 'n', n, 'big', ${bigNumber}) ) order by n, key))
  from generate_series(1, $1::int) as n cross join generate_series(1, 20) as key`

test('an event that kills every relay that carries it is found, and parked dead, by itself; all the others arrive in order', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await using receiver = await startReceiver()
  const { rows } = await client.query<{ emit: string }>(emit, [30, 11])
  expect(rows).toHaveLength(600)
  {
    await using relays = await keepAlive(() =>
      startRelay(db.url, receiver, { leaseMs: 1_000, pageSize: 100, poison: 'test.poison', sink: { lanes: 2 } }),
    )
    await until(
      'the poison is dead',
      async () => (await client.query('select 1 from postrider.dead_letters')).rows.length === 1,
      60_000,
    )
    // The other 20 of its key wait behind it, as the sink demands.
    await until('the others arrived', () => receiver.distinct >= 600 - 20, 30_000)
    const { rows: dead } = await client.query(`select type, key, error_code, error from postrider.dead_letters`)
    expect(dead).toEqual([
      { type: 'test.poison', key: 'k7', error_code: 'poison', error: '2 relays died while they carried nothing but this event' },
    ])
    // 100, 64 and 8 at once, then alone, twice; a death may come in the middle of a start.
    expect(relays.deaths).toBeGreaterThanOrEqual(4)
    expect(relays.deaths).toBeLessThanOrEqual(10)
    await client.query(`select postrider.release_key('hook', 'k7', 'the poison can wait')`)
    await until('those behind it arrived', () => receiver.distinct >= 599, 20_000)
    await until('nothing is carried with care any more', async () => {
      const { rows: lanes } = await client.query('select 1 from postrider.lanes where careful > 0 or suspect is not null')
      return lanes.length === 0
    })
  }
  for (let key = 1; key <= 20; key++) {
    const seen = [...new Set(receiver.taken.filter((arrival) => arrival.key === `k${key}`).map(({ n }) => n))]
    expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index + 1).filter((n) => key !== 7 || n !== 11))
  }
  expect(receiver.complaints).toEqual([])
}, 120_000)

test('a lane whose relay died of something else is carried as usual again soon, and no event is blamed', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await using receiver = await startReceiver()
  for (let death = 0; death < 4; death++) {
    await client.query(emit, [5, 99])
    await using victim = await startRelay(db.url, receiver, {
      leaseMs: 1_000,
      sink: { lanes: 2 },
      dieAt: { channel: 'postrider:attempt', nth: 3 },
    })
    await victim.ended
    expect(victim.end?.signal).toBe('SIGKILL')
  }
  await using _ = await startRelay(db.url, receiver, { leaseMs: 1_000, sink: { lanes: 2 } })
  await until('all arrived', () => receiver.distinct >= 400, 30_000)
  await until('nothing is carried with care any more', async () => {
    const { rows: lanes } = await client.query('select 1 from postrider.lanes where careful > 0 or suspect is not null')
    return lanes.length === 0
  })
  expect((await client.query('select 1 from postrider.dead_letters')).rows).toEqual([])
}, 60_000)
