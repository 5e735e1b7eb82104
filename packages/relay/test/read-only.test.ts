import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '@postrider/test/postgres'
import { expect, it } from 'vitest'
import { emit, quick, RecordingSink, run, until } from './support.ts'

it('a relay whose sessions began read-only carries on when writing is allowed again', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const setDefault = async (value: 'on' | 'off'): Promise<void> => {
    const { rows } = await client.query<{ name: string }>('select current_database() as name')
    await client.query('begin read write')
    await client.query(`alter database ${client.escapeIdentifier(rows.at(0)!.name)} set default_transaction_read_only = ${value}`)
    await client.query('commit')
  }
  const sink = new RecordingSink()
  await using running = run(db.url, [{ sink, retry: quick }])
  await until(() => running.relay.health().lanes.length === 4, 'the relay carries')
  await emit(client, 'k', 1)
  await until(() => sink.delivered.length === 1, 'the first is delivered')

  await setDefault('on')
  // Everybody has to connect anew, and may only read then.
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  )
  await emit(client, 'k', 2)
  const connected = `select from pg_stat_activity where application_name like 'postrider%' and datname = current_database()`
  await until(async () => (await client.query(connected)).rowCount! >= 2, 'it is connected again')
  await sleep(1_000) // so that it has tried to write
  await setDefault('off')
  await emit(client, 'k', 3)
  await until(() => sink.numbers('k').includes(3), 'the last is delivered', 20_000)
  expect([...new Set(sink.numbers('k'))]).toEqual([1, 2, 3])
}, 60_000)
