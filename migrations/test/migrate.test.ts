import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate, migrationPlan, migrations, migrationStatus } from '../src/index.ts'
import { describeSchema } from './describe-schema.ts'
import { type Client, emit, type Session } from './emit.ts'

/** Locks of this database; other tests have their own on the same server. */
const here = 'database = (select oid from pg_database where datname = current_database())'
const names = migrations().map(({ name }) => name)

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase({ migrated: false })
  client = await db.client()
})
afterEach(() => db[Symbol.asyncDispose]())

const recorded = async (): Promise<string[]> =>
  (await client.query<{ name: string }>('select name from postrider.migrations order by applied_at')).rows.map(({ name }) => name)

const locks = async (): Promise<number> =>
  Number((await client.query(`select count(*) as n from pg_locks where locktype = 'advisory' and ${here}`)).rows[0]?.['n'])

/** The first migrations, as an earlier release would have left them. */
async function applyFirst(count: number): Promise<void> {
  const plan = await migrationPlan(null)
  await client.query(plan.slice(0, plan.indexOf(`-- ${names[count]}\n`)))
}

describe('migrate', () => {
  test('applies every migration in order and tells each, and the second time finds nothing to do', async () => {
    const told: string[] = []
    expect(await migrationStatus(client)).toEqual(names.map((name) => ({ name, appliedAt: null })))
    expect(await migrate(client, { onApplied: (name) => told.push(name) })).toEqual(names)
    expect(told).toEqual(names)
    expect(await recorded()).toEqual(names)
    expect(await migrate(client)).toEqual([])
    expect(await migrationStatus(client)).toEqual(names.map((name) => ({ name, appliedAt: expect.any(Date) as Date })))
    expect(await locks()).toBe(0)
  })

  test('from several sessions at once applies each migration once', async () => {
    const sessions = await Promise.all([db.client(), db.client(), db.client()])
    const applied = await Promise.all(sessions.map((session) => migrate(session)))
    expect(applied.flat().toSorted()).toEqual(names)
    expect(await recorded()).toEqual(names)
    expect(await locks()).toBe(0)
  })

  test('refuses to go on when an applied migration differs from its file', async () => {
    await migrate(client)
    await client.query(`update postrider.migrations set checksum = 'other' where name = $1`, [names[1]])
    const before = await describeSchema(client, 'postrider')
    for (const work of [migrate, migrationPlan]) {
      await expect(work(client)).rejects.toMatchObject({ code: 'schema_changed', details: { path: names[1] } })
    }
    expect(await describeSchema(client, 'postrider')).toEqual(before)
    expect(await locks()).toBe(0)
  })

  test('that fails in the middle leaves whole migrations and nothing of the one that failed', async () => {
    await applyFirst(2)
    const before = await describeSchema(client, 'postrider')
    await client.query('drop schema postrider cascade')
    const failing: Session = {
      query: (text, values) => client.query(text.includes(`values ('${names[2]}'`) ? `${text}; select 1/0` : text, values),
    }
    await expect(migrate(failing)).rejects.toMatchObject({ code: '22012' })
    expect(await recorded()).toEqual(names.slice(0, 2))
    expect(await describeSchema(client, 'postrider')).toEqual(before)
    expect(await locks()).toBe(0)
    expect(await migrate(client)).toEqual(names.slice(2))
  })

  test('whose connection breaks fails with the error of the connection, and another session goes on from there', async () => {
    const broken = await db.client()
    broken.on('error', () => undefined)
    const breaking: Session = {
      query: async (text, values) => {
        if (text.includes(`values ('${names[2]}'`)) {
          await client.query('select pg_terminate_backend($1)', [(broken as Client & { processID: number }).processID])
        }
        return broken.query(text, values)
      },
    }
    await expect(migrate(breaking)).rejects.toThrow(/terminat|connection/)
    expect(await migrate(client)).toEqual(names.slice(2))
  })

  test('needs no right to create the schema where it is there', async () => {
    await client.query(`drop role if exists ${db.name}; create role ${db.name}; create schema postrider authorization ${db.name}`)
    try {
      await client.query(`set role ${db.name}`)
      expect(await migrate(client)).toEqual(names)
      await client.query('reset role')
      await client.query(`revoke create on schema postrider from ${db.name}`)
      await client.query(`set role ${db.name}`)
      expect(await migrate(client)).toEqual([])
    } finally {
      await client.query(`reset role; drop owned by ${db.name}; drop role ${db.name}`)
    }
  })
})

