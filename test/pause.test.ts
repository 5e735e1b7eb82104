import { expect, test } from 'vitest'
import { faultless, faultsOf } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { startReceiver, type Arrival } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

test.each([
  { which: 'lane', pages: 0 },
  { which: 'lane, whose checkpoints have been pruned since,', pages: 250 },
])('a relay that was frozen beyond its lease writes nothing more to its former $which and keeps the order', async ({ pages }) => {
  let release = (): void => {}
  const thawed = new Promise<void>((resolve) => (release = resolve))
  let held: Arrival | undefined
  await using db = await testDatabase()
  // The attempt that is in flight at the freeze fails, when its relay is awake again: a lie that must not be written.
  await using receiver = await startReceiver({
    answer: async (arrival) => {
      if (arrival.n !== 5 || held !== undefined) return 204
      held = arrival
      await thawed
      return 500
    },
  })
  const client = await db.client()
  const options = { pageSize: 4, sink: { lanes: 1 } }
  await using frozen = await startRelay(db.url, receiver, options)
  await using writers = await startWriters(db.url, { keys: 3, slow: 0 })
  await until('an attempt is in flight', () => held !== undefined)
  frozen.kill('SIGSTOP')
  const frozenAt = new Date()
  await using other = await startRelay(db.url, receiver, { ...options, watch: ['postrider:settled'] })
  await until('the other has taken over', () => other.lanes().length === 1)
  await until('it has settled many pages', () => other.told('postrider:settled').length > pages)
  const attemptsBefore = await attemptsOf(frozen.id)

  release()
  frozen.kill('SIGCONT')
  await until('it has noticed', () => frozen.told('postrider:lane').some(({ message }) => message.change === 'lost'))
  await writers.stop()
  await until('everything arrived', () => receiver.distinct >= writers.committed.length)
  for (const relay of [frozen, other]) await relay.stop()

  expect(await attemptsOf(frozen.id)).toBe(attemptsBefore)
  expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)
  expect((await client.query('select from postrider.attempts where attempt > 1')).rowCount).toBe(0)
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(frozen.told('postrider:fault')).toEqual([])

  async function attemptsOf(relay: string): Promise<number> {
    const { rows } = await client.query<{ count: number }>(
      'select count(*)::int as count from postrider.attempts where relay = $1 and started_at < $2',
      [relay, frozenAt],
    )
    return rows[0]!.count
  }
})

test('a relay that was frozen beyond its lease sends nothing more of the page that it had in hand', async () => {
  let release = (): void => {}
  const thawed = new Promise<void>((resolve) => (release = resolve))
  await using db = await testDatabase()
  await using receiver = await startReceiver({
    answer: async ({ n }) => {
      if (n === 5 && receiver.arrivals.length === 5) await thawed
      return 204
    },
  })
  await using writers = await startWriters(db.url, { total: 30, keys: 1 })
  await writers.done
  const options = { pageMs: 60_000, slowMs: 60_000, sink: { lanes: 1 } }
  await using frozen = await startRelay(db.url, receiver, options)
  await until('an attempt is in flight', () => receiver.arrivals.length === 5)
  frozen.kill('SIGSTOP')
  await using other = await startRelay(db.url, receiver, options)
  await until('the other has carried everything', () => receiver.distinct === writers.committed.length)
  const arrivals = receiver.arrivals.length
  expect(arrivals).toBe(5 + writers.committed.length)

  release()
  frozen.kill('SIGCONT')
  await until('it has noticed', () => frozen.told('postrider:lane').some(({ message }) => message.change === 'lost'))
  for (const relay of [frozen, other]) await relay.stop()
  expect(receiver.arrivals.length).toBe(arrivals)
  expect(faultsOf(writers.committed, receiver.arrivals)).toEqual(faultless)
})
