import { mkdtemp, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { faultless, faultsOf, repeats } from './history.ts'
import { startPostgres, testDatabase, type PostgresVersion } from './postgres/index.ts'
import { startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const lanes = 4
const pageSize = 50

test('relays whose sessions are all terminated again and again lose nothing and keep the order', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  const client = await db.client()
  // A pool so small that it could not afford to lose a connection.
  const options = { pageSize, connections: 2, sink: { lanes } }
  await using one = await startRelay(db.url, receiver, options)
  await using other = await startRelay(db.url, receiver, options)
  await using writers = await startWriters(db.url)
  let terminated = 0
  for (const end = performance.now() + 4_000; performance.now() < end; await sleep(200)) {
    const { rowCount } = await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'postrider %'`,
    )
    terminated += rowCount ?? 0
  }
  expect(terminated).toBeGreaterThan(20)
  await writers.stop()
  await until('everything arrived', () => receiver.distinct >= writers.committed.length)
  for (const relay of [one, other]) await relay.stop()
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(receiver.complaints).toEqual([])
  for (const relay of [one, other]) expect(relay.told('postrider:fault')).toEqual([])
})

test('a database that goes down without a word and comes back costs no event and no order', async () => {
  const version: PostgresVersion = inject('postgres').version === 14 ? 14 : 18
  const dataDir = await mkdtemp(join('/tmp', 'postrider-outage-'))
  try {
    const crashing = await startPostgres({ version, dataDir })
    const client = new pg.Client(crashing.url)
    client.on('error', () => {})
    await client.connect()
    await migrate(client)
    await client.end()
    await using receiver = await startReceiver()
    await using relay = await startRelay(crashing.url, receiver, { pageSize, sink: { lanes }, watch: ['postrider:database'] })
    await using writers = await startWriters(crashing.url)
    await until('it works', () => receiver.distinct > 100)
    await crashing.stop('immediate')
    await until('the relay has noticed', () => relay.told('postrider:database').at(-1)?.message.up === false)
    await using back = await startPostgres({ version, dataDir, port: crashing.port })
    expect(back.url).toBe(crashing.url)
    const before = receiver.distinct
    await until('it works again', () => receiver.distinct > before + 100)
    await writers.stop()
    await until('everything arrived', () => receiver.distinct >= writers.committed.length)
    await relay.stop()
    expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    expect(repeats(receiver.taken)).toBeLessThanOrEqual(lanes * pageSize)
    expect(relay.told('postrider:fault')).toEqual([])
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}, 60_000)
