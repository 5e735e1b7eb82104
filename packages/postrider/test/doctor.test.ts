import type pg from 'pg'
import { createServer as createTcpServer, connect, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { migrate } from '@postrider/migrations'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { standardThresholds, type Thresholds } from '../src/doctor/check.ts'
import { checks } from '../src/doctor/checks.ts'
import { examine, type Result } from '../src/doctor/examine.ts'
import { clock } from '../src/doctor/server.ts'
import { version } from '../src/version.ts'
import { runProgram } from './program.ts'

const relay = '018f3c2e-0000-7000-8000-0000000000aa'

let db: TestDatabase
let client: pg.Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await client.query(`select postrider.put_sink('billing', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'beginning')`)
  await client.query(`insert into postrider.relays (id, name, version, sinks) values ($1, 'host:1', $2, '{billing,hooks}')`, [
    relay,
    version,
  ])
})
afterEach(() => db[Symbol.asyncDispose]())

interface Options {
  readonly url?: string
  readonly directUrl?: string | false
  readonly schema?: string
  readonly thresholds?: Partial<Thresholds>
}

async function findings({ url = db.url, directUrl = url, schema = 'postrider', thresholds = {} }: Options = {}): Promise<
  Result[]
> {
  return await examine({ database: { url, directUrl, connections: 2 }, schema }, checks, { ...standardThresholds, ...thresholds })
}

/** What is not as it should be; the server of the tests itself is careless with its data. */
async function troubles(options?: Options): Promise<Result[]> {
  return (await findings(options)).filter(({ state, name }) => state !== 'ok' && name !== 'durability')
}

const emit = (event: object = { type: 'a', key: 'k' }): Promise<unknown> =>
  client.query('select postrider.emit($1::text::jsonb)', [JSON.stringify(event)])

const carry = (more = ''): Promise<unknown> =>
  client.query(`update postrider.lanes set relay = '${relay}', leased_until = clock_timestamp() + interval '1 minute' ${more}`)

