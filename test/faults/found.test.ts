/** What runs of faults have found, each as small as it can be shown. */
import { expect, test } from 'vitest'
import { faultless, faultsOf, repeats } from '../history.ts'
import { testDatabase } from '../postgres/index.ts'
import { startReceiver } from '../receiver.ts'
import { startRelay } from '../relay-process.ts'
import { until } from '../until.ts'
import { startWriters } from '../writers.ts'

test('a relay whose sessions began while the database took no writes goes on when it does again', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  const client = await db.client()
  await using relay = await startRelay(db.url, receiver, { sink: { lanes: 1 } })
  await using writers = await startWriters(db.url, { total: 20, slow: 0 })
  await writers.done
  await until('the first arrived', () => receiver.distinct === writers.committed.length)

  // As hosts do when a disk is nearly full, or before a change of primaries; sessions keep what they began with.
  await client.query(`alter database ${db.name} set default_transaction_read_only = on`)
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'postrider %'`,
  )
  await until('the relay is back', async () => {
    const { rowCount } = await client.query(
      `select from pg_stat_activity where datname = current_database() and application_name ~ '^postrider .* (start|leases)$'`,
    )
    return (rowCount ?? 0) > 0
  })
  await client.query(`alter database ${db.name} reset default_transaction_read_only`)

  await using more = await startWriters(db.url, { total: 20, slow: 0 })
  await more.done
  const all = [...writers.committed, ...more.committed]
  await until('the rest arrived', () => receiver.distinct === all.length, 10_000)
  expect(faultsOf(all, receiver.taken)).toEqual(faultless)
  await relay.stop()
}, 40_000)

test('a page that is carried with care, after a relay has died, is no larger than pages are', async () => {
  const pageSize = 5
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  await using writers = await startWriters(db.url, { total: 200, keys: 50, slow: 0, pauseMs: 0 })
  await writers.done
  const options = { pageSize, leaseMs: 1_000, sink: { lanes: 1 } }
  // The second one takes over from the first, and dies before it has settled anything.
  for (let nr = 0; nr < 2; nr++) {
    await using victim = await startRelay(db.url, receiver, { ...options, dieAt: { channel: 'postrider:settling', nth: 1 } })
    await victim.ended
  }
  await using relay = await startRelay(db.url, receiver, { ...options, watch: ['postrider:claimed'] })
  await until('everything arrived', () => receiver.distinct === writers.committed.length)
  const largest = Math.max(...relay.told('postrider:claimed').map(({ message }) => message.events))
  expect({ largest, repeats: repeats(receiver.taken) }).toEqual({ largest: pageSize, repeats: 2 * pageSize })
  await relay.stop()
}, 40_000)