describe('a lock that somebody else holds', () => {
  let other: Client

  beforeEach(async () => {
    await applyFirst(names.length - 1)
    other = await db.client()
    await other.query('begin; lock table postrider.events in access exclusive mode')
  })

  test('is waited for in short tries, so that nobody queues behind the migration for long', async () => {
    const started = performance.now()
    const migrated = migrate(client, { lockTimeoutMs: 100 })
    const released = sleep(1_000).then(() => other.query('commit'))
    // Between two tries the queue is empty: whoever waits behind the holder waits for the holder alone.
    let free = 0
    const watcher = await db.client()
    while (performance.now() - started < 900) {
      if ((await watcher.query(`select from pg_locks where not granted and ${here}`)).rowCount === 0) free++
      await sleep(10)
    }
    expect(free).toBeGreaterThan(10)
    await released
    expect(await migrated).toEqual(names.slice(-1))
    expect(performance.now() - started).toBeGreaterThan(1_000)
  })

  test('beyond the deadline is migration_locked, with nothing half done and no lock kept', async () => {
    const before = await describeSchema(other, 'postrider')
    const started = performance.now()
    await expect(migrate(client, { lockTimeoutMs: 10_000, deadlineMs: 400 })).rejects.toMatchObject({
      code: 'migration_locked',
      cause: { code: '55P03' },
    })
    expect(performance.now() - started).toBeLessThan(5_000)
    expect(await locks()).toBe(0)
    await other.query('commit')
    expect(await describeSchema(client, 'postrider')).toEqual(before)
    expect(await migrate(client)).toEqual(names.slice(-1))
  })

  test('by another migration, beyond the deadline, is migration_locked too', async () => {
    await other.query(`rollback; select pg_advisory_lock(hashtextextended('postrider.migrate', 0))`)
    await expect(migrate(client, { deadlineMs: 300 })).rejects.toMatchObject({ code: 'migration_locked' })
    expect(await recorded()).toEqual(names.slice(0, -1))
  })
})

describe('the plan', () => {
  test('run by hand makes what migrate makes', async () => {
    await client.query(await migrationPlan(null, { roles: true }))
    const byHand = await describeSchema(client, 'postrider')
    await client.query('drop schema postrider cascade')
    await migrate(client, { roles: true })
    const byMigrate = await describeSchema(client, 'postrider')
    expect(byHand).toEqual(byMigrate)
    expect(byMigrate.length).toBeGreaterThan(200)
    expect(await migrate(client)).toEqual([])
  })

  test('of a database says only what is pending there, and nothing when nothing is', async () => {
    expect(await migrationPlan(client)).toBe(await migrationPlan(null))
    await applyFirst(2)
    const plan = await migrationPlan(client)
    expect([...plan.matchAll(/^-- (\d{4}_\w+)$/gm)].map(([, name]) => name)).toEqual(names.slice(2))
    await client.query(plan)
    expect(await recorded()).toEqual(names)
    expect(await migrationPlan(client)).toBe('')
  })
})

describe('another name for the schema', () => {
  const schema = 'outbox_2'

  test('holds the whole of it, and nothing lands in postrider', async () => {
    await migrate(client, { schema })
    expect((await client.query(`select to_regnamespace('postrider') as there`)).rows).toEqual([{ there: null }])
    const text = (await describeSchema(client, schema)).join('\n')
    expect(text.match(/\bpostrider\b(?!-)/g)).toBeNull()

    const listener = await db.client()
    const heard: string[] = []
    listener.on('notification', ({ channel, payload }) => heard.push(`${channel}:${payload}`))
    await listener.query(`listen ${schema}; select ${schema}.close_gate()`)
    const [id, next] = await emit(
      client,
      [
        { type: 'a', key: 'k', order: 'commit' },
        { type: 'a', key: 'k' },
      ],
      schema,
    )
    await client.query(`begin; set local ${schema}.wake = off`)
    await emit(client, { type: 'a', key: 'k' }, schema)
    await client.query('commit')
    await client.query(
      `select ${schema}.put_sink('shop', 'webhook', 1::smallint, '{a.**,a}', 'key', 'block', 'all', 'beginning')`,
    )
    await client.query(
      `insert into ${schema}.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'shop', 0, position, slot, id, key, case id when $1 then 'dead' else 'blocked' end from ${schema}.events where id in ($1, $2)`,
      [id, next],
    )
    await client.query(`select ${schema}.retry($1)`, [id])
    await client.query(`select ${schema}.discard($1, 'because')`, [id])
    expect((await client.query(`select state from ${schema}.explain($1)`, [next])).rows).toEqual([{ state: 'retrying' }])
    expect((await client.query(`select pending, retrying from ${schema}.backlog`)).rows).toEqual([
      { pending: '3', retrying: '1' },
    ])
    expect((await client.query(`select from ${schema}.pending`)).rowCount).toBe(3)
    await listener.query('select')
    expect(heard).toEqual([`${schema}:`, `${schema}:due`, `${schema}:due`])
  })

  test('does not change which headers are reserved', async () => {
    await migrate(client, { schema })
    await emit(client, { type: 'a', headers: { 'outbox_2-a': 'x' } }, schema)
    await expect(emit(client, { type: 'a', headers: { 'postrider-a': 'x' } }, schema)).rejects.toMatchObject({ code: 'PR001' })
  })

  test('lives beside the first', async () => {
    await Promise.all([migrate(client), migrate(await db.client(), { schema })])
    await emit(client, { type: 'a' })
    expect((await client.query(`select from ${schema}.events`)).rowCount).toBe(0)
  })

  test.for(['Upper', 'a-b', 'a"b', '', '1a', 'a'.repeat(42), 'user', 'order', 'pg_outbox'])(
    '"%s" is refused before anything is done',
    async (name) => {
      await expect(migrate(client, { schema: name })).rejects.toMatchObject({
        code: 'invalid_options',
        details: { path: 'schema' },
      })
      expect(
        (await client.query(`select from pg_namespace where nspname !~ '^(pg_|public$|information_schema$)'`)).rowCount,
      ).toBe(0)
    },
  )
})
