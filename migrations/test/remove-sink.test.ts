import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { until } from '@postrider/test/until'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Client, emit } from './emit.ts'

/** Sessions that wait for an advisory lock. */
const waiting = `select from pg_locks as l join pg_database as d on d.oid = l.database
  where l.locktype = 'advisory' and not l.granted and d.datname = current_database()`
const relay = '018f3c2e-0000-7000-8000-0000000000aa'

let db: TestDatabase
let client: Client
let beside: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  beside = await db.client()
  for (const sink of ['old', 'other']) {
    await client.query(`select postrider.put_sink($1, 'webhook', 2::smallint, null, 'key', 'block', 'all', 'beginning')`, [sink])
  }
})
afterEach(() => db[Symbol.asyncDispose]())

async function remove(sink = 'old', session = client): Promise<unknown> {
  const { rows } = await session.query<{ n: number | null }>(`select postrider.remove_sink($1, 'replaced', 'ada')::int as n`, [
    sink,
  ])
  return rows.at(0)?.n
}

const countOf = async (table: string, sink: string): Promise<unknown> =>
  (await client.query<{ n: number }>(`select count(*)::int as n from postrider.${table} where sink = $1`, [sink])).rows.at(0)?.n

async function trouble(sink: string): Promise<void> {
  const [id] = await emit(client, { type: 'a', key: 'k' })
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
     select $2, 0, position, slot, id, key, 'dead' from postrider.events where id = $1`,
    [id, sink],
  )
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
     select $2, position, slot, id, 1, 'reject', now(), 1 from postrider.events where id = $1`,
    [id, sink],
  )
}

describe('a sink that is removed', () => {
  test('takes its cursor and all that waits there, leaves its attempts and the record, and touches no other', async () => {
    await trouble('old')
    await trouble('other')
    expect(await remove()).toBe(1)
    for (const table of ['lanes', 'deliveries']) {
      expect([await countOf(table, 'old'), await countOf(table, 'other')], table).toEqual([0, table === 'lanes' ? 2 : 1])
    }
    expect(await countOf('attempts', 'old')).toBe(1)
    expect((await client.query(`select name from postrider.sinks`)).rows).toEqual([{ name: 'other' }])
    expect((await client.query(`select actor, action, reason, detail from postrider.actions where sink = 'old'`)).rows).toEqual([
      { actor: 'ada', action: 'removed', reason: 'replaced', detail: { deliveries: 1 } },
    ])
    expect(await remove()).toBeNull()
  })

  test('holds the log back no more', async () => {
    await emit(client, { type: 'a' })
    await client.query(`select postrider.remove_sink('other', 'not of this test')`)
    const behind = `select from postrider.lanes_behind(postrider.current_slot())`
    expect((await client.query(behind)).rowCount).toBeGreaterThan(0)
    await remove()
    expect((await client.query(behind)).rowCount).toBe(0)
  })

  test('and put again later has fences above those of its former life: a relay of then writes nothing', async () => {
    const fence = async (): Promise<number> =>
      Number((await client.query(`select min(fence) as fence from postrider.cursors where sink = 'old'`)).rows.at(0)?.fence)
    const before = await fence()
    await remove()
    await client.query(`select postrider.put_sink('old', 'webhook', 2::smallint, null, 'key', 'block', 'all', 'now')`)
    expect(await fence()).toBeGreaterThan(before + 1)
    const stale = client.query(
      `insert into postrider.checkpoints (sink, lane, fence, done) select 'old', 0, $1, pg_current_snapshot()`,
      [before + 1],
    )
    await expect(stale).rejects.toMatchObject({ code: '23505' })
  })

  test('tells the relays', async () => {
    const listener = await db.client()
    const heard: string[] = []
    listener.on('notification', ({ payload = '' }) => heard.push(payload))
    await listener.query('listen postrider')
    await remove()
    await listener.query('select')
    expect(heard).toContain('sinks')
  })
})

describe('a sink stays', () => {
  test('while a relay has it in its configuration, and until a minute after that one was seen last', async () => {
    await client.query(`insert into postrider.relays (id, name, version, sinks) values ($1, 'host:1', '1', '{other,old}')`, [
      relay,
    ])
    await expect(remove()).rejects.toMatchObject({ code: 'PR007', message: 'relay host:1 has old in its configuration' })
    await client.query(`update postrider.relays set seen_at = clock_timestamp() - interval '61 seconds'`)
    expect(await remove()).toBe(0)
  })

  test('while it has endpoints, which are not removed by this name', async () => {
    await client.query(
      `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now', 8, null, true)`,
    )
    await client.query(
      `select from postrider.add_endpoint(sink => 'hooks', name => 'acme', url => 'https://hooks.example/', secrets => '{"current": ["env:A"]}')`,
    )
    await expect(remove('hooks')).rejects.toMatchObject({ code: 'PR007', message: 'hooks has endpoints, such as hooks/acme' })
    expect(await remove('hooks/acme')).toBeNull()
    await client.query(`select postrider.remove_endpoint('hooks/acme', 'left us')`)
    expect(await remove('hooks')).toBe(0)
  })

  test('while somebody carries it', async () => {
    await client.query(
      `update postrider.lanes set relay = $1, leased_until = clock_timestamp() + interval '1 minute' where sink = 'old' and lane = 1`,
      [relay],
    )
    await expect(remove()).rejects.toMatchObject({ code: 'PR007', message: 'old is carried still' })
  })

  test('in any but a READ COMMITTED transaction, which could not see what came meanwhile', async () => {
    await client.query('begin isolation level repeatable read')
    await expect(remove()).rejects.toMatchObject({ code: '25000' })
    await client.query('rollback')
  })

  test('while a replay writes there: it comes first, and what it wrote goes too', async () => {
    const other = await db.client()
    await other.query('begin')
    await other.query(`select postrider.lock_trouble('old', 1::smallint)`)
    let done = false
    const removing = remove().finally(() => (done = true))
    await until('it waits', async () => (await beside.query(waiting)).rowCount === 1)
    const [id] = await emit(beside, { type: 'a', key: 'k' })
    await other.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'old', 1, position, slot, id, key, 'dead' from postrider.events where id = $1`,
      [id],
    )
    expect(done).toBe(false)
    await other.query('commit')
    expect(await removing).toBe(1)
    expect(await countOf('deliveries', 'old')).toBe(0)
  })

  test('while a consumer is cut over from it, or finished with it in favour of this one', async () => {
    const { rows } = await client.query<{ id: string }>(
      `insert into postrider.cutovers (sink, types, to_sink, consumer, state, after, after_position)
       values ('old', '{a.*}', 'other', 'billing', 'switched', pg_current_snapshot(), 0) returning id`,
    )
    const { id } = rows.at(0)!
    const refused = (why: string): object => ({ code: 'PR007', message: `cutover ${id} ${why}` })
    const needed = refused('keeps events from another sink because they go to other')
    await expect(remove('old')).rejects.toMatchObject(refused('from old is not finished'))
    await expect(remove('other')).rejects.toMatchObject(needed)
    await client.query(`update postrider.cutovers set state = 'finished', ended_at = now()`)
    // What has moved stays away from the sink that it has moved from, as long as that one is there.
    await expect(remove('other')).rejects.toMatchObject(needed)
    expect(await remove('old')).toBe(0)
    expect(await remove('other')).toBe(0)
  })
})
