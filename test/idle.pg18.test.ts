import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { expect, test } from 'vitest'
import { startPostgres } from './postgres/index.ts'
import { startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'

const idleMs = 10_000
/** Statements of one turn of the chores, of which there is one in 10 s. */
const turnOfChores = 8

test('an idle relay costs less than one percent of a core, and says nothing to the database more often than it polls', async () => {
  await using server = await startPostgres({ settings: { shared_preload_libraries: 'pg_stat_statements' } })
  const client = new pg.Client(server.url)
  client.on('error', () => {}) // the server may end first
  await client.connect()
  await migrate(client)
  await client.query('create extension pg_stat_statements')
  await using receiver = await startReceiver()
  // With the defaults for leases and polls.
  await using relay = await startRelay(server.url, receiver, { leaseMs: 10_000, pollMs: 1_000 })
  await until('it carries every lane', () => relay.lanes().length === 4)
  await client.query(`select postrider.emit('{"type": "test.made", "payload": {"key": "k", "n": 1, "big": 9007199254740993}}')`)
  await until('it works', () => receiver.distinct === 1)
  await sleep(2_000)

  await client.query('select pg_stat_statements_reset()')
  const before = await relay.cpuMs()
  await sleep(idleMs)
  const used = (await relay.cpuMs()) - before
  const { rows } = await client.query<{ query: string; calls: number }>(
    `select query, calls::int from pg_stat_statements where query not like '%pg_stat_statements%' order by calls desc`,
  )
  await client.end()
  expect(rows.length).toBeGreaterThan(0)
  expect(rows[0]!.calls, rows[0]!.query).toBeLessThanOrEqual(idleMs / 1_000 + 1)
  expect(
    rows.reduce((sum, { calls }) => sum + calls, 0),
    JSON.stringify(rows, null, 1),
  ).toBeLessThanOrEqual(2 * (idleMs / 1_000) + turnOfChores)
  expect(used).toBeLessThan(idleMs / 100)
}, 60_000)
