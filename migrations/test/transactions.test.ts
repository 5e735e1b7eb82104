import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit, stored } from './emit.ts'

let db: TestDatabase
let one: Client
let two: Client

beforeEach(async () => {
  db = await testDatabase()
  one = await db.client()
  two = await db.client()
})
afterEach(() => db[Symbol.asyncDispose]())

const count = async (): Promise<number> => (await one.query('select from postrider.events')).rowCount ?? 0

/** True when the work is still waiting for a lock that another session holds. */
async function waits(client: Client, work: Promise<unknown>): Promise<boolean> {
  const { processID } = client as Client & { processID: number }
  const watcher = await db.client()
  let ended = false
  const end = work.then(
    () => (ended = true),
    () => (ended = true),
  )
  try {
    while (!ended) {
      const { rowCount } = await watcher.query('select from pg_locks where pid = $1 and not granted', [processID])
      if (rowCount === 1) return true
      await Promise.race([end, sleep(5)])
    }
    return false
  } finally {
    await watcher.end()
  }
}

describe('order: commit', () => {
  const event = (payload: string): object => ({ type: 'a', key: 'k', order: 'commit', payload })

  test.for([
    ['one event', (payload: string): unknown => event(payload)],
    ['several events', (payload: string): unknown => [event(payload), { type: 'a', key: 'other' }]],
  ] as const)('makes a second writer of the key wait until the first one ends: %s', async ([, call]) => {
    await one.query('begin')
    await emit(one, call('first'))
    await two.query('begin')
    const second = emit(two, call('second'))
    expect(await waits(two, second)).toBe(true)
    await one.query('commit')
    await second
    await two.query('commit')
    const { rows } = await one.query(`select payload from postrider.events where key = 'k' order by position`)
    expect(rows).toEqual([{ payload: 'first' }, { payload: 'second' }])
  })

  test('makes nobody wait who writes another key, or asks for no such order', async () => {
    await one.query('begin')
    await emit(one, event('first'))
    await emit(two, { type: 'a', key: 'other', order: 'commit' })
    await emit(two, { type: 'a', key: 'k' })
    await one.query('commit')
    expect(await count()).toBe(3)
  })

  test('locks several keys in one order for all, so that two calls do not block each other for ever', async () => {
    const keys = Array.from({ length: 20 }, (_, n) => `k${n}`)
    const call = (session: Client, order: readonly string[]): Promise<unknown> =>
      emit(
        session,
        order.map((key) => ({ type: 'a', key, order: 'commit' })),
      )
    for (let n = 0; n < 10; n++) await Promise.all([call(one, keys), call(two, keys.toReversed())])
    expect(await count()).toBe(400)
  })
})

describe('two-phase commit', () => {
  test('works with postrider.wake = off, also while a relay sleeps, and keeps no gate open', async () => {
    await two.query(`select postrider.close_gate()`)
    await one.query('begin')
    await one.query('set local postrider.wake = off')
    const ids = await emit(one, [{ type: 'a' }, { type: 'b' }])
    await one.query(`prepare transaction 'writes'`)
    expect(await count()).toBe(0)
    const { rows } = await one.query(
      `select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
    )
    expect(rows).toHaveLength(8) // of the relay that sleeps
    await one.query(`commit prepared 'writes'`)
    expect(await stored(one, ids)).toHaveLength(2)
  })

  test('without it, PREPARE fails while a relay sleeps, because a notification is pending', async () => {
    await two.query(`select postrider.close_gate()`)
    await one.query('begin')
    await emit(one, { type: 'a' })
    await expect(one.query(`prepare transaction 'writes'`)).rejects.toMatchObject({ code: '0A000' })
    await one.query('rollback')
    await two.query('select pg_advisory_unlock_all()')

    await one.query('begin')
    await emit(one, { type: 'a' })
    await one.query(`prepare transaction 'writes'`)
    await one.query(`commit prepared 'writes'`)
    expect(await count()).toBe(1)
  })
})

describe('the gate', () => {
  const close = `select postrider.close_gate() as gate`

  test('cannot be closed between an insert and its commit', async () => {
    await one.query('begin')
    await emit(one, { type: 'a' })
    expect((await two.query(close)).rows).toEqual([{ gate: 'open' }])
    await one.query('commit')
    expect((await two.query(close)).rows).toEqual([{ gate: 'ours' }])
  })

  test('when closed, a commit notifies the schema, of a single event its bucket; when open, it does not; with wake off, never', async () => {
    const heard: string[] = []
    two.on('notification', ({ channel, payload }) => heard.push(`${channel}:${payload}`))
    await two.query('listen postrider')
    await emit(one, { type: 'a' })
    await two.query(close)
    await one.query('begin; set local postrider.wake = off')
    await emit(one, { type: 'a' })
    await one.query('commit')
    await two.query('select')
    expect(heard).toEqual([])
    await emit(one, [{ type: 'a' }, { type: 'a' }])
    await emit(one, { type: 'a', key: 'k' })
    await emit(one, { type: 'a', key: 'k', tenant: 't' })
    await two.query('select')
    const { rows } = await one.query<{ bucket: number }>(`select postrider.bucket_of('k') as bucket`)
    expect(heard).toEqual(['postrider:', `postrider:${rows[0]?.bucket}`, `postrider:${rows[0]?.bucket}`])
  })
})

describe('what is rolled back leaves nothing', () => {
  test('a transaction', async () => {
    await one.query('begin')
    await emit(one, [{ type: 'a' }, { type: 'b' }])
    await one.query('rollback')
    expect(await count()).toBe(0)
  })

  test('a savepoint, and only what came after it', async () => {
    await one.query('begin')
    const [before] = await emit(one, { type: 'a' })
    await one.query('savepoint s')
    await emit(one, { type: 'b' })
    await one.query('rollback to s')
    const [after] = await emit(one, { type: 'c' })
    await one.query('commit')
    expect(await count()).toBe(2)
    expect((await stored(one, [before ?? '', after ?? ''])).map(({ type }) => type)).toEqual(['a', 'c'])
  })

  test('a refused call, and a caller who goes on from a savepoint before it', async () => {
    await one.query('begin')
    await emit(one, { type: 'a' })
    await one.query('savepoint s')
    await expect(emit(one, [{ type: 'b' }, { type: '' }])).rejects.toMatchObject({ code: 'PR001' })
    await one.query('rollback to s')
    await one.query('commit')
    expect(await count()).toBe(1)
  })
})