async function dead(state = 'dead'): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, error_code, error)
     select 'billing', 0, position, slot, id, key, $1, 'status_5xx', 'answered 503' from postrider.events order by position desc limit 1`,
    [state],
  )
}

test('a healthy database has nothing to be told of, under another name too; everything is looked at', async () => {
  expect(await troubles()).toEqual([])
  expect((await findings()).map(({ name }) => name)).toEqual(checks.map(({ name }) => name))
  await using other = await testDatabase({ migrated: false })
  const session = await other.client()
  await migrate(session, { schema: 'outbox' })
  await session.query(`insert into outbox.relays (id, name, version) values ($1, 'host:1', $2)`, [relay, version])
  expect(await troubles({ url: other.url, schema: 'outbox' })).toEqual([])
})

interface Fault {
  readonly what: string
  readonly plant: () => Promise<unknown>
  readonly found: { readonly name: string; readonly state: 'warn' | 'fail'; readonly message: RegExp; readonly fix: RegExp }
  readonly options?: Options
  /** Finding it implies others. */
  readonly besides?: readonly string[]
}

const faults: readonly Fault[] = [
  {
    what: 'a migration that is pending',
    plant: () => client.query(`delete from postrider.migrations where name = '0012_cutover'`),
    found: { name: 'migrations', state: 'fail', message: /^not applied yet: 0012_cutover$/, fix: /^postrider migrate up$/ },
  },
  {
    what: 'a migration that was changed',
    plant: () => client.query(`update postrider.migrations set checksum = 'x' where name = '0001_log'`),
    found: { name: 'migrations', state: 'fail', message: /0001_log was applied with another content/, fix: /as it was released/ },
  },
  {
    what: 'a database that is newer than the program',
    plant: () => client.query(`insert into postrider.migrations (name, checksum) values ('9999_future', 'x')`),
    found: { name: 'migrations', state: 'warn', message: /newer than this program: 9999_future/, fix: /up to date/ },
  },
  {
    what: 'an index that was dropped',
    plant: () => client.query('drop index postrider.events_id'),
    found: {
      name: 'schema',
      state: 'fail',
      message: /^missing: index events_id$/,
      fix: /^CREATE INDEX events_id ON .*postrider\.events .*\(id\);$/,
    },
  },
  {
    what: 'a check that was changed',
    plant: () =>
      client.query(
        `alter table postrider.lanes add column note text; alter table postrider.sinks drop constraint sinks_rate, add constraint sinks_rate check (rate > 1)`,
      ),
    found: {
      name: 'schema',
      state: 'fail',
      message: /^changed: constraint sinks\.sinks_rate$/,
      fix: /migrate plan --sql --offline/,
    },
  },
  {
    what: 'a function that was changed',
    plant: () => client.query(`create or replace function postrider.tell_relays() returns void language plpgsql as 'begin end'`),
    found: { name: 'schema', state: 'fail', message: /^changed: function tell_relays\(\)$/, fix: /migrate plan/ },
  },
  {
    what: 'a partition that is missing',
    plant: () => client.query('drop table postrider.events_5'),
    found: {
      name: 'partitions',
      state: 'fail',
      message: /^missing: events_5;/,
      fix: /^create table postrider\.events_5 partition of postrider\.events for values in \(5\);$/,
    },
  },
  {
    what: 'an index that is not valid',
    plant: async () => {
      await client.query('create index mine on postrider.relays (name)')
      await client.query(`update pg_index set indisvalid = false where indexrelid = 'postrider.mine'::regclass`)
    },
    found: { name: 'indexes', state: 'fail', message: /^not valid: mine$/, fix: /^reindex index concurrently postrider\.mine;$/ },
  },
  {
    what: 'a large index that nobody uses',
    plant: () => client.query('create index mine on postrider.relays (name)'),
    found: {
      name: 'indexes',
      state: 'warn',
      message: /never used .*mine \(0 MB\)/,
      fix: /drop index concurrently postrider\.mine;$/,
    },
    options: { thresholds: { unusedIndexBytes: 0 } },
  },
  {
    what: 'a sequence with a cache',
    plant: () => client.query('alter sequence postrider.events_position_seq cache 10'),
    found: {
      name: 'sequence',
      state: 'fail',
      message: /a cache of 10/,
      fix: /^alter sequence postrider\.events_position_seq cache 1;$/,
    },
  },
  {
    what: 'a database that was restored elsewhere',
    plant: () => client.query('update postrider.meta set system_identifier = 1'),
    found: { name: 'cluster', state: 'fail', message: /restored from another one/, fix: /Start a relay/ },
  },
  {
    what: 'relays that do not listen',
    plant: async () => {},
    found: { name: 'listen', state: 'warn', message: /no direct connection/, fix: /directUrl/ },
    options: { directUrl: false },
  },
  {
    what: 'a direct connection that leads nowhere',
    plant: async () => {},
    found: {
      name: 'listen',
      state: 'fail',
      message: /directUrl does not take connections: connect ECONNREFUSED/,
      fix: /directUrl: false/,
    },
    options: { directUrl: 'postgres://127.0.0.1:1/x' },
  },
  {
    what: 'a transaction that holds the horizon',
    plant: async () => {
      const holder = await db.client()
      await holder.query(`set application_name = 'reports'; begin isolation level repeatable read; select from postrider.events`)
    },
    found: {
      name: 'horizon',
      state: 'warn',
      message: /kept by .*session \d+ \(reports\) for /,
      fix: /pg_terminate_backend\(\d+\)/,
    },
    options: { thresholds: { horizonSeconds: 0 } },
  },
  {
    what: 'a transaction that was prepared and forgotten',
    plant: async () => {
      await client.query('begin; create table forgotten ()')
      await client.query(`prepare transaction '${db.name}'`)
    },
    found: {
      name: 'horizon',
      state: 'warn',
      message: /kept by .*prepared transaction 'postrider_test/,
      fix: /rollback prepared/,
    },
    options: { thresholds: { horizonSeconds: 0 } },
  },
  {
    what: 'a table that is not cleaned up',
    plant: () => client.query('alter table postrider.deliveries set (autovacuum_enabled = false)'),
    found: {
      name: 'vacuum',
      state: 'warn',
      message: /^autovacuum is off for deliveries$/,
      fix: /^alter table postrider\.deliveries reset \(autovacuum_enabled\);$/,
    },
  },
  {
    what: 'a table full of dead rows',
    plant: async () => {
      await client.query('update postrider.relays set seen_at = clock_timestamp()')
      await client.query('update postrider.relays set seen_at = clock_timestamp()')
      await expect
        .poll(
          async () =>
            (
              await client.query(
                `select n_dead_tup > 1 as yes from pg_stat_user_tables where relid = 'postrider.relays'::regclass`,
              )
            ).rows,
          { timeout: 5_000 },
        )
        .toEqual([{ yes: true }])
    },
    found: {
      name: 'vacuum',
      state: 'warn',
      message: /^relays has 2 dead rows and 1 live ones$/,
      fix: /^vacuum postrider\.relays;/,
    },
    options: { thresholds: { deadRows: 1 } },
  },
  {
    what: 'no relay at all',
    plant: () => client.query(`update postrider.relays set seen_at = clock_timestamp() - interval '1 hour'`),
    found: { name: 'relays', state: 'fail', message: /^no relay is alive/, fix: /^postrider start$/ },
  },
  {
    what: 'a sink that no relay has',
    plant: () => client.query(`update postrider.relays set sinks = '{other}'`),
    found: { name: 'relays', state: 'fail', message: /^no relay has billing$/, fix: /configuration of a relay/ },
  },
  {
    what: 'relays of different versions',
    plant: () =>
      client.query(
        `insert into postrider.relays (id, name, version, sinks) values (gen_random_uuid(), 'host:2', '0.0.1', '{billing}')`,
      ),
    found: { name: 'versions', state: 'warn', message: /0\.0\.1 \(host:2\)/, fix: /Finish the rollout/ },
  },
  {
    what: 'a lane that does not come on',
    plant: async () => {
      await emit()
      await carry()
    },
    found: {
      name: 'progress',
      state: 'fail',
      message: /^lane 0 of billing has a backlog and has not moved for /,
      fix: /relay host:1/,
    },
    options: { thresholds: { stuckSeconds: 0 } },
  },
  {
    what: 'a relay that died with a lane in hand',
    plant: () => carry(', careful = 64'),
    found: { name: 'careful lanes', state: 'warn', message: /died while it carried lane 0 of billing/, fix: /log of the relay/ },
  },
  {
    what: 'an event that relays die of',
    plant: async () => {
      await emit()
      await carry(', careful = 1, strikes = 2, suspect = (select position from postrider.events)')
    },
    found: {
      name: 'careful lanes',
      state: 'fail',
      message: /relays die while they carry event .* \(lane 0 of billing, 2 so far\)/,
      fix: /^postrider events get [0-9a-f-]{36}$/,
    },
  },
  {
    what: 'a destination that is down',
    plant: () => client.query(`select postrider.open_circuit('billing', '${relay}', 60000, 60000, 'connect', 'refused', 10)`),
    found: { name: 'circuits', state: 'warn', message: /^billing has failed for .*: connect: refused$/, fix: /probed by itself/ },
  },
  {
    what: 'a sink that was paused and forgotten',
    plant: () => client.query(`select postrider.pause('billing', 'lunch', actor => 'ann')`),
    found: {
      name: 'sinks',
      state: 'warn',
      message: /^billing is paused for .* by ann \(lunch\)$/,
      fix: /^postrider resume billing$/,
    },
    options: { thresholds: { pausedSeconds: 0 } },
  },
  {
    what: 'a sink that is gone',
    plant: () => client.query(`select postrider.set_state('billing', 'gone', 'answered 410', 'postrider')`),
    found: {
      name: 'sinks',
      state: 'warn',
      message: /^billing is gone for .* \(answered 410\)$/,
      fix: /^postrider resume billing$/,
    },
  },
  {
    what: 'dead letters that come in, and what waits behind them',
    plant: async () => {
      await emit()
      await dead()
      await emit()
      await dead('blocked')
    },
    found: {
      name: 'dead letters',
      state: 'warn',
      message: /^there are 1, the oldest for .*; 1 came in the last hour$/,
      fix: /^postrider dead groups$/,
    },
    besides: ['blocked keys'],
  },
  {
    what: 'a key that waits behind a dead letter',
    plant: async () => {
      await emit()
      await dead()
      await client.query(`update postrider.deliveries set since = clock_timestamp() - interval '2 hours'`)
      await emit()
      await dead('blocked')
    },
    found: {
      name: 'blocked keys',
      state: 'warn',
      message: /^one key waits behind a dead letter: k at billing$/,
      fix: /^postrider dead retry [0-9a-f-]{36}/,
    },
  },
  {
    what: 'a segment that cannot be emptied',
    plant: async () => {
      await emit()
      await client.query(
        `with moved as (delete from postrider.events returning *)
         insert into postrider.events (xid, position, slot, created_at, bucket, type, source, content_type) overriding system value
         select xid, position, (postrider.current_slot() + 1) % 8, now() - interval '30 days', bucket, type, source, content_type from moved`,
      )
    },
    found: { name: 'segments', state: 'warn', message: /cannot be emptied: .*billing/, fix: /go on/ },
  },
  {
    what: 'a segment that was not emptied in time',
    plant: async () => {
      await emit()
      await client.query(`update postrider.events set created_at = now() - interval '30 days'`)
    },
    found: {
      name: 'segments',
      state: 'fail',
      message: /was not emptied before it was written again/,
      fix: /postrider\.segments/,
    },
  },
  {
    what: 'an operation that stands still',
    plant: () =>
      client.query(`insert into postrider.operations (kind, filter, actor, up_to_position) values ('retry', '{}', 'ann', 0)`),
    found: { name: 'operations', state: 'fail', message: /^retry 1 does not come on$/, fix: /^postrider ops watch 1$/ },
    options: { thresholds: { stuckSeconds: 0 } },
  },
]

test.for(faults)('finds $what, and says what to do', async ({ plant, found, options, besides = [] }) => {
  await plant()
  const there = await troubles(options)
  expect(there.map(({ name }) => name).toSorted()).toEqual([found.name, ...besides].toSorted())
  expect(there.find(({ name }) => name === found.name)).toEqual({
    name: found.name,
    state: found.state,
    message: expect.stringMatching(found.message) as string,
    fix: expect.stringMatching(found.fix) as string,
  })
})

describe('a role', () => {
  test('that may not do what a relay does is told what is missing; one that may not even look is a warning, not a crash', async () => {
    await migrate(client, { roles: true })
    const role = `viewer_${db.name.slice(-12)}`
    await client.query(`create role ${role} login in role postrider_viewer`)
    const url = new URL(db.url)
    url.username = role
    try {
      const there = await troubles({ url: url.href })
      expect(there).toEqual([
        {
          name: 'rights',
          state: 'fail',
          message: expect.stringMatching(
            new RegExp(`^role ${role} may not do what a relay does: DELETE on checkpoints, `),
          ) as string,
          fix: expect.stringContaining(`grant postrider_relay to ${role};`) as string,
        },
      ])
      await client.query(`revoke postrider_viewer from ${role}`)
      const blind = await troubles({ url: url.href })
      expect(blind.find(({ name }) => name === 'migrations')).toMatchObject({
        state: 'warn',
        fix: expect.stringContaining('postrider_viewer') as string,
      })
    } finally {
      await client.query(`drop owned by ${role}; drop role ${role}`)
    }
  })
})

test('a pooler in transaction mode is known by the notifications that it swallows', async () => {
  await using pooler = await swallowNotifications(db.url)
  expect(await troubles({ url: pooler.url })).toEqual([
    {
      name: 'listen',
      state: 'warn',
      message: expect.stringContaining('pooler in transaction mode') as string,
      fix: expect.stringContaining('database.directUrl') as string,
    },
  ])
  expect(await troubles({ url: pooler.url, directUrl: db.url })).toEqual([])
})

test.for([
  ['a minute', 60_000, 'warn'],
  ['an hour', -3_600_000, 'fail'],
  ['a second', 1_000, 'ok'],
] as const)('a clock that is wrong by %s is told', async ([, byMs, state]) => {
  const finding = await clock.look({
    schema: 'postrider',
    url: db.url,
    directUrl: false,
    thresholds: standardThresholds,
    ask: async <Row>(text: string) => {
      const { rows } = await client.query(
        text.replace('clock_timestamp()', `clock_timestamp() + interval '${byMs} milliseconds'`),
      )
      return rows as Row[]
    },
  })
  expect(finding).toMatchObject({
    state,
    message: expect.stringContaining('the clocks of this machine and of the database differ by') as string,
  })
})

test('nothing of the schema is looked at before it is there', async () => {
  await using empty = await testDatabase({ migrated: false })
  const there = await findings({ url: empty.url })
  expect(there.filter(({ state, name }) => state !== 'ok' && name !== 'durability')).toMatchObject([
    { name: 'migrations', state: 'fail' },
  ])
})

test('postrider doctor exits with 4 when a check fails, with 0 otherwise, and with 5 without a database', async () => {
  const run = (url: string, ...args: string[]): ReturnType<typeof runProgram> =>
    runProgram(['doctor', ...args], { env: { POSTRIDER_DATABASE_URL: url } })
  const well = await run(db.url)
  expect([well.code, well.stdout]).toEqual([0, expect.stringMatching(/^ok +version +PostgreSQL \d/) as string])
  await client.query('drop index postrider.events_id')
  const shown = await run(db.url)
  expect([shown.code, shown.stdout]).toEqual([
    4,
    expect.stringMatching(/FAIL +schema +missing: index events_id\n +→ CREATE INDEX/) as string,
  ])
  const { code, stdout } = await run(db.url, '--json')
  expect([code, JSON.parse(stdout)]).toMatchObject([
    4,
    { failed: 1, checks: expect.arrayContaining([expect.objectContaining({ name: 'schema', state: 'fail' })]) as unknown },
  ])
  expect((await run('postgres://127.0.0.1:1/x')).code).toBe(5)
})

/** A way to the database on which notifications get lost, as on one through a pooler in transaction mode. */
async function swallowNotifications(to: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const target = new URL(to)
  const server = createTcpServer((here) => {
    const there = connect(Number(target.port), target.hostname)
    here.on('error', () => there.destroy()).pipe(there)
    there.on('error', () => here.destroy()).on('end', () => here.end())
    // Messages of the server: one letter, their length with itself, and the rest (protocol 3.0, section 55.7).
    let rest = Buffer.alloc(0)
    there.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      for (;;) {
        if (rest.length < 5) return
        const end = 1 + rest.readUInt32BE(1)
        if (rest.length < end) return
        if (rest[0] !== 'A'.charCodeAt(0)) here.write(rest.subarray(0, end))
        rest = rest.subarray(end)
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(to)
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: url.href,
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}
