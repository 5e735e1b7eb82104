import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { startPostgres, type PostgresServer, type PostgresVersion } from './postgres/index.ts'
import { bigNumber, startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'

async function emit(url: string, from: number, to: number): Promise<string[]> {
  const client = new pg.Client(url)
  await client.connect()
  const ids: string[] = []
  for (let n = from; n <= to; n++) {
    const { rows } = await client.query<{ id: string }>('select postrider.emit($1::text::jsonb) as id', [
      `{"type": "test.made", "key": "o", "payload": {"key": "o", "n": ${n}, "big": ${bigNumber}}}`,
    ])
    ids.push(rows[0]?.id ?? '')
  }
  await client.end()
  return ids
}

// A standby that lags is promoted, or a copy some seconds old is put back: transaction ids are given out a second time,
// and what the living relay remembers of the first time must not hide what is committed in the second.
test('a database that has lost its last seconds loses no event that it still has, and keeps the order', async () => {
  const version: PostgresVersion = inject('postgres').version === 14 ? 14 : 18
  const dataDir = await mkdtemp(join('/tmp', 'postrider-failover-'))
  const older = `${dataDir}-older`
  // With owners and modes, which PostgreSQL insists on.
  const copy = async (from: string, to: string): Promise<unknown> => await promisify(execFile)('cp', ['-a', from, to])
  const start = (port?: number): Promise<PostgresServer> =>
    startPostgres({ version, dataDir, ...(port === undefined ? {} : { port }) })
  try {
    const first = await start()
    const { port, url } = first
    const client = new pg.Client(url)
    await client.connect()
    await migrate(client)
    await client.end()
    await using receiver = await startReceiver()
    const arrived = (): string[] => receiver.taken.map(({ id }) => id)
    await using relay = await startRelay(url, receiver, { leaseMs: 2_000, sink: { lanes: 1 } })
    const kept = await emit(url, 1, 5)
    await until('the first arrived', () => receiver.distinct === 5)
    await first.stop()
    await copy(dataDir, older)

    const second = await start(port)
    await emit(url, 6, 40)
    await until('those that will be lost arrived', () => receiver.distinct === 40)
    await second.stop()
    await rm(dataDir, { recursive: true })
    await copy(older, dataDir)

    const before = arrived().length
    await using third = await start(port)
    expect(third.url).toBe(url)
    const again = await emit(url, 101, 130)
    await until('all that was committed now arrived', () => again.every((id) => arrived().includes(id)))
    const sequence = arrived()
      .slice(before)
      .filter((id) => !kept.includes(id))
    expect([...new Set(sequence)]).toEqual(again)
    await relay.stop()
  } finally {
    for (const folder of [dataDir, older]) await rm(folder, { recursive: true, force: true })
  }
}, 60_000)
