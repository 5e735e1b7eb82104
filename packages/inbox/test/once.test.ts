import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createInbox, inboxTable, once, prune } from '../src/index.ts'

let db: TestDatabase
let client: pg.Client

beforeAll(async () => {
  db = await testDatabase({ migrated: false })
  client = await db.client()
  await createInbox(client)
})
afterAll(() => db[Symbol.asyncDispose]())

const code = (name: string): Error => expect.objectContaining({ code: name }) as Error

async function begun(level = 'read committed'): Promise<pg.Client> {
  const own = await db.client()
  await own.query(`begin isolation level ${level}`)
  return own
}

test('an event is new once for each consumer, and new again when the first transaction rolled back', async () => {
  const trx = await begun()
  expect(await once(trx, 'billing', 'a')).toBe(true)
  expect(await once(trx, 'billing', 'a')).toBe(false)
  expect(await once(trx, 'mail', 'a')).toBe(true)
  await trx.query('rollback')
  await trx.query('begin')
  expect(await once(trx, 'billing', 'a')).toBe(true)
  await trx.query('commit')
  await trx.query('begin')
  expect(await once(trx, 'billing', 'a')).toBe(false)
  await trx.query('rollback')
})

test('Kysely, and anything with query(text, values), can be the transaction', async () => {
  const kysely = new Kysely<object>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: db.url }) }) })
  try {
    expect(await kysely.transaction().execute((trx) => once(trx, 'kysely', 'a'))).toBe(true)
    expect(await kysely.transaction().execute((trx) => once(trx, 'kysely', 'a'))).toBe(false)
    await expect(once(kysely as never, 'kysely', 'a')).rejects.toEqual(code('not_in_transaction'))
  } finally {
    await kysely.destroy()
  }
  const trx = await begun()
  expect(await once({ query: (text, values) => trx.query(text, values) }, 'any', 'a')).toBe(true)
  await trx.query('rollback')
})

test('what would commit on its own is refused before anything is written', async () => {
  const pool = new pg.Pool({ connectionString: db.url })
  try {
    // @ts-expect-error a pool is no transaction
    await expect(once(pool, 'refused', 'a')).rejects.toEqual(code('not_in_transaction'))
    await expect(once(client, 'refused', 'a')).rejects.toEqual(code('not_in_transaction'))
    await expect(once(undefined as never, 'refused', 'a')).rejects.toEqual(code('not_in_transaction'))
  } finally {
    await pool.end()
  }
  expect((await client.query(`select from postrider_inbox where consumer = 'refused'`)).rowCount).toBe(0)
})

describe('two transactions with one event', () => {
  async function race(end: 'commit' | 'rollback', level?: string): Promise<{ waited: boolean; second: Promise<boolean> }> {
    const id = `${end}-${level ?? ''}`
    const [first, second] = [await begun(level), await begun(level)]
    expect(await once(first, 'race', id)).toBe(true)
    // Its snapshot is older than the commit of the first.
    await second.query('select 1')
    const { rows } = await second.query<{ pid: number }>('select pg_backend_pid() as pid')
    const answer = once(second, 'race', id)
    answer.catch(() => undefined)
    let waited = false
    for (let n = 0; n < 400 && !waited; n++) {
      const { rowCount } = await client.query(`select from pg_locks where pid = $1 and not granted`, [rows.at(0)!.pid])
      waited = rowCount !== 0
      if (!waited) await sleep(5)
    }
    await first.query(end)
    const ended = async (): Promise<boolean> => {
      try {
        return await answer
      } finally {
        await second.query('rollback')
      }
    }
    return { waited, second: ended() }
  }

  test('the second waits for the first, and is told no after its commit', async () => {
    const { waited, second } = await race('commit')
    expect([waited, await second]).toEqual([true, false])
  })

  test('the second waits for the first, and takes the event over after its rollback', async () => {
    const { waited, second } = await race('rollback')
    expect([waited, await second]).toEqual([true, true])
  })

  test('at repeatable read the second has to begin again', async () => {
    const { waited, second } = await race('commit', 'repeatable read')
    expect(waited).toBe(true)
    await expect(second).rejects.toEqual(code('40001'))
  })

  test('the wait ends with the lock timeout of the transaction', async () => {
    const [first, second] = [await begun(), await begun()]
    await once(first, 'race', 'busy')
    await second.query(`set local lock_timeout = '50ms'`)
    await expect(once(second, 'race', 'busy')).rejects.toEqual(code('event_busy'))
    for (const one of [first, second]) await one.query('rollback')
  })
})

