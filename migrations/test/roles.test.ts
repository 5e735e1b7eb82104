import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let owner: Client
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  owner = await db.client()
  await migrate(owner, { roles: true })
  client = await db.client()
  await owner.query(`select postrider.put_sink('shop', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'beginning')`)
  await emit(owner, [
    { type: 'a', key: 'k' },
    { type: 'a', key: 'k' },
  ])
})
afterAll(() => db[Symbol.asyncDispose]())

const as = (role: string): Promise<unknown> => client.query(`set role ${role}`)

/** What a role may do, as `privilege object`. */
async function privileges(role: string): Promise<string[]> {
  const { rows } = await owner.query<{ may: string }>(
    `select privilege || ' ' || c.relname as may
     from pg_class as c cross join unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) as privilege
     where c.relnamespace = 'postrider'::regnamespace and c.relkind in ('r', 'p', 'v') and has_table_privilege($1, c.oid, privilege)
     union all
     select privilege || ' ' || c.relname
     from pg_class as c cross join unnest('{SELECT,USAGE,UPDATE}'::text[]) as privilege
     where c.relnamespace = 'postrider'::regnamespace and c.relkind = 'S' and has_sequence_privilege($1, c.oid, privilege)
     union all
     select 'EXECUTE ' || p.proname from pg_proc as p
     where p.pronamespace = 'postrider'::regnamespace and has_function_privilege($1, p.oid, 'EXECUTE')
     union all
     select 'CREATE schema' where has_schema_privilege($1, 'postrider', 'CREATE')
     order by 1`,
    [role],
  )
  return rows.map(({ may }) => may)
}

const denied = { code: '42501' }

test('nothing of the schema is for everybody', async () => {
  await owner.query('drop role if exists postrider_test_nobody; create role postrider_test_nobody')
  expect(await privileges('postrider_test_nobody')).toEqual([])
  await owner.query('drop role postrider_test_nobody')
})

describe('a writer', () => {
  test('can emit, and nothing else', async () => {
    expect(await privileges('postrider_writer')).toEqual(['EXECUTE emit'])
    await as('postrider_writer')
    expect(
      await emit(client, { type: 'a', key: 'k', headers: { a: 'b' }, time: '2026-01-02T03:04:05Z', order: 'commit' }),
    ).toHaveLength(1)
    expect(await emit(client, [{ type: 'a', payload_base64: 'AA==' }, { type: 'b' }])).toHaveLength(2)
    for (const statement of [
      'select from postrider.events',
      'select from postrider.pending',
      `insert into postrider.events (bucket, type, source, content_type) values (0, 'a', 's', 'a/b')`,
      'delete from postrider.events',
      'truncate postrider.events',
      'select postrider.uuidv7()',
      `select postrider.explain('018f3c2e-1111-7000-8000-00000000abcd')`,
      `select postrider.put_sink('s', 'webhook', 1::smallint, null, 'key', 'block', 'all')`,
      'create table postrider.mine ()',
    ]) {
      await expect(client.query(statement), statement).rejects.toMatchObject(denied)
    }
  })

  test('cannot put functions of its own under those that emit calls', async () => {
    await owner.query('create schema hostile; grant usage, create on schema hostile to postrider_writer')
    await as('postrider_writer')
    await client.query(
      `create function hostile.jsonb_typeof(jsonb) returns text language sql as $$ select 'hostile' $$;
       create function pg_temp.jsonb_typeof(jsonb) returns text language sql as $$ select 'hostile' $$;
       set search_path = hostile, pg_temp, pg_catalog`,
    )
    expect(await emit(client, { type: 'a' })).toHaveLength(1)
    await client.query('reset search_path')
  })
})

