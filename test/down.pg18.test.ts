import { expect, test } from 'vitest'
import { faultless, faultsOf } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

/** Events of the run; more take longer. */
const total = Number(process.env['POSTRIDER_LOAD_EVENTS'] ?? 100_000)
const circuit = { failures: 10, openMs: 1_000, mostMs: 4_000 }

test(`a sink that is down for the whole of ${total} transactions costs no rows and no attempts, and is drained in order when it returns`, async () => {
  await using db = await testDatabase()
  const client = await db.client()
  let up = false
  await using receiver = await startReceiver({ answer: () => (up ? 204 : 503) })
  await using relay = await startRelay(db.url, receiver, {
    pageSize: 500,
    watch: ['postrider:attempt'],
    sink: { circuit, concurrency: 64, audit: 'all' },
  })
  await using writers = await startWriters(db.url, { total, connections: 4, keys: 500, pauseMs: 0, slow: 0 })
  await writers.done

  const { rows } = await client.query<{ waiting: number; paid: number; tried: number; state: string }>(`
    select (select count(*)::int from postrider.deliveries) as waiting, (select coalesce(sum(attempts), 0)::int from postrider.deliveries) as paid,
      (select count(*)::int from postrider.attempts) as tried, (select state from postrider.circuits) as state`)
  const { waiting, paid, tried, state } = rows[0]!
  console.log(`down: ${waiting} rows, ${paid} attempts charged, ${tried} requests in all, for ${writers.committed.length} events`)
  expect(state).not.toBe('closed')
  // None, as a rule; where the first events come one by one, those that it takes to open the circuit may pay.
  expect(waiting).toBeLessThan(circuit.failures)
  expect(paid).toBeLessThan(circuit.failures)
  // What was in flight when the circuit opened, and a probe now and then.
  expect(tried).toBeLessThan(150)

  up = true
  await until('everything arrived', () => receiver.distinct >= writers.committed.length, 120_000)
  await relay.stop()
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(receiver.taken.filter(({ attempt }) => attempt > 1).length).toBeLessThanOrEqual(paid)
  expect((await client.query('select 1 from postrider.deliveries limit 1')).rows).toEqual([])
}, 240_000)
