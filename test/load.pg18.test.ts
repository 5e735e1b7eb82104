import { expect, test } from 'vitest'
import { faultless, faultsOf, repeats } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { startReceiverProcess } from './receiver-process.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

/** Events of the load test; more take longer. */
const total = Number(process.env['POSTRIDER_LOAD_EVENTS'] ?? 100_000)
const crashes = 3
const lanes = 4
const pageSize = 500

test(`of ${total} transactions of four writers, with the relay killed ${crashes} times, nothing is lost, invented or turned round`, async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiverProcess()
  const client = await db.client()
  await using writers = await startWriters(db.url, { total, connections: 4, keys: 500, pauseMs: 0, slow: 0 })
  const start = () => startRelay(db.url, receiver, { pageSize, sink: { lanes, concurrency: 64 } })
  for (let crash = 1; crash <= crashes; crash++) {
    await using relay = await start()
    await until(`crash ${crash} is due`, async () => (await receiver.distinct()) > (0.8 * total * crash) / (crashes + 1), 60_000)
    relay.kill('SIGKILL')
    await relay.ended
  }
  await using last = await start()
  await writers.done
  await until('everything arrived', async () => (await receiver.distinct()) >= writers.committed.length, 60_000)
  await last.stop()

  const { taken, complaints } = await receiver.report()
  expect(faultsOf(writers.committed, taken)).toEqual(faultless)
  expect(complaints).toEqual([])
  expect(repeats(taken)).toBeLessThanOrEqual(crashes * lanes * pageSize)
  const { rows } = await client.query<{ count: number }>('select count(*)::int as count from postrider.events')
  expect(rows[0]!.count).toBe(writers.committed.length)
}, 150_000)