test('64 transactions at once with one event: it is new to one of them', async () => {
  const pool = new pg.Pool({ connectionString: db.url, max: 24 })
  try {
    const attempt = async (): Promise<boolean> => {
      const trx = await pool.connect()
      try {
        await trx.query('begin')
        const isNew = await once(trx, 'crowd', 'a')
        await trx.query('commit')
        return isNew
      } finally {
        trx.release()
      }
    }
    const answers = await Promise.all(Array.from({ length: 64 }, attempt))
    expect(answers.filter(Boolean)).toHaveLength(1)
  } finally {
    await pool.end()
  }
})

describe('the table', () => {
  test('can be created by many at once, again, elsewhere, and by its plain SQL', async () => {
    const clients = await Promise.all(Array.from({ length: 6 }, () => db.client()))
    await client.query('create schema shop')
    await Promise.all(clients.map((one) => createInbox(one, { schema: 'shop', table: 'seen' })))
    await client.query(inboxTable({ schema: 'shop', table: 'seen' }))
    const trx = await begun()
    expect(await once(trx, 'billing', 'a', { schema: 'shop', table: 'seen' })).toBe(true)
    await trx.query('commit')
    expect((await client.query('select from shop.seen')).rowCount).toBe(1)
  })

  test('that is not there is a typed error', async () => {
    const trx = await begun()
    await expect(once(trx, 'billing', 'a', { table: 'nowhere' })).rejects.toEqual(code('inbox_missing'))
    await trx.query('rollback')
  })

  test('cannot have a name that needs quoting', () => {
    for (const table of ['Inbox', 'a b', 'a"; drop table x; --', '', 'x'.repeat(49)]) {
      expect(() => inboxTable({ table })).toThrow(code('invalid_options'))
    }
    expect(() => inboxTable({ schema: 'a.b' })).toThrow(code('invalid_options'))
  })
})

describe('prune', () => {
  const options = { table: 'pruned' }
  const fill = async (count: number, age: string): Promise<void> => {
    await client.query(
      `insert into pruned select 'c', gen_random_uuid()::text, now() - $2::interval from generate_series(1, $1::int)`,
      [count, age],
    )
  }

  test('forgets what is older, in batches, and says how many', async () => {
    await createInbox(client, options)
    await fill(250, '31 days')
    await fill(20, '29 days')
    expect(await prune(client, { ...options, olderThanDays: 30, batch: 100, maxBatches: 1 })).toBe(100)
    const pool = new pg.Pool({ connectionString: db.url })
    const both = await Promise.all([1, 2].map(() => prune(pool, { ...options, olderThanDays: 30, batch: 7 })))
    await pool.end()
    const left = Number((await client.query<{ n: string }>('select count(*) as n from pruned')).rows.at(0)!.n)
    expect([both.reduce((sum, one) => sum + one), left]).toEqual([150, 20])
    expect(await prune(client, { ...options, olderThanDays: 30 })).toBe(0)
  })

  test('looks at no more rows than it forgets', async () => {
    await fill(20_000, '1 day')
    await fill(10, '40 days')
    await client.query('analyze pruned')
    const { rows } = await client.query<Record<string, string>>(
      `explain select consumer, event_id from pruned where seen_at < now() - 30::float8 * interval '1 day' order by seen_at limit 1000 for update skip locked`,
    )
    expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toContain('Index Scan using pruned_seen_at')
  })

  test('refuses an age that would forget what still may come', async () => {
    for (const olderThanDays of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(prune(client, { ...options, olderThanDays })).rejects.toEqual(code('invalid_options'))
    }
  })
})
