import { expect, test } from 'vitest'
import { faultless, faultsOf, repeats } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { after, startReceiver } from './receiver.ts'
import { startRelay, type RelayProcess } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const total = 12

test.each([
  { which: 'attempts', slowMs: 10_000 },
  { which: 'attempts that were parked as slow', slowMs: 50 },
])('a stop waits for $which in flight, beyond the lease, and another relay does not repeat them', async ({ slowMs }) => {
  await using db = await testDatabase()
  await using receiver = await startReceiver({ answer: after(2_500) })
  const client = await db.client()
  await using writers = await startWriters(db.url, { total, keys: 200 })
  await writers.done
  await using stopped = await startRelay(db.url, receiver, { slowMs })
  await until(
    'every key has an attempt in flight',
    () => receiver.arrivals.length >= new Set(writers.committed.map(({ key }) => key)).size,
  )
  await using other = await startRelay(db.url, receiver, { slowMs })
  await stopped.stop()
  await until('the other carries every lane', () => other.lanes().length === 4)
  await until(
    'nothing is left',
    async () => (await client.query('select from postrider.pending union all select from postrider.trouble')).rowCount === 0,
  )
  await other.stop()
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(repeats(receiver.arrivals)).toBe(0)
  const { rows } = await client.query(`select distinct outcome from postrider.attempts`)
  expect(rows).toEqual([{ outcome: 'delivered' }])
})

test('attempts that a hard stop interrupts are not counted, and are made again by the next relay', async () => {
  let answers = false
  await using db = await testDatabase()
  await using receiver = await startReceiver({ answer: () => (answers ? 204 : new Promise(() => {})) })
  const client = await db.client()
  await using writers = await startWriters(db.url, { total, keys: 200 })
  await writers.done
  await using stopped = await startRelay(db.url, receiver, { slowMs: 60_000 })
  await until(
    'every key has an attempt in flight',
    () => receiver.arrivals.length >= new Set(writers.committed.map(({ key }) => key)).size,
  )
  const asked = performance.now()
  await stopped.stop('hard')
  expect(performance.now() - asked).toBeLessThan(2_000)
  expect((await client.query('select from postrider.attempts')).rowCount).toBe(0)
  expect((await client.query('select from postrider.lanes where relay is not null')).rowCount).toBe(0)

  answers = true
  await using _next = await startRelay(db.url, receiver)
  await until('everything arrived', () => receiver.distinct >= writers.committed.length)
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(receiver.taken.every(({ attempt }) => attempt === 1)).toBe(true)
})

test('a rolling restart of three relays under load repeats nothing', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver({ answer: after(2) })
  await using writers = await startWriters(db.url)
  const relays: RelayProcess[] = []
  const start = async (): Promise<void> => {
    relays.push(await startRelay(db.url, receiver))
    await until('the newcomer carries a lane', () => relays.at(-1)!.lanes().length > 0)
  }
  try {
    for (let nr = 0; nr < 3; nr++) await start()
    for (const old of relays.slice(0, 3)) {
      await old.stop()
      await start()
    }
    await writers.stop()
    await until('everything arrived', () => receiver.distinct >= writers.committed.length)
    for (const relay of relays.slice(3)) await relay.stop()
    expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
    expect(repeats(receiver.arrivals)).toBe(0)
  } finally {
    for (const relay of relays) await relay[Symbol.asyncDispose]()
  }
}, 40_000)