describe('a viewer', () => {
  test('can read every table and view but where endpoints send, and explain', async () => {
    await as('postrider_viewer')
    await expect(client.query('select from postrider.endpoints')).rejects.toMatchObject(denied)
    const { rows } = await owner.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'postrider'::regnamespace and relkind in ('r', 'p', 'v') and relname <> 'endpoints'`,
    )
    expect(rows.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['events', 'pending', 'backlog', 'trouble', 'dead_letters', 'recent_attempts']),
    )
    for (const { name } of rows) await client.query(`select * from postrider.${name} limit 1`)
    const {
      rows: [event],
    } = await client.query<{ id: string }>('select id from postrider.events limit 1')
    expect((await client.query('select state from postrider.explain($1)', [event?.id])).rows).toEqual([{ state: 'pending' }])
  })

  test('can write nothing, and call nothing that writes', async () => {
    const may = await privileges('postrider_viewer')
    expect(may.filter((one) => !/^(SELECT|EXECUTE) /.test(one))).toEqual([])
    // What it calls has to be allowed too, so it is enough to look at what each function does itself.
    const { rows } = await owner.query(
      `select proname from pg_proc where pronamespace = 'postrider'::regnamespace and has_function_privilege('postrider_viewer', oid, 'EXECUTE')
         and ((prosecdef and provolatile = 'v') or pg_get_functiondef(oid) ~* '\\m(insert into|update postrider|delete from|truncate|notify)\\M')`,
    )
    expect(rows).toEqual([])
    expect(may).toContain('EXECUTE explain')
    await as('postrider_viewer')
    await expect(emit(client, { type: 'a' })).rejects.toMatchObject(denied)
    await expect(client.query(`update postrider.sinks set state = 'paused'`)).rejects.toMatchObject(denied)
  })
})

describe('a relay', () => {
  const relay = '018f3c2e-0000-7000-8000-0000000000aa'

  test('can do all that it does', async () => {
    await as('postrider_relay')
    const run = (text: string, values: unknown[] = []): Promise<{ rows: Record<string, unknown>[] }> => client.query(text, values)
    // start
    await run(`select pg_is_in_recovery(), to_regclass('postrider.migrations'), name from postrider.migrations`)
    expect(
      (await run('select m.system_identifier = c.system_identifier as same from postrider.meta as m, pg_control_system() as c'))
        .rows,
    ).toEqual([{ same: true }])
    expect(
      (
        await run(
          `select s.cache_size::int as cache from pg_sequences as s
         where format('%I.%I', s.schemaname, s.sequencename)::regclass = pg_get_serial_sequence('postrider.events', 'position')::regclass`,
        )
      ).rows,
    ).toEqual([{ cache: 1 }])
    for (const onDead of ['block', 'skip', 'block']) {
      await run(
        `select filter, postrider.type_filter(types) from postrider.put_sink('own', 'webhook', 2::smallint, '{a}', 'key', $1, 'all', 'now')`,
        [onDead],
      )
    }
    // leases
    await run(
      `insert into postrider.relays (id, name, version) values ($1, 'n', 'v') on conflict (id) do update set seen_at = clock_timestamp()`,
      [relay],
    )
    await run(`select from postrider.lanes where sink = 'shop' for update skip locked`)
    await run(
      `update postrider.lanes set relay = $1, leased_until = clock_timestamp() + interval '1 minute' where sink = 'shop'`,
      [relay],
    )
    await run(
      `insert into postrider.checkpoints (sink, lane, fence, done, position, horizon, relay)
       select sink, lane, fence + 1, done, position, pg_current_xact_id(), $1 from postrider.cursors where sink = 'shop'`,
      [relay],
    )
    // claim, settle, trouble
    const { rows } = await run('select *, payload::text from postrider.events where xid >= $1::xid8 order by position limit 2', [
      '1',
    ])
    const [head, next] = rows as { id: string; position: string; slot: number }[]
    await run('begin')
    await run(`select postrider.lock_trouble('shop', 0::smallint)`)
    await run(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'shop', 0, position, slot, id, key, case id when $1 then 'dead' else 'blocked' end from postrider.events where id in ($1, $2)
       on conflict (sink, position) do nothing`,
      [head?.id, next?.id],
    )
    await run(`select postrider.release_heads('shop', '{k}')`)
    await run('commit')
    await run(`select from postrider.deliveries where sink = 'shop' for update skip locked`)
    await run(`update postrider.deliveries set available_at = clock_timestamp() where sink = 'shop'`)
    await run(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       values ('shop', $1, $2, $3, 1, 'reject', now(), 1)`,
      [head?.position, head?.slot, head?.id],
    )
    // operators
    expect((await run('select postrider.retry($1)', [head?.id])).rows).toEqual([{ retry: 1 }])
    expect((await run(`select postrider.discard($1, 'because')`, [head?.id])).rows).toEqual([{ discard: 1 }])
    await run(`select postrider.release_key('shop', 'k', 'because'), postrider.skip_key('shop', 'k', 'because')`)
    await run(`select postrider.pause('shop', 'because', interval '1 hour')`)
    await run('select postrider.end_pauses()')
    await run(`select postrider.resume('shop', since => '2000-01-01'), postrider.set_limits('shop', 2, 1)`)
    await run(`select * from postrider.explain($1)`, [next?.id])
    await run('select * from postrider.sink_status')
    // the circuit
    await run(`select postrider.open_circuit('shop', $1, 1, 1, 'connect', 'refused', 1)`, [relay])
    await run(`select postrider.half_open_circuit('shop', $1, 1), postrider.quiet_sink('shop', 1)`, [relay])
    await run(`select postrider.gone_sink('shop', $1, 1, 'x'), postrider.close_circuit('shop')`, [relay])
    // wake and end
    await run(`listen postrider; notify postrider, 'due'; unlisten postrider`)
    await run(`select postrider.close_gate(), postrider.open_gate()`)
    await run(`delete from postrider.deliveries where sink = 'shop' and position = $1`, [next?.position])
    await run(`delete from postrider.checkpoints where sink = 'shop' and fence < 2`)
    await run('delete from postrider.relays where id = $1', [relay])
  })

  test('can neither write an event but through emit, nor change what it has recorded', async () => {
    const may = await privileges('postrider_relay')
    for (const table of ['events', 'events_0', 'meta', 'migrations']) {
      expect(may.filter((one) => one.endsWith(` ${table}`))).toEqual([`SELECT ${table}`])
    }
    for (const table of ['attempts', 'checkpoints']) expect(may).not.toContain(`UPDATE ${table}`)
    for (const table of ['attempts', 'sinks', 'lanes']) expect(may).not.toContain(`DELETE ${table}`)
    expect(may.filter((one) => /^(TRUNCATE|TRIGGER|REFERENCES|CREATE) /.test(one))).toEqual([])
    await as('postrider_relay')
    expect(await emit(client, { type: 'a' })).toHaveLength(1)
  })
})

test('the roles may be made any number of times, and in two databases at once', async () => {
  const all = async (): Promise<string[][]> => [
    await privileges('postrider_writer'),
    await privileges('postrider_relay'),
    await privileges('postrider_viewer'),
  ]
  const before = await all()
  await using other = await testDatabase({ migrated: false })
  const sessions = [owner, await db.client(), await other.client()]
  await Promise.all(sessions.map((session) => migrate(session, { roles: true })))
  expect(await all()).toEqual(before)
})
