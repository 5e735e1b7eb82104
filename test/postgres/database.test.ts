import { expect, test } from 'vitest'
import pg from 'pg'
import { testDatabase } from './index.ts'

test('every test database has the schema of Postrider and nobody else in it', async () => {
  await using one = await testDatabase()
  await using two = await testDatabase()
  const [first, second] = [await one.client(), await two.client()]
  await first.query('create table mine()')
  expect(await tables(first, 'public')).toEqual(['mine'])
  expect(await tables(second, 'public')).toEqual([])
  expect(await tables(second, 'postrider')).toContain('events')
})

test('a database that is not migrated is empty', async () => {
  await using db = await testDatabase({ migrated: false })
  expect(await tables(await db.client(), 'postrider')).toEqual([])
})

test('a test database runs on the version that its project names', async ({ task }) => {
  await using db = await testDatabase({ migrated: false })
  const { rows } = await (await db.client()).query<{ version: string }>(`select current_setting('server_version') as version`)
  expect(rows[0]!.version).toMatch(new RegExp(`^${db.version}\\.`))
  expect(task.file.projectName).toBe(`postgres ${db.version}`)
})

test('a test database is dropped with sessions still open and transactions still prepared', async () => {
  const survivor = await testDatabase({ migrated: false })
  const stray = new pg.Client(survivor.url)
  const ended = new Promise((resolve) => stray.on('error', resolve))
  await stray.connect()
  await stray.query('create table t()')
  await stray.query('begin')
  await stray.query('insert into t default values')
  await stray.query(`prepare transaction 'forgotten ''one'`)
  await survivor[Symbol.asyncDispose]()
  await ended
  await using other = await testDatabase({ migrated: false })
  const { rows } = await (await other.client()).query('select from pg_database where datname = $1', [survivor.name])
  expect(rows).toEqual([])
})

async function tables(client: pg.Client, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>('select tablename as name from pg_tables where schemaname = $1', [schema])
  return rows.map((row) => row.name)
}
