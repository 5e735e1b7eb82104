import { createRelay } from '@postrider/relay'
import { testDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { temporaryDirectory } from './directory.ts'
import { runProgram, startProgram, type Ended, type Program } from './program.ts'

const nobody = '0192b0f0-0000-7000-8000-000000000000'

interface Shop extends AsyncDisposable {
  readonly url: string
  readonly client: pg.Client
  run(...args: string[]): Promise<Ended>
  start(...args: string[]): Program
  /** Ids of events n = 0 …, of ten keys, that are dead at the sink `billing`, which nobody carries. */
  dead(count: number, more?: string): Promise<string[]>
}

async function openShop(): Promise<Shop> {
  const db = await testDatabase()
  const client = await db.client()
  const env = { POSTRIDER_DATABASE_URL: db.url, POSTRIDER_ACTOR: 'ann' }
  await client.query(`select postrider.put_sink('billing', 'webhook', 2::smallint, '{order.**}', 'key', 'block', 'all')`)
  return {
    url: db.url,
    client,
    run: (...args) => runProgram(args, { env }),
    start: (...args) => startProgram(args, { env }),
    async dead(count, more = '') {
      const { rows } = await client.query<{ id: string }>(
        `select postrider.emit(jsonb_agg(jsonb_build_object(
           'type', 'order.placed', 'key', 'k' || n % 10, 'payload', '{"n": 9007199254740993, "x": 1.50}'::jsonb) order by n)) as id
         from generate_series(1, $1::int) as n`,
        [count],
      )
      const ids = rows.map(({ id }) => id)
      await client.query(
        `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error, status)
         select 'billing', postrider.lane_of(bucket, 2::smallint), position, slot, id, key, 'dead', 3, 'status_5xx', 'answered 500' || $2, 500
         from postrider.events where id = any($1)`,
        [ids, more],
      )
      return ids
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  await expect.poll(holds, { message: what, timeout: 15_000, interval: 20 }).toBe(true)
}

const lines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('a dry run', () => {
  test('shows how many it is about and some of them, and changes nothing; the command then does just that', async () => {
    await using shop = await openShop()
    const ids = await shop.dead(30)
    await shop.dead(5, ' again')
    const cause = JSON.parse((await shop.run('dead', 'groups', '--json')).stdout) as { fingerprint: string; count: number }[]
    expect(cause.map(({ count }) => count)).toEqual([30, 5])
    const which = ['--fingerprint', cause[0]?.fingerprint ?? '', '--sink', 'billing', '--type', 'order.*', '--attempts', '3']
    const dry = JSON.parse((await shop.run('retry', ...which, '--dry-run', '--json')).stdout) as { sample: { eventId: string }[] }
    expect(dry).toMatchObject({ type: 'preview', kind: 'retry', counted: 30, countedAll: true })
    expect(dry.sample.map(({ eventId }) => eventId)).toEqual(ids.slice(0, 5))
    const shown = await shop.run('retry', ...which, '--dry-run')
    expect([shown.code, shown.stdout]).toEqual([0, expect.stringMatching(/^30 dead letters\nsink +event .*\nbilling/) as string])
    expect(shown.stderr).toContain('and 25 more')
    expect((await shop.client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount).toBe(35)
    expect((await shop.client.query('select from postrider.operations')).rowCount).toBe(0)

    const done = await shop.run('retry', ...which, '--reason', 'mended', '--yes', '--json')
    expect(lines(done.stdout)).toMatchObject([
      { type: 'operation', state: 'done', total: 30, done: 30, actor: 'ann', reason: 'mended' },
    ])
    expect((await shop.client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount).toBe(5)
  })

  test('of nothing says 0, and the command itself exits with 3', async () => {
    await using shop = await openShop()
    await shop.dead(1)
    const dry = await shop.run('retry', '--code', 'timeout', '--dry-run')
    expect([dry.code, dry.stdout]).toEqual([0, '0 dead letters\n'])
    expect((await shop.run('retry', '--code', 'timeout', '--yes')).code).toBe(3)
    expect((await shop.client.query('select from postrider.operations')).rowCount).toBe(0)
  })
})

test('what is not understood, and what cannot be done, exits with 2, says where, and changes nothing', async () => {
  await using shop = await openShop()
  await shop.dead(2)
  const cases: [args: string[], said: string | RegExp][] = [
    [['retry'], 'give the ids of events'],
    [['retry', nobody, '--all'], 'not both'],
    [['retry', '--since', '1h', '--until', '2h'], 'until is not after since'],
    [['retry', '--type', 'order..'], 'order.. is not a filter on types. Segments joined by dots'],
    [['retry', '--all', '--rate', 'fast'], 'Expected a rate'],
    [['retry', '--state', 'dead'], 'unknown option'],
    [['discard', '--sink', 'billing'], "'--reason <text>' not specified"],
    [['skip', '--state', 'dead', '--reason', 'x'], 'Discard gives up dead letters'],
    [['replay', '--all'], "'--sink <name>' not specified"],
    [['ops', 'watch', 'x'], 'number of an operation'],
  ]
  for (const [args, said] of cases) {
    const ended = await shop.run(...args, ...(args[0] === 'ops' ? [] : ['--yes']))
    expect([ended.code, ended.stdout], args.join(' ')).toEqual([2, ''])
    expect(ended.stderr, args.join(' ')).toContain(said)
  }
  expect((await shop.client.query('select from postrider.operations')).rowCount).toBe(0)
})

test('a replay to a sink that takes none of the events is refused, with what it does take', async () => {
  await using shop = await openShop()
  await shop.run('emit', 'user.made')
  const ended = await shop.run('replay', '--sink', 'billing', '--type', 'user.*', '--yes')
  expect([ended.code, ended.stderr]).toEqual([
    2,
    expect.stringContaining('sink billing takes none of these events: it takes types order.**') as string,
  ])
})

test('what does not exist exits with 3', async () => {
  await using shop = await openShop()
  for (const args of [
    ['retry', nobody, '--yes'],
    ['skip', '--all', '--reason', 'x', '--yes'],
    ['replay', '--sink', 'nope', '--all', '--yes'],
    ['replay', '--sink', 'billing', '--all', '--yes'],
    ['ops', 'cancel', '4711'],
    ['dead', 'show', nobody],
    ['keys', 'skip', 'billing', 'k', '--reason', 'x', '--yes'],
    ['keys', 'release', 'billing', 'k', '--reason', 'x', '--yes'],
  ]) {
    expect((await shop.run(...args)).code, args.join(' ')).toBe(3)
  }
})

test('nothing is changed without a yes: exit 6', async () => {
  await using shop = await openShop()
  const [id = ''] = await shop.dead(2)
  for (const args of [
    ['retry', id],
    ['discard', id, '--reason', 'x'],
    ['dead', 'import', '-'],
    ['keys', 'skip', 'billing', 'k1', '--reason', 'x'],
  ]) {
    const { code } = await shop.run(...args)
    expect(code, args.join(' ')).toBe(6)
  }
  expect((await shop.client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount).toBe(2)
  expect((await shop.client.query('select from postrider.operations')).rowCount).toBe(0)
})

describe('waiting for the end', () => {
  test('works the operation off where no relay is alive, and tells its progress as lines of JSON', async () => {
    await using shop = await openShop()
    await shop.dead(1_201)
    const ended = await shop.run('dead', 'retry', '--all', '--yes', '--wait', '--json')
    expect(ended.code).toBe(0)
    expect(ended.stderr).toContain('No relay works on it, so it is worked off from here.')
    const told = lines(ended.stdout)
    expect(told[0]).toMatchObject({ type: 'progress', operation: '1', kind: 'retry', state: 'pending', done: 0, total: 1_201 })
    expect(told.at(-1)).toMatchObject({ type: 'operation', state: 'done', done: 1_201, skipped: 0 })
    expect((await shop.client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount).toBe(0)
  })

  test('ends with Ctrl-C, exit 130; the operation stays, can be watched to its end, or be cancelled', async () => {
    await using shop = await openShop()
    await shop.dead(50)
    await using waiting = shop.start('retry', '--all', '--yes', '--wait', '--rate', '5/s')
    await waiting.wrote('worked off from here')
    await until(
      'it moves',
      async () => (await shop.client.query('select from postrider.operations where done > 2')).rowCount === 1,
    )
    waiting.kill('SIGINT')
    const ended = await waiting.ended
    expect(ended.code).toBe(130)
    expect(ended.stderr).toContain('postrider ops watch 1')
    expect(ended.stderr).toContain('postrider ops cancel 1')
    const { rows } = await shop.client.query<{ state: string; done: string }>('select state, done from postrider.operations')
    expect(rows[0]?.state).toBe('running')
    expect(Number(rows[0]?.done)).toBeLessThan(50)

    const list = JSON.parse((await shop.run('ops', 'list', '--json')).stdout) as unknown[]
    expect(list).toMatchObject([{ id: '1', kind: 'retry', state: 'running', rate: 5, total: 50 }])
    expect((await shop.run('ops', 'list')).stdout).toMatch(/1 +retry +running +\d+ of 50 +\{\} +ann/)
    await using watching = shop.start('ops', 'watch', '1')
    await watching.wrote('worked off from here')
    const cancelled = await shop.run('ops', 'cancel', '1', '--actor', 'bob', '--reason', 'enough')
    expect([cancelled.code, cancelled.stderr]).toEqual([0, expect.stringContaining('operation 1 (retry): cancelled') as string])
    const watched = await watching.ended
    expect([watched.code, watched.stderr]).toEqual([1, expect.stringContaining('cancelled') as string])
    const actions = await shop.client.query('select actor, action, reason from postrider.actions order by id')
    expect(actions.rows).toEqual([
      { actor: 'ann', action: 'started', reason: null },
      { actor: 'bob', action: 'cancelled', reason: 'enough' },
    ])
  })

  test('of an operation that fails exits with 1 and says why', async () => {
    await using shop = await openShop()
    await shop.dead(600)
    await shop.client.query(`alter table postrider.attempts add constraint no_more check (outcome <> 'retried') not valid`)
    const ended = await shop.run('retry', '--all', '--yes', '--wait')
    expect([ended.code, ended.stderr]).toEqual([1, expect.stringContaining('no_more') as string])
  })
})

test('without a relay and without --wait, an operation begins, and what has to happen is said', async () => {
  await using shop = await openShop()
  await shop.dead(600)
  const ended = await shop.run('retry', '--all', '--yes')
  expect([ended.code, ended.stdout]).toEqual([0, ''])
  expect(ended.stderr).toContain('No relay is alive')
  expect(ended.stderr).toContain('postrider ops watch 1')
})

test('dead show tells all about a letter: the event, its payload cut, every attempt', async () => {
  await using shop = await openShop()
  const [id = ''] = await shop.dead(1)
  await shop.client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, error_code, error, status, started_at, duration_ms)
     select 'billing', position, slot, id, n, 'retry', 'status_5xx', 'answered 500', 500, now() + n * interval '1 second', 12
     from postrider.events cross join generate_series(1, 3) as n`,
  )
  const shown = await shop.run('dead', 'show', id)
  expect(shown.code).toBe(0)
  for (const said of [id, 'order.placed', 'billing', '9007199254740993', 'status_5xx (status 500): answered 500'])
    expect(shown.stdout).toContain(said)
  expect(shown.stdout.match(/^ +[123] .*retry +500/gm)).toHaveLength(3)
  const json = (await shop.run('dead', 'show', id, '--json')).stdout
  expect(json).toContain('9007199254740993')
  expect(JSON.parse(json)).toMatchObject([
    { sink: 'billing', event: { id }, attempts: [{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }] },
  ])

  await shop.client.query(`update postrider.events set payload = jsonb_build_object('text', repeat('x', 5000))`)
  const cut = await shop.run('dead', 'show', id)
  expect(cut.stdout.length).toBeLessThan(4_000)
  expect(cut.stdout).toMatch(/characters more: --full/)
  expect((await shop.run('dead', 'show', id, '--full')).stdout).toContain('x'.repeat(5_000))
})

describe('dead letters that were exported', () => {
  test('come back as they were, also when their events are gone from the log, and twice makes no two', async () => {
    await using shop = await openShop()
    const ids = await shop.dead(450)
    const [bare, bytes, empty] = [
      (await shop.run('emit', 'order.bare')).stdout.trim(),
      (
        await shop.client.query<{ id: string }>(
          `select postrider.emit('{"type": "order.bytes", "payload_base64": "${Buffer.alloc(200, 7).toString('base64')}"}') as id`,
        )
      ).rows[0]?.id,
      (
        await shop.client.query<{ id: string }>(
          `select postrider.emit('{"type": "order.none", "payload": null, "headers": {"a": "b"}}') as id`,
        )
      ).rows[0]?.id,
    ]
    await shop.client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'billing', postrider.lane_of(bucket, 2::smallint), position, slot, id, key, 'dead' from postrider.events where id = any($1)`,
      [[bare, bytes, empty]],
    )
    await shop.client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, error_code, started_at, duration_ms, detail)
       select 'billing', position, slot, id, 1, 'retry', 'timeout', now(), 2.5, '{"body": "null", "x": null}' from postrider.events where id = $1`,
      [ids[0]],
    )
    const exported = await shop.run('dead', 'export')
    expect([exported.code, exported.stderr]).toEqual([0, '453 dead letters exported; they stay where they are\n'])
    expect(exported.stdout.trim().split('\n')).toHaveLength(453)
    expect((await shop.run('dead', 'export', ids[3] ?? '')).stdout.match(/"n": 9007199254740993, "x": 1\.50/g)).toHaveLength(1)

    const events = async (): Promise<unknown[]> =>
      (
        await shop.client.query(
          `select id, bucket, created_at, type, key, source, content_type, headers, payload::text, payload_bytes
           from postrider.events order by id`,
        )
      ).rows
    const before = await events()
    await using directory = await temporaryDirectory()
    const file = await directory.write('dead.ndjson', exported.stdout)
    const again = async (): Promise<Record<string, unknown>> => {
      const ended = await shop.run('dead', 'import', file, '--yes', '--json')
      expect(ended.stderr).toBe('')
      return lines(ended.stdout).at(-1) ?? {}
    }
    expect(await again()).toEqual({ type: 'import', read: 453, imported: 0 })

    // The events are still there, the letters are not.
    await shop.run('discard', '--all', '--reason', 'a test', '--yes')
    expect(await again()).toEqual({ type: 'import', read: 453, imported: 453 })
    expect(await events()).toEqual(before)

    // Nothing is there any more.
    await shop.client.query('delete from postrider.deliveries; delete from postrider.attempts; delete from postrider.events')
    expect(await again()).toEqual({ type: 'import', read: 453, imported: 453 })
    expect(await again()).toEqual({ type: 'import', read: 453, imported: 0 })
    expect(await events()).toEqual(before)
    const { rows } = await shop.client.query(
      `select d.state, d.parked, d.attempts, e.slot from postrider.deliveries as d join postrider.events as e using (position, slot) where d.event_id = $1`,
      [ids[0]],
    )
    expect(rows).toEqual([{ state: 'dead', parked: true, attempts: 3, slot: -1 }])
    const attempts = await shop.client.query(
      `select outcome, error_code, duration_ms, detail from postrider.attempts where event_id = $1 and outcome = 'retry'`,
      [ids[0]],
    )
    expect(attempts.rows).toEqual([
      { outcome: 'retry', error_code: 'timeout', duration_ms: 2.5, detail: { body: 'null', x: null } },
    ])
    expect((await shop.client.query(`select actor, detail from postrider.actions where action = 'imported'`)).rows).toEqual([
      { actor: 'ann', detail: { letters: 453 } },
      { actor: 'ann', detail: { letters: 453 } },
    ])
  })

  test('go nowhere by themselves when they come back: not to sinks that begin at the beginning, only where a retry sends them', async () => {
    await using shop = await openShop()
    const ids = await shop.dead(20)
    const exported = (await shop.run('dead', 'export')).stdout
    await shop.client.query('delete from postrider.deliveries; delete from postrider.events')
    const got: string[] = []
    const sinkOf = (name: string) => ({
      name,
      kind: 'test',
      deadlineMs: 1_000,
      deliver: async ({ event }: { event: { id: string } }) => {
        got.push(`${name} ${event.id}`)
        return { kind: 'delivered' as const }
      },
      [Symbol.asyncDispose]: async () => undefined,
    })
    const stop = new AbortController()
    const relay = createRelay({
      connectionString: shop.url,
      pollMs: 50,
      sinks: [
        { sink: sinkOf('billing'), startFrom: 'now', lanes: 2, types: ['order.**'] },
        { sink: sinkOf('old'), startFrom: 'beginning' },
      ],
    })
    // A sink whose cursors have never moved, and one that begins when the letters are back.
    const running = relay.run(stop.signal)
    try {
      await until('the relay carries', () => relay.health().lanes.length >= 6)
      await using directory = await temporaryDirectory()
      const file = await directory.write('dead.ndjson', exported)
      expect((await shop.run('dead', 'import', file, '--yes')).code).toBe(0)
      await shop.client.query(
        `select postrider.put_sink('late', 'webhook', 2::smallint, null, 'key', 'block', 'all', 'beginning')`,
      )
      expect((await shop.client.query(`select from postrider.pending`)).rowCount).toBe(0)
      const live = (await shop.run('emit', 'order.placed', '--key', 'k1')).stdout.trim()
      await until('live events flow', () => got.includes(`billing ${live}`) && got.includes(`old ${live}`))
      expect(got).toHaveLength(2)
      expect(
        (await shop.client.query(`select distinct state from postrider.explain($1) where sink <> 'billing'`, [ids[0]])).rows,
      ).toEqual([{ state: 'skipped' }])

      await shop.run('dead', 'retry', '--all', '--yes')
      await until('they are delivered', () => got.length === 22)
      expect(got.slice(2).toSorted()).toEqual(ids.map((id) => `billing ${id}`).toSorted())
    } finally {
      stop.abort()
      await running
    }
  })

  test('with a bad line are refused as a whole, with its number', async () => {
    await using shop = await openShop()
    await shop.dead(3)
    const good = (await shop.run('dead', 'export')).stdout.trim().split('\n')
    await shop.client.query('delete from postrider.deliveries')
    const bad: [line: string, said: RegExp][] = [
      ['{', /line 3: invalid input syntax for type json/],
      ['{"sink": "billing"}', /line 3: it is not a dead letter/],
    ]
    await using directory = await temporaryDirectory()
    for (const [line, said] of bad) {
      const file = await directory.write('dead.ndjson', [good[0], good[1], line, ''].join('\n'))
      const ended = await shop.run('dead', 'import', file, '--yes')
      expect([ended.code, ended.stderr]).toEqual([2, expect.stringMatching(said) as string])
    }
    expect((await shop.run('dead', 'import', '/nowhere/dead.ndjson', '--yes')).code).toBe(2)
    expect((await shop.client.query('select from postrider.deliveries')).rowCount).toBe(0)
    expect((await shop.client.query('select from postrider.events where slot = -1')).rowCount).toBe(0)
    const file = await directory.write('dead.ndjson', `${good.join('\n\n')}\n\n`)
    expect((await shop.run('dead', 'import', file, '--yes', '--quiet')).code).toBe(0)
    expect((await shop.client.query('select from postrider.deliveries')).rowCount).toBe(3)
  })
})

test('a blocked key can be found, released, and its head skipped', async () => {
  await using shop = await openShop()
  const ids = await shop.dead(40)
  // k1 to k3: the first event is dead, the others wait.
  await shop.client.query(
    `delete from postrider.deliveries where key not in ('k1', 'k2', 'k3');
     update postrider.deliveries set state = 'blocked' where position > (select min(position) + 9 from postrider.deliveries)`,
  )
  const blocked = async (): Promise<unknown> => JSON.parse((await shop.run('keys', 'blocked', '--json')).stdout)
  expect(await blocked()).toMatchObject(
    ['k1', 'k2', 'k3'].map((key, n) => ({
      sink: 'billing',
      key,
      blocked: 3,
      head: { eventId: ids[n], state: 'dead', attempts: 3, errorCode: 'status_5xx' },
    })),
  )
  const shown = await shop.run('keys', 'blocked', '--sink', 'billing')
  expect(shown.stdout).toMatch(/billing +k1 +3 +[0-9a-f-]{36} +dead +\S+ +status_5xx: answered 500/)

  expect(JSON.parse((await shop.run('keys', 'release', 'billing', 'k1', '--reason', 'x', '--yes', '--json')).stdout)).toEqual({
    released: 1,
  })
  expect(JSON.parse((await shop.run('keys', 'skip', 'billing', 'k2', '--reason', 'x', '--yes', '--json')).stdout)).toEqual({
    skipped: ids[1],
  })
  const states = await shop.client.query<{ key: string; states: string[] }>(
    'select key, array_agg(state order by position) as states from postrider.deliveries group by key order by key',
  )
  expect(states.rows).toEqual([
    { key: 'k1', states: ['dead', 'retrying', 'blocked', 'blocked'] },
    { key: 'k2', states: ['retrying', 'blocked', 'blocked'] },
    { key: 'k3', states: ['dead', 'blocked', 'blocked', 'blocked'] },
  ])
  const skipped = await shop.run('skip', '--key', 'k3', '--reason', 'x', '--yes', '--json')
  expect(lines(skipped.stdout)).toMatchObject([{ kind: 'skip', state: 'done', done: 3 }])
})
