import type pg from 'pg'
import { testDatabase } from '@postrider/test/postgres'
import { expect, test } from 'vitest'
import { temporaryDirectory } from './directory.ts'
import { runProgram, type Ended } from './program.ts'

const nobody = '0192b0f0-0000-7000-8000-000000000000'

/** Runs commands against one database. */
function commandsOn(url: string): (...args: string[]) => Promise<Ended> {
  return (...args) => runProgram(args, { env: { POSTRIDER_DATABASE_URL: url } })
}

/** A sink that nobody carries, with dead letters of the events that are given. */
async function seedDead(client: pg.Client, ids: readonly string[]): Promise<void> {
  await client.query(`select postrider.put_sink('billing', 'webhook', 2::smallint, null, 'key', 'block', 'all')`)
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error)
     select 'billing', 0, position, slot, id, key, 'dead', 3, 'gone', 'answered 410' from postrider.events where id = any($1)`,
    [ids],
  )
}

test('migrate up applies everything once; status and plan tell what is pending', async () => {
  await using db = await testDatabase({ migrated: false })
  const run = commandsOn(db.url)

  const before = await run('migrate', 'status', '--check', '--json')
  expect(before.code).toBe(4)
  const { pending, migrations } = JSON.parse(before.stdout) as {
    pending: number
    migrations: { name: string; appliedAt: string | null }[]
  }
  expect(pending).toBe(migrations.length)
  expect((await run('migrate', 'plan')).stdout.trim().split('\n')).toEqual(migrations.map(({ name }) => name))
  const status = await run('status')
  expect([status.code, status.stderr]).toEqual([4, expect.stringContaining('Run `postrider migrate up`') as string])

  const first = await run('migrate', 'up', '--json')
  expect([first.code, JSON.parse(first.stdout)]).toEqual([
    0,
    { schema: 'postrider', applied: migrations.map(({ name }) => name), roles: false },
  ])
  const second = await run('migrate', 'up')
  expect(second).toEqual({ code: 0, stdout: '', stderr: 'nothing to apply: the schema "postrider" is up to date\n' })
  expect((await run('migrate', 'status', '--check')).code).toBe(0)
  expect((await run('migrate', 'plan', '--sql')).stdout.trim()).toBe('')
})

test('migrate plan --sql --offline prints SQL that makes the same schema, under another name too', async () => {
  await using db = await testDatabase({ migrated: false })
  const { code, stdout } = await runProgram(['migrate', 'plan', '--sql', '--offline', '--schema', 'outbox'])
  expect(code).toBe(0)
  await (await db.client()).query(stdout)
  const run = commandsOn(db.url)
  expect((await run('migrate', 'up', '--schema', 'outbox')).stderr).toContain('nothing to apply')
  expect((await run('emit', 'a.b', '--schema', 'outbox')).code).toBe(0)
})

test('emit writes one event as it was given, and prints its id', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const { code, stdout } = await run(
    'emit',
    'order.placed',
    '--key',
    'o-1',
    '--source',
    'shop',
    '--data',
    '{"n": 9007199254740993, "x": 1.50}',
    '-H',
    'a=b=c',
    '-H',
    'd=e',
  )
  expect(code).toBe(0)
  const { rows } = await (
    await db.client()
  ).query(`select id, type, key, source, headers, payload::text as payload from postrider.events`)
  expect(rows).toEqual([
    {
      id: stdout.trim(),
      type: 'order.placed',
      key: 'o-1',
      source: 'shop',
      headers: { a: 'b=c', d: 'e' },
      payload: '{"n": 9007199254740993, "x": 1.50}',
    },
  ])
})

test('emit reads its payload from stdin', async () => {
  await using db = await testDatabase()
  const env = { POSTRIDER_DATABASE_URL: db.url }
  const { code, stdout } = await runProgram(['emit', 'a.b', '--data', '-', '--json'], { env, input: '[1]' })
  expect(code).toBe(0)
  const { rows } = await (await db.client()).query('select id, payload from postrider.events')
  expect(rows).toEqual([{ id: (JSON.parse(stdout) as { id: string }).id, payload: [1] }])
})

test('emit of something that is no event writes nothing and exits with 2', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const bad = [
    await run('emit', 'a.b', '--data', '{'),
    await run('emit', 'no type', '--data', '1'),
    await run('emit', 'a.b', '-H', 'webhook-id=x'),
    await run('emit', 'a.b', '--id', 'x'),
  ]
  expect(bad.map(({ code, stdout }) => [code, stdout])).toEqual(bad.map(() => [2, '']))
  expect(bad[0]?.stderr).toContain('--data is not JSON')
  expect((await (await db.client()).query('select from postrider.events')).rowCount).toBe(0)
})

test('status counts what waits and what is dead, and says that nobody carries it', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const empty = await run('status')
  expect([empty.code, empty.stdout, empty.stderr]).toEqual([0, '', expect.stringContaining('postrider start') as string])

  const dead = (await run('emit', 'a.b', '--key', 'o-1')).stdout.trim()
  const client = await db.client()
  await seedDead(client, [dead])
  await run('emit', 'a.b', '--key', 'o-2')

  const status = JSON.parse((await run('status', '--json')).stdout) as { sinks: unknown[]; relays: unknown[] }
  expect(status).toEqual({
    schema: 'postrider',
    sinks: [
      {
        name: 'billing',
        kind: 'webhook',
        mode: 'live',
        state: 'active',
        since: expect.any(String) as string,
        by: null,
        reason: null,
        until: null,
        circuit: 'closed',
        quietUntil: null,
        concurrency: 32,
        rate: null,
        limitsAreLive: false,
        pending: 1,
        pendingIsAll: true,
        oldestPendingSeconds: expect.any(Number) as number,
        scheduled: 0,
        retrying: 0,
        blocked: 0,
        dead: 1,
        deliveredPerSecond: 0,
        failedPerSecond: 0,
        lanes: [
          { lane: 0, relay: null },
          { lane: 1, relay: null },
        ],
      },
    ],
    relays: [],
  })
  const shown = await run('status')
  expect(shown.stdout).toMatch(/^sink +state +pending +oldest .* lanes\nbilling +active +1 .* 1 +- +- +nobody 0-1\n/)
  expect(shown.stderr).toContain('No relay is alive')
  expect(shown.stderr).toContain('postrider dead list')
})

test('a dead letter can be listed, explained, sent again, and given up', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const ids = [
    (await run('emit', 'a.b', '--key', 'o-1')).stdout.trim(),
    (await run('emit', 'c.d')).stdout.trim(),
    (await run('emit', 'e.f')).stdout.trim(),
  ]
  const [one = '', two = ''] = ids
  const client = await db.client()
  await seedDead(client, ids)

  const list = JSON.parse((await run('dead', 'list', '--json')).stdout) as { eventId: string }[]
  expect(list.map(({ eventId }) => eventId).sort()).toEqual([...ids].sort())
  expect(list[0]).toMatchObject({ sink: 'billing', attempts: 3, errorCode: 'gone', error: 'answered 410' })
  expect((await run('dead', 'list', '--limit', '1')).stdout.trim().split('\n')).toHaveLength(2)
  expect((await run('dead', 'list', '--sink', 'other')).code).toBe(3)
  expect(JSON.parse((await run('dead', 'list', '--code', 'timeout', '--json')).stdout)).toEqual([])

  const explained = await run('events', 'explain', one)
  expect([explained.code, explained.stdout]).toEqual([
    0,
    expect.stringMatching(/billing +dead +3 +dead since .* after 3 attempts \(gone: answered 410\)/) as string,
  ])

  const states = async (): Promise<Record<string, string>> => {
    const { rows } = await client.query<{ event_id: string; state: string }>('select event_id, state from postrider.deliveries')
    return Object.fromEntries(rows.map(({ event_id, state }) => [event_id, state]))
  }
  const operation = async (...args: string[]): Promise<unknown> =>
    JSON.parse((await run('dead', ...args, '--yes', '--json')).stdout) as unknown
  expect(await operation('retry', one, '--sink', 'billing')).toMatchObject({ kind: 'retry', state: 'done', done: 1, skipped: 0 })
  expect(await states()).toMatchObject({ [one]: 'retrying', [two]: 'dead' })
  expect(await operation('discard', two, '--reason', 'a test')).toMatchObject({ kind: 'discard', state: 'done', done: 1 })
  expect(await states()).not.toHaveProperty(two)
  expect(await operation('retry', '--all')).toMatchObject({ state: 'done', done: 1 })
  expect(Object.values(await states())).toEqual(['retrying', 'retrying'])
  const { rows } = await client.query(`select outcome, detail ->> 'reason' as reason from postrider.attempts order by started_at`)
  expect(rows).toEqual([
    { outcome: 'retried', reason: null },
    { outcome: 'discarded', reason: 'a test' },
    { outcome: 'retried', reason: null },
  ])
})

test('without a terminal, what changes something is refused unless --yes is there: exit 6, and nothing has changed', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const id = (await run('emit', 'a.b')).stdout.trim()
  const client = await db.client()
  await seedDead(client, [id])
  for (const args of [
    ['retry', id],
    ['retry', '--all'],
    ['discard', id, '--reason', 'x'],
  ]) {
    const { code, stdout, stderr } = await run('dead', ...args)
    expect([code, stdout], args.join(' ')).toEqual([6, ''])
    expect(stderr).toContain('--yes')
  }
  expect((await client.query('select state from postrider.deliveries')).rows).toEqual([{ state: 'dead' }])
})

test('what matches nothing exits with 3', async () => {
  await using db = await testDatabase()
  const run = commandsOn(db.url)
  const nothing = [
    await run('events', 'explain', nobody),
    await run('dead', 'retry', nobody, '--yes'),
    await run('dead', 'retry', '--all', '--yes'),
    await run('dead', 'discard', nobody, '--reason', 'x', '--yes'),
  ]
  expect(nothing.map(({ code }) => code)).toEqual([3, 3, 3, 3])
  const list = await run('dead', 'list')
  expect([list.code, list.stderr]).toEqual([0, expect.stringContaining('no dead letters') as string])
})

test('a database that cannot be reached exits with 5, and says where without its password', async () => {
  const { code, stdout, stderr } = await commandsOn('postgres://app:canary-password@127.0.0.1:1/shop')('status')
  expect([code, stdout]).toEqual([5, ''])
  expect(stderr).toContain('PostgreSQL at 127.0.0.1:1/shop cannot be reached: connect ECONNREFUSED')
  expect(stderr).not.toContain('canary-password')
  await using db = await testDatabase()
  const wrong = new URL(db.url)
  wrong.pathname = '/nowhere'
  expect((await commandsOn(wrong.href)('dead', 'list')).code).toBe(5)
  expect((await commandsOn(wrong.href)('migrate', 'up')).code).toBe(5)
})

test('the URL of the database can come from a file', async () => {
  await using db = await testDatabase()
  await using directory = await temporaryDirectory()
  const path = await directory.write('url', `${db.url}\n`)
  expect((await runProgram(['status', '--database-url-file', path])).code).toBe(0)
  expect((await runProgram(['status'], { env: { POSTRIDER_DATABASE_URL_FILE: path } })).code).toBe(0)
})

test('sinks remove ends a sink that no configuration names any more; one that a relay has is told so', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const run = commandsOn(db.url)
  await run('emit', 'a.b', '--json')
  await client.query(`select postrider.put_sink('billing', 'webhook', 2::smallint, null, 'key', 'block', 'all')`)
  await client.query(`insert into postrider.relays (id, name, version, sinks) values ($1, 'host:1', '1', '{billing}')`, [nobody])
  const remove = ['sinks', 'remove', 'billing', '--reason', 'replaced']
  expect(await run(...remove)).toMatchObject({ code: 6, stderr: expect.stringContaining('--yes') as string })
  const refused = await run(...remove, '--yes')
  expect([refused.code, refused.stderr]).toEqual([
    4,
    expect.stringMatching(/relay host:1 has billing in its configuration[^]*Take it out of there/) as string,
  ])
  await client.query('delete from postrider.relays')
  const removed = await run(...remove, '--yes', '--actor', 'ada', '--json')
  expect([removed.code, JSON.parse(removed.stdout)]).toEqual([0, { sink: 'billing', removed: true, deliveries: 0 }])
  expect((await client.query(`select actor, reason from postrider.actions where action = 'removed'`)).rows).toEqual([
    { actor: 'ada', reason: 'replaced' },
  ])
  expect((await run(...remove, '--yes')).stderr).toContain('There is no sink billing')
})
