import pg from 'pg'
import { startPostgres } from '@postrider/test/postgres'
import { expect, test } from 'vitest'
import { standardThresholds } from '../src/doctor/check.ts'
import { notifyQueue } from '../src/doctor/notify.ts'
import { connections, durability } from '../src/doctor/server.ts'
import { examine } from '../src/doctor/examine.ts'

test('a server that is careless, nearly full, and has a listener that does not listen is told of', async () => {
  await using server = await startPostgres({
    settings: { max_notify_queue_pages: 64, max_connections: 20, synchronous_commit: false },
  })
  const clients: pg.Client[] = []
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: server.url })
    client.on('error', () => undefined)
    await client.connect()
    clients.push(client)
    return client
  }
  const troubles = async (): Promise<unknown> =>
    (
      await examine(
        { database: { url: server.url, directUrl: false, connections: 2 }, schema: 'postrider' },
        [durability, connections, notifyQueue],
        standardThresholds,
      )
    ).map(({ name, state, message }) => ({ name, state, message }))
  try {
    const deaf = await connect()
    await deaf.query('listen x')
    await deaf.query('begin')
    const sender = await connect()
    const fill = (pages: number): Promise<unknown> =>
      sender.query(`select pg_notify('x', n || repeat('x', 7900)) from generate_series(1, ${pages}) as n`)
    const careless = {
      name: 'durability',
      state: 'warn',
      message: expect.stringMatching(/^fsync, full_page_writes, synchronous_commit off/) as string,
    }
    expect(await troubles()).toEqual([
      careless,
      { name: 'connections', state: 'ok', message: '3 of 17 connections are in use' },
      { name: 'notify queue', state: 'ok', message: 'the queue of notifications is 0 % full' },
    ])
    await fill(16)
    for (let n = 0; n < 12; n++) await connect()
    expect(await troubles()).toMatchObject([
      careless,
      { state: 'warn', message: '15 of 17 connections are in use' },
      { state: 'warn', message: expect.stringMatching(/is 2\d % full$/) as string },
    ])
    await fill(24)
    for (let n = 0; n < 2; n++) await connect()
    expect(await troubles()).toMatchObject([
      careless,
      { state: 'fail', message: '17 of 17 connections are in use' },
      {
        state: 'fail',
        message: expect.stringMatching(/is 6\d % full; when it is full, every transaction that notifies fails$/) as string,
      },
    ])
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
})
