import { testDatabase } from '@postrider/test/postgres'
import { startProxy } from '@postrider/test/proxy'
import { sql } from 'kysely'
import { expect, it } from 'vitest'
import { openDatabase, ServerLife } from '../src/database.ts'

it('one silent connection is enough to doubt the others: what follows takes new ones', async () => {
  await using db = await testDatabase()
  const { port } = new URL(db.url)
  await using way = await startProxy(Number(port))
  const answerMs = 1_000
  const database = openDatabase(db.url.replace(`:${port}/`, `:${way.port}/`), 'postrider', 'test', 4, answerMs)
  const ask = (seconds: number): Promise<unknown> => sql`select pg_sleep(${seconds})`.execute(database.db)
  try {
    await Promise.all([ask(0.2), ask(0.2), ask(0.2), ask(0.2)])
    way.forget()
    const began = performance.now()
    await expect(ask(0)).rejects.toThrow('Query read timeout')
    for (let nr = 0; nr < 4; nr++) await ask(0)
    expect(performance.now() - began).toBeLessThan(2 * answerMs)
  } finally {
    await database.close()
  }
})

it('a transaction on a silent connection costs one deadline, not another for its ROLLBACK', async () => {
  await using db = await testDatabase()
  const { port } = new URL(db.url)
  await using way = await startProxy(Number(port))
  const answerMs = 1_000
  const database = openDatabase(db.url.replace(`:${port}/`, `:${way.port}/`), 'postrider', 'test', 4, answerMs)
  try {
    const began = performance.now()
    const asking = database.db.transaction().execute(async (trx) => {
      await sql`select 1`.execute(trx)
      way.forget()
      await sql`select 1`.execute(trx)
    })
    await expect(asking).rejects.toThrow('Query read timeout')
    expect(performance.now() - began).toBeLessThan(1.8 * answerMs)
  } finally {
    await database.close()
  }
})

it('a transaction whose relay has gone without a word holds its locks for seconds, not until TCP finds out', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const { port } = new URL(db.url)
  await using way = await startProxy(Number(port))
  const database = openDatabase(db.url.replace(`:${port}/`, `:${way.port}/`), 'postrider', 'test', 4, 1_000)
  const key = 'select from postrider.meta for update'
  try {
    const asking = database.db.transaction().execute(async (trx) => {
      await sql.raw(key).execute(trx)
      way.forget()
      await sql`select 1`.execute(trx)
    })
    await expect(asking).rejects.toThrow('Query read timeout')
    await client.query(`set lock_timeout = '8s'`)
    expect((await client.query(key)).rowCount).toBe(1)
  } finally {
    await database.close()
  }
})

it('what one pool of a relay learns about the way to the server holds for the other', async () => {
  await using db = await testDatabase()
  const { port } = new URL(db.url)
  await using way = await startProxy(Number(port))
  const url = db.url.replace(`:${port}/`, `:${way.port}/`)
  const server = new ServerLife()
  const leases = openDatabase(url, 'postrider', 'leases', 1, 500, server)
  const database = openDatabase(url, 'postrider', 'test', 1, 8_000, server)
  try {
    await Promise.all([leases, database].map(({ db }) => sql`select 1`.execute(db)))
    way.forget()
    const began = performance.now()
    await expect(sql`select 1`.execute(leases.db)).rejects.toThrow('Query read timeout')
    await sql`select 1`.execute(database.db)
    expect(performance.now() - began).toBeLessThan(4_000)
  } finally {
    await Promise.all([leases.close(), database.close()])
  }
})
