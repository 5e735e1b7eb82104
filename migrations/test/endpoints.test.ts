import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  await putFamily()
})
afterEach(() => db[Symbol.asyncDispose]())

const sealed = `sealed:0a1b2c3d:${'Ab_-'.repeat(20)}`
const url = 'https://hooks.acme.example/path-that-is-a-secret?token=also-secret'

async function putFamily(more: Record<string, unknown> = {}, session = client): Promise<void> {
  await session.query(`select postrider.put_sink('hooks', 'webhook', 1::smallint, null, $1, $2, $3, 'now', $4, $5, true)`, [
    more['ordering'] ?? 'key',
    more['onDead'] ?? 'block',
    more['audit'] ?? 'all',
    more['concurrency'] ?? 8,
    more['rate'] ?? null,
  ])
}

interface Given {
  readonly name?: unknown
  readonly sink?: unknown
  readonly url?: unknown
  readonly secrets?: unknown
  readonly types?: readonly string[] | null
  readonly tenant?: string | null
  readonly headers?: unknown
  readonly state?: unknown
  readonly starts?: unknown
  readonly lanes?: unknown
  readonly format?: unknown
  readonly verification?: unknown
}

/** Adds `hooks/<name>`, and answers its row of sinks. */
async function add(name: unknown = 'acme', given: Given = {}, session: Client = client): Promise<Record<string, unknown>> {
  const value = (key: keyof Given, standard: unknown): unknown => (key in given ? given[key] : standard)
  const { rows } = await session.query<Record<string, unknown>>(
    `select * from postrider.add_endpoint(sink => $1, name => $2, url => $3, secrets => $4, types => $5, tenant => $6, headers => $7,
       state => $8, starts => $9, lanes => $10, format => $11, verification => $12, actor => 'ada')`,
    [
      value('sink', 'hooks'),
      name,
      value('url', url),
      JSON.stringify(value('secrets', { current: [sealed] })),
      value('types', null),
      value('tenant', null),
      JSON.stringify(value('headers', {})),
      value('state', 'active'),
      value('starts', 'now'),
      value('lanes', null),
      value('format', null),
      value('verification', 'none'),
    ],
  )
  return rows[0] ?? {}
}

async function one(text: string, values: unknown[] = []): Promise<Record<string, unknown> | undefined> {
  return (await client.query<Record<string, unknown>>(text, values)).rows[0]
}

async function pending(endpoint: string): Promise<string[]> {
  const { rows } = await client.query<{ event_id: string }>(
    'select event_id from postrider.pending where sink = $1 order by position',
    [endpoint],
  )
  return rows.map(({ event_id }) => event_id)
}

/** The notices in the log, in order. */
async function notices(): Promise<{ type: string; key: string; payload: Record<string, unknown> }[]> {
  const { rows } = await client.query<{ type: string; key: string; payload: Record<string, unknown> }>(
    `select type, key, payload from postrider.events where source = 'postrider' order by position`,
  )
  return rows
}

const actions = async (sink: string): Promise<unknown[]> =>
  (await client.query('select actor, action, reason, detail from postrider.actions where sink = $1 order by id', [sink])).rows

describe('an endpoint is a sink in every respect', () => {
  test('it follows the settings of its sink, when it is added and when they change', async () => {
    await putFamily({ audit: 'failures', concurrency: 5, rate: 20 })
    expect(await add('acme', { tenant: 't-1', types: ['order.*'] })).toMatchObject({
      name: 'hooks/acme',
      family: 'hooks',
      kind: 'webhook',
      state: 'active',
      lanes: 1,
      ordering: 'key',
      on_dead: 'block',
      audit: 'failures',
      concurrency: 5,
      rate: 20,
      types: ['order.*'],
      tenant: 't-1',
      fans_out: false,
    })
    await putFamily({ onDead: 'park', concurrency: 9 })
    expect(
      await one(`select on_dead, concurrency, rate, audit, types, tenant from postrider.sinks where name = 'hooks/acme'`),
    ).toEqual({
      on_dead: 'park',
      concurrency: 9,
      rate: null,
      audit: 'all',
      types: ['order.*'],
      tenant: 't-1',
    })
  })

  test('it has lanes and a cursor of its own, and its sink has none', async () => {
    await add('acme')
    await add('wide', { lanes: 3 })
    const { rows } = await client.query('select sink, lane, fence from postrider.cursors order by sink, lane')
    expect(rows).toEqual([
      { sink: 'hooks/acme', lane: 0, fence: '1' },
      ...[0, 1, 2].map((lane) => ({ sink: 'hooks/wide', lane, fence: '1' })),
    ])
    const [id] = await emit(client, { type: 'order.placed', key: 'k' })
    expect((await client.query('select sink, state from postrider.explain($1)', [id])).rows).toEqual([
      { sink: 'hooks/acme', state: 'pending' },
      { sink: 'hooks/wide', state: 'pending' },
    ])
    expect((await client.query('select sink, pending from postrider.backlog order by sink')).rows).toEqual([
      { sink: 'hooks/acme', pending: '1' },
      { sink: 'hooks/wide', pending: '1' },
    ])
  })

  test('who added it, where and for whom is on record, and relays are told', async () => {
    const listener = await db.client()
    const heard: string[] = []
    listener.on('notification', ({ payload = '' }) => heard.push(payload))
    await listener.query('listen postrider')
    await add('acme', { tenant: 't-1', types: ['order.*'], state: 'pending', verification: 'ping' })
    expect(await actions('hooks/acme')).toEqual([
      {
        actor: 'ada',
        action: 'added',
        reason: null,
        detail: { origin: 'https://hooks.acme.example', state: 'pending', starts: 'now', types: ['order.*'], tenant: 't-1' },
      },
    ])
    await listener.query('select')
    expect(heard).toContain('sinks')
  })

  test('one that is pending becomes active when it is verified, and gets what was written since it was added', async () => {
    await emit(client, { type: 'a' })
    await add('acme', { state: 'pending', verification: 'ping' })
    const ids = await emit(client, [{ type: 'a' }, { type: 'a' }])
    expect(await one(`select postrider.verify_endpoint('hooks/acme', 'ping', 'ada') as state`)).toEqual({ state: 'active' })
    expect(await one(`select state, verification, verified_at is not null as verified from postrider.endpoint_status`)).toEqual({
      state: 'active',
      verification: 'ping',
      verified: true,
    })
    expect(await pending('hooks/acme')).toEqual(ids)
    expect(await one(`select postrider.verify_endpoint('hooks/nobody', 'ping') as state`)).toEqual({ state: null })
  })

  test('what it allows when it is verified is a limit from then on, and never raises a lower one', async () => {
    await putFamily({ rate: 5 })
    await add('acme', { state: 'pending', verification: 'cloudevents' })
    await client.query(`select postrider.set_limits('hooks/acme', 2, null, 'slow start', 'ada')`)
    const rates = async (allowed: number | null): Promise<unknown> => {
      await client.query(`select postrider.verify_endpoint('hooks/acme', 'cloudevents', 'ada', $1)`, [allowed])
      return await one(`select rate, concurrency, state, verification from postrider.endpoint_status`)
    }
    const verified = { concurrency: 2, state: 'active', verification: 'cloudevents' }
    expect(await rates(null)).toEqual({ ...verified, rate: 5 })
    expect(await rates(6)).toEqual({ ...verified, rate: 5 })
    expect(await rates(5)).toEqual({ ...verified, rate: 5 })
    expect(await rates(1.5)).toEqual({ ...verified, rate: 1.5 })
    expect(await rates(2)).toEqual({ ...verified, rate: 1.5 })
    expect(await rates(null)).toEqual({ ...verified, rate: 1.5 })
    expect((await actions('hooks/acme')).slice(1)).toEqual([
      { actor: 'ada', action: 'limited', reason: 'slow start', detail: { concurrency: 2, rate: null } },
      { actor: 'ada', action: 'resumed', reason: 'verified by cloudevents', detail: { from: 'pending' } },
      { actor: 'ada', action: 'limited', reason: 'what the endpoint allows', detail: { concurrency: 2, rate: '1.5' } },
    ])
    await putFamily({ rate: null })
    expect(await one(`select rate from postrider.endpoint_status`)).toEqual({ rate: 1.5 })
    await client.query(`select postrider.set_limits('hooks/acme', null, null)`)
    expect(await rates(1000)).toMatchObject({ rate: 1000 })
    await client.query(`select postrider.set_limits('hooks/acme', null, 'infinity')`)
    expect(await rates(30)).toMatchObject({ rate: 30 })
    for (const rate of [0, -1]) await expect(rates(rate)).rejects.toMatchObject({ constraint: 'sinks_live_rate' })
  })

  test('verifying one that is active tells relays, because what is sent there depends on it', async () => {
    await add('acme')
    const before = await one(`select changed_at from postrider.sinks where name = 'hooks/acme'`)
    const listener = await db.client()
    const heard: string[] = []
    listener.on('notification', ({ payload = '' }) => heard.push(payload))
    await listener.query('listen postrider')
    expect(await one(`select postrider.verify_endpoint('hooks/acme', 'cloudevents') as state`)).toEqual({ state: 'active' })
    const after = await one(`select changed_at from postrider.sinks where name = 'hooks/acme'`)
    expect(Number(after?.['changed_at'])).toBeGreaterThan(Number(before?.['changed_at']))
    await listener.query('select')
    expect(heard).toEqual(['sinks'])
    await expect(client.query(`select postrider.verify_endpoint('hooks/acme', 'hope')`)).rejects.toMatchObject({
      constraint: 'endpoints_verification',
    })
  })

  test('verifying one that is paused leaves it paused', async () => {
    await add('acme')
    await client.query(`select postrider.pause('hooks/acme', 'because')`)
    expect(await one(`select postrider.verify_endpoint('hooks/acme', 'ping') as state`)).toEqual({ state: 'paused' })
  })
})

describe('where an endpoint begins', () => {
  test('from now: what is committed before is not for it, a transaction that is open while it is added is', async () => {
    const [before] = await emit(client, { type: 'a' })
    const open = await db.client()
    await open.query('begin')
    const [early] = await emit(open, { type: 'a' })
    await add('acme')
    const [later] = await emit(open, { type: 'a' })
    await open.query('commit')
    const [after] = await emit(client, { type: 'a' })
    expect(await pending('hooks/acme')).toEqual([early, later, after])
    expect((await client.query('select state from postrider.explain($1)', [before])).rows).toEqual([{ state: 'skipped' }])
  })

  test('from now, in a transaction that has written events: those are for it, and so is what an open one writes', async () => {
    const open = await db.client()
    await open.query('begin')
    const [early] = await emit(open, { type: 'a' })
    const adding = await db.client()
    await adding.query('begin')
    const [own] = await emit(adding, { type: 'a' })
    // One that begins later and has ended already, as any other database of the cluster has them too.
    await client.query('select pg_current_xact_id()')
    await add('acme', {}, adding)
    await adding.query('commit')
    await open.query('commit')
    expect(await pending('hooks/acme')).toEqual([early, own])
  })

  test('from the beginning: everything in the log is for it', async () => {
    const ids = await emit(client, [{ type: 'a' }, { type: 'b' }])
    await add('acme', { starts: 'beginning' })
    expect(await pending('hooks/acme')).toEqual(ids)
  })
})

describe('what is for an endpoint', () => {
  const events = [
    { type: 'order.placed', tenant: 't-1' },
    { type: 'order.placed', tenant: 't-2' },
    { type: 'order.placed' },
    { type: 'user.created', tenant: 't-1' },
    { type: 'postrider.endpoint.failing' },
    { type: 'postrider.endpoint.gone', tenant: 't-1' },
    { type: 'postriders.met' },
    { type: 'postrider' },
  ]
  test.for<[why: string, types: string[] | null, tenant: string | null, gets: number[]]>([
    ['all types, but no notices', null, null, [0, 1, 2, 3, 6, 7]],
    ['its tenant', null, 't-1', [0, 3]],
    ['its types', ['order.*'], null, [0, 1, 2]],
    ['its types of its tenant', ['order.*', 'user.**'], 't-1', [0, 3]],
    ['a wildcard in front is not for notices', ['**'], null, [0, 1, 2, 3, 6, 7]],
    ['nor are its segments', ['*.endpoint.*', '*.**', '*.*.gone'], null, [0, 1, 2, 3, 6]],
    ['notices that are named', ['postrider.**'], null, [4, 5]],
    ['notices that are named, beside a wildcard', ['**', 'postrider.endpoint.gone'], null, [0, 1, 2, 3, 5, 6, 7]],
    ['a notice has no tenant', ['postrider.endpoint.failing'], 't-1', []],
  ])('%s', async ([, types, tenant, gets]) => {
    await add('acme', { types, tenant })
    const ids = await emit(client, events)
    const wanted = gets.map((index) => ids[index])
    expect(await pending('hooks/acme')).toEqual(wanted)
    for (const [index, id] of ids.entries()) {
      const state = gets.includes(index) ? 'pending' : 'filtered'
      expect((await client.query('select state from postrider.explain($1)', [id])).rows, events[index]?.type).toEqual([{ state }])
    }
    expect(await one('select pending::int as pending from postrider.backlog')).toEqual({ pending: gets.length })
  })

  test('a sink without endpoints gets notices as any other event', async () => {
    await client.query(`select postrider.put_sink('own', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now')`)
    const ids = await emit(client, events)
    expect(await pending('own')).toEqual(ids)
  })
})

describe('nothing that cannot be an endpoint gets into the tables', () => {
  const former = (until: unknown, secret: unknown = sealed): object => ({ current: [sealed], previous: [{ secret, until }] })
  test.for<[path: string, given: Given]>([
    ['sink', { sink: 'nobody' }],
    ['sink', { sink: 'plain' }],
    ['name', { name: 'Acme' }],
    ['name', { name: 'a/b' }],
    ['name', { name: '' }],
    ['name', { name: null }],
    ['state', { state: 'disabled' }],
    ['lanes', { lanes: 0 }],
    ['verification', { verification: 'hope' }],
    ['url', { url: null }],
    ['url', { url: 'ftp://a.example/' }],
    ['url', { url: 'https://' }],
    ['url', { url: 'https://user:password@a.example/' }],
    ['url', { url: 'https://a.example/#part' }],
    ['url', { url: 'https://a.example/with blank' }],
    ['url', { url: 'https://a.example\\@b.example/' }],
    ['url', { url: `https://a.example/${'a'.repeat(2048)}` }],
    ['secrets', { secrets: null }],
    ['secrets', { secrets: [sealed] }],
    ['secrets', { secrets: { current: [sealed], next: [] } }],
    ['secrets.current', { secrets: {} }],
    ['secrets.current', { secrets: { current: [] } }],
    ['secrets.current', { secrets: { current: sealed } }],
    ['secrets.current', { secrets: { current: [sealed, sealed, sealed] } }],
    ['secrets.current', { secrets: { current: ['whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='] } }],
    ['secrets.current', { secrets: { current: ['sealed:0a1b2c3d:short'] } }],
    ['secrets.current', { secrets: { current: [`env:${'A'.repeat(1024)}`] } }],
    ['secrets.current', { secrets: { current: ['env:1A'] } }],
    ['secrets.current', { secrets: { current: ['file:relative'] } }],
    ['secrets.current', { secrets: { current: [null] } }],
    ['secrets.previous', { secrets: { current: [sealed], previous: {} } }],
    ['secrets.previous', { secrets: former('2026-01-01') }],
    ['secrets.previous', { secrets: former(null) }],
    ['secrets.previous', { secrets: former('2026-01-01T00:00:00Z', 'whsec_plain') }],
    [
      'secrets.previous',
      {
        secrets: {
          current: [sealed],
          previous: Array.from({ length: 4 }, () => ({ secret: sealed, until: '2026-01-01T00:00:00Z' })),
        },
      },
    ],
    ['headers', { headers: null }],
    ['headers', { headers: [] }],
    ['headers', { headers: Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`x-${n}`, 'a'])) }],
    ['headers.x y', { headers: { 'x y': 'a' } }],
    ['headers.Webhook-Id', { headers: { 'Webhook-Id': 'a' } }],
    ['headers.x', { headers: { x: 'a\nb' } }],
    ['headers.x', { headers: { x: 1 } }],
    ['headers.x', { headers: { x: 'ü' } }],
    ['headers.x', { headers: { x: 'a'.repeat(8193) } }],
    ['format', { format: 'Raw!' }],
    ['types', { types: [] }],
    ['types', { types: ['a..b'] }],
    ['tenant', { tenant: '' }],
    ['tenant', { tenant: 't'.repeat(513) }],
  ])('%s: %j', async ([path, given]) => {
    await client.query(`select postrider.put_sink('plain', 'webhook', 1::smallint, null, 'key', 'block', 'all')`)
    const refused = await add('name' in given ? given.name : 'acme', given).catch(
      (error: unknown) => error as { code: string; detail: string },
    )
    expect(refused).toMatchObject({ code: 'PR005', hint: 'Nothing of this call was written.' })
    expect(JSON.parse((refused as { detail: string }).detail)).toEqual({ path })
    expect(await one('select count(*)::int as n from postrider.endpoints')).toEqual({ n: 0 })
    expect(await one(`select count(*)::int as n from postrider.sinks where family is not null`)).toEqual({ n: 0 })
  })

  test('the same name twice, also at the same moment', async () => {
    const other = await db.client()
    await other.query('begin')
    await add('acme', {}, other)
    const waiting = add('acme').catch((error: unknown) => error)
    await other.query('commit')
    expect(await waiting).toMatchObject({ code: 'PR005', detail: '{"path": "name"}' })
  })

  test('what is taken is stored as it was given', async () => {
    const given = {
      url: 'http://10.0.0.1:8080/a?b=c',
      secrets: {
        current: ['env:ACME_SECRET', 'file:/run/secrets/a b'],
        previous: [{ secret: sealed, until: '2026-01-01T00:00:00+01:00' }],
      },
      headers: { Authorization: `sealed:0a1b2c3d:${'A'.repeat(6000)}`, 'x-shop': 'a b' },
      format: 'cloudevents-binary',
    }
    await add('acme', given)
    expect(await one('select url, secrets, headers, format from postrider.endpoints')).toEqual(given)
  })
})

describe('a change', () => {
  const change = async (changes: object, endpoint = 'hooks/acme'): Promise<unknown> =>
    (await one(`select postrider.change_endpoint($1, $2, 'moved', 'ada') as changed`, [endpoint, JSON.stringify(changes)]))?.[
      'changed'
    ]

  test('changes what it names and nothing else; null takes it back', async () => {
    await add('acme', { types: ['order.*'], tenant: 't-1', headers: { x: 'y' }, format: 'raw' })
    expect(await change({ url: 'https://new.example/', types: ['user.*'] })).toBe(true)
    const read = `select e.url, e.secrets, e.headers, e.format, s.types, s.tenant from postrider.endpoints as e join postrider.sinks as s on s.name = e.sink`
    const moved = {
      url: 'https://new.example/',
      secrets: { current: [sealed] },
      headers: { x: 'y' },
      format: 'raw',
      types: ['user.*'],
      tenant: 't-1',
    }
    expect(await one(read)).toEqual(moved)
    expect(await change({ types: null, tenant: null, headers: null, format: null })).toBe(true)
    expect(await one(read)).toEqual({ ...moved, types: null, tenant: null, headers: {}, format: null })
  })

  test('holds for what waits: the new filter decides what of the backlog is for it', async () => {
    await add('acme', { types: ['order.*'] })
    const [order, user] = await emit(client, [{ type: 'order.placed' }, { type: 'user.created' }])
    expect(await pending('hooks/acme')).toEqual([order])
    await change({ types: ['user.*'] })
    expect(await pending('hooks/acme')).toEqual([user])
  })

  test('of where it sends makes an open circuit be tried at once, and takes the proof of the old address away', async () => {
    await add('acme')
    await client.query(`select postrider.verify_endpoint('hooks/acme', 'ping')`)
    await client.query(`select postrider.open_circuit('hooks/acme', null, 60000, 60000, 'connect', 'no connection', 10)`)
    await change({ types: ['a'] })
    expect(await one(`select until > clock_timestamp() as waits from postrider.circuits`)).toEqual({ waits: true })
    await change({ url: 'https://new.example/' })
    expect(await one(`select state, until > clock_timestamp() as waits from postrider.circuits`)).toEqual({
      state: 'open',
      waits: false,
    })
    expect(await one('select verified_at from postrider.endpoints')).toEqual({ verified_at: null })
  })

  test('is on record, without the address and without secrets', async () => {
    await add('acme')
    await change({ url: 'https://new.example/path-that-is-a-secret', secrets: { current: ['env:ACME'] } })
    const recorded = (await actions('hooks/acme')).at(-1)
    expect(recorded).toEqual({
      actor: 'ada',
      action: 'changed',
      reason: 'moved',
      detail: { changed: ['secrets', 'url'], origin: 'https://new.example', from_origin: 'https://hooks.acme.example' },
    })
  })

  test.for<[path: string, changes: unknown]>([
    ['changes', []],
    ['state', { state: 'gone' }],
    ['url', { url: 'mailto:a@b' }],
    ['url', { url: null }],
    ['types', { types: 'order.*' }],
    ['types', { types: [] }],
    ['types', { types: ['a', null] }],
    ['secrets.current', { secrets: { current: ['whsec_plain'] } }],
    ['headers.ce-id', { headers: { 'ce-id': 'a' } }],
    ['tenant', { tenant: '' }],
  ])('that breaks a rule changes nothing (%s: %j)', async ([path, changes]) => {
    await add('acme')
    await expect(change(changes as object)).rejects.toMatchObject({
      code: 'PR005',
      detail: JSON.stringify({ path }).replace(':', ': '),
    })
    expect(await one('select url from postrider.endpoints')).toEqual({ url })
  })

  test('of an endpoint that is not there says so', async () => {
    expect(await change({ types: null }, 'hooks/nobody')).toBe(false)
    expect(await change({ types: null }, 'hooks')).toBe(false)
  })
})

describe('removing', () => {
  const remove = (): Promise<Record<string, unknown> | undefined> =>
    one(`select postrider.remove_endpoint('hooks/acme', 'left us', 'ada')::int as dropped`)
  const settle = (fence: string): Promise<unknown> =>
    client.query(
      `insert into postrider.checkpoints (sink, lane, fence, done) select 'hooks/acme', 0, $1, pg_current_snapshot()`,
      [fence],
    )

  test('takes its cursor and all that waits there, and leaves its attempts and the record', async () => {
    await add('acme')
    await add('other')
    const [id] = await emit(client, { type: 'a', key: 'k' })
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select s, 0, position, slot, id, key, 'dead' from postrider.events cross join unnest('{hooks/acme,hooks/other}'::text[]) as s where id = $1`,
      [id],
    )
    await client.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
       select 'hooks/acme', position, slot, id, 1, 'reject', now(), 1 from postrider.events where id = $1`,
      [id],
    )
    await client.query(`select postrider.open_circuit('hooks/acme', null, 1, 1, 'connect', 'no connection', 10)`)
    expect(await remove()).toEqual({ dropped: 1 })
    for (const [table, left] of Object.entries({ endpoints: 1, circuits: 0, lanes: 1, cursors: 1, deliveries: 1, attempts: 1 })) {
      expect(await one(`select count(*)::int as n from postrider.${table}`), table).toEqual({ n: left })
    }
    expect((await actions('hooks/acme')).at(-1)).toEqual({
      actor: 'ada',
      action: 'removed',
      reason: 'left us',
      detail: { origin: 'https://hooks.acme.example', deliveries: 1 },
    })
    expect(await remove()).toEqual({ dropped: null })
  })

  test('a relay that still carries it settles nothing more, also after one of the same name has come', async () => {
    await add('acme')
    await settle('2')
    await remove()
    await expect(settle('3')).rejects.toMatchObject({ constraint: 'checkpoints_pkey' })
    await add('acme')
    await expect(settle('3')).rejects.toMatchObject({ constraint: 'checkpoints_pkey' })
    const ids = await emit(client, { type: 'a' })
    expect(await pending('hooks/acme')).toEqual(ids)
    expect(await one('select fence from postrider.cursors')).toEqual({ fence: '4' })
  })

  test('waits for a settle that is under way, and takes what it wrote', async () => {
    await add('acme')
    const [id] = await emit(client, { type: 'a', key: 'k' })
    const relay = await db.client()
    await relay.query('begin')
    await relay.query(
      `with fence as (insert into postrider.checkpoints (sink, lane, fence, done) values ('hooks/acme', 0, 2, pg_current_snapshot()))
       insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'hooks/acme', 0, position, slot, id, key, 'dead' from postrider.events where id = $1`,
      [id],
    )
    const removing = remove()
    await new Promise((resolve) => setTimeout(resolve, 100))
    await relay.query('commit')
    expect(await removing).toEqual({ dropped: 1 })
    expect(await one('select count(*)::int as n from postrider.deliveries')).toEqual({ n: 0 })
  })

  test('what was left of others that went goes after a day', async () => {
    await add('acme')
    await remove()
    await client.query(`update postrider.checkpoints set at = now() - interval '25 hours'`)
    await add('other')
    await client.query(`select postrider.remove_endpoint('hooks/other', 'left us too')`)
    expect((await client.query('select sink from postrider.checkpoints')).rows).toEqual([{ sink: 'hooks/other' }])
  })

  test('a sink is no endpoint, and cannot be removed like one', async () => {
    expect(await one(`select postrider.remove_endpoint('hooks', 'oops') as dropped`)).toEqual({ dropped: null })
  })
})

describe('notices', () => {
  const fail = (endpoint = 'hooks/acme', failures = 10): Promise<unknown> =>
    client.query(`select postrider.open_circuit($1, null, 60000, 60000, 'status_5xx', 'answered 503', $2)`, [endpoint, failures])
  const ago = (interval: string, endpoint = 'hooks/acme'): Promise<unknown> =>
    client.query(`update postrider.circuits set failing_since = clock_timestamp() - $2::interval where sink = $1`, [
      endpoint,
      interval,
    ])
  const tell = async (): Promise<unknown> => (await one('select postrider.tell_endpoints() as told'))?.['told']

  test('of a failing go out once after 15 minutes, 24 hours and 72 hours', async () => {
    await add('acme', { tenant: 't-1' })
    await fail()
    const told: [string, unknown, unknown][] = []
    for (const since of ['1 minute', '14 minutes', '16 minutes', '20 hours', '25 hours', '71 hours', '73 hours', '119 hours']) {
      await ago(since)
      told.push([since, await tell(), await tell()])
    }
    expect(told).toEqual([
      ['1 minute', 0, 0],
      ['14 minutes', 0, 0],
      ['16 minutes', 1, 0],
      ['20 hours', 0, 0],
      ['25 hours', 1, 0],
      ['71 hours', 0, 0],
      ['73 hours', 1, 0],
      ['119 hours', 0, 0],
    ])
    const all = await notices()
    expect(all.map(({ type, key }) => [type, key])).toEqual(
      Array.from({ length: 3 }, () => ['postrider.endpoint.failing', 'hooks/acme']),
    )
    expect(all[0]?.payload).toEqual({
      sink: 'hooks',
      endpoint: 'hooks/acme',
      origin: 'https://hooks.acme.example',
      tenant: 't-1',
      state: 'active',
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
      failures: 10,
      error_code: 'status_5xx',
      error: 'answered 503',
    })
    expect(JSON.stringify(all)).not.toContain('secret')
  })

  test('that are late go out once, for the longest time that has passed', async () => {
    await add('acme')
    await fail()
    await ago('80 hours')
    expect([await tell(), await tell()]).toEqual([1, 0])
  })

  test('go out once, however many relays ask at the same moment', async () => {
    for (let n = 0; n < 20; n++) {
      await add(`e${n}`)
      await fail(`hooks/e${n}`)
    }
    await client.query(`update postrider.circuits set failing_since = clock_timestamp() - interval '1 hour'`)
    const relays = await Promise.all(Array.from({ length: 4 }, () => db.client()))
    await Promise.all(relays.map((relay) => relay.query('select postrider.tell_endpoints()')))
    await tell()
    const keys = (await notices()).map(({ key }) => key)
    expect(keys.toSorted()).toEqual(Array.from({ length: 20 }, (_, n) => `hooks/e${n}`).toSorted())
  })

  test('that it has recovered follow those that it fails, and only those', async () => {
    await add('acme')
    await fail()
    await client.query(`select postrider.close_circuit('hooks/acme')`)
    expect(await notices()).toEqual([])
    await fail()
    await ago('1 hour')
    await tell()
    await client.query(`select postrider.close_circuit('hooks/acme')`)
    await client.query(`select postrider.close_circuit('hooks/acme')`)
    expect((await notices()).map(({ type }) => type)).toEqual(['postrider.endpoint.failing', 'postrider.endpoint.recovered'])
    // And the next time it is told anew.
    await fail()
    await ago('1 hour')
    expect(await tell()).toBe(1)
  })

  test('an endpoint that an operator resumes has not recovered by that', async () => {
    await add('acme')
    await fail()
    await ago('1 hour')
    await tell()
    await client.query(`select postrider.pause('hooks/acme', 'because'), postrider.resume('hooks/acme')`)
    expect((await notices()).map(({ type }) => type)).toEqual(['postrider.endpoint.failing'])
  })

  test('it is disabled after 120 hours and 20 attempts without a success, not before either', async () => {
    for (const [name, failures, since] of [
      ['patient', 25, '119 hours'],
      ['quiet', 19, '200 hours'],
      ['dead', 20, '121 hours'],
    ] as const) {
      await add(name)
      await fail(`hooks/${name}`, failures)
      await ago(since, `hooks/${name}`)
    }
    await tell()
    expect(
      (await client.query('select endpoint, state, state_by from postrider.endpoint_status order by endpoint')).rows,
    ).toEqual([
      { endpoint: 'hooks/dead', state: 'disabled', state_by: 'postrider' },
      { endpoint: 'hooks/patient', state: 'degraded', state_by: 'ada' },
      { endpoint: 'hooks/quiet', state: 'degraded', state_by: 'ada' },
    ])
    const told = await notices()
    expect(told.map(({ type, key }) => [type, key])).toEqual([
      ['postrider.endpoint.disabled', 'hooks/dead'],
      ['postrider.endpoint.failing', 'hooks/patient'],
      ['postrider.endpoint.failing', 'hooks/quiet'],
    ])
    expect(told[0]?.payload).toMatchObject({
      state: 'disabled',
      actor: 'postrider',
      error_code: 'status_5xx',
      reason: expect.stringMatching(/^no success since .*Z, and 20 failed attempts$/) as string,
    })
    expect(await tell()).toBe(0)
  })

  test('that it is gone go out with the second time that it says so', async () => {
    await add('acme')
    const gone = (): Promise<unknown> => one(`select postrider.gone_sink('hooks/acme', null, 0, 'answered 410') as state`)
    expect(await gone()).toEqual({ state: 'active' })
    await client.query(`select postrider.half_open_circuit('hooks/acme', gen_random_uuid(), 1000)`)
    expect(await notices()).toEqual([])
    expect(await gone()).toEqual({ state: 'gone' })
    expect(await notices()).toMatchObject([
      {
        type: 'postrider.endpoint.gone',
        key: 'hooks/acme',
        payload: { state: 'gone', error_code: 'gone', error: 'answered 410' },
      },
    ])
  })

  test('one that an operator disables is told with who and why, in the same transaction', async () => {
    await add('acme')
    await client.query('begin')
    await client.query(`select postrider.set_state('hooks/acme', 'disabled', 'abuse', 'ada')`)
    await client.query('rollback')
    expect(await notices()).toEqual([])
    await client.query(`select postrider.set_state('hooks/acme', 'disabled', 'abuse', 'ada')`)
    await client.query(`select postrider.set_state('hooks/acme', 'disabled', 'abuse', 'ada')`)
    expect((await notices()).map(({ type, payload }) => [type, payload['actor'], payload['reason']])).toEqual([
      ['postrider.endpoint.disabled', 'ada', 'abuse'],
    ])
  })

  test('are about endpoints that are active; a sink without endpoints and one that is paused have none', async () => {
    await client.query(`select postrider.put_sink('own', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now')`)
    await add('acme')
    for (const name of ['own', 'hooks/acme']) {
      await fail(name, 100)
      await ago('130 hours', name)
    }
    await client.query(`select postrider.pause('hooks/acme', 'because')`)
    expect(await tell()).toBe(0)
    await client.query(`select postrider.set_state('own', 'disabled', 'because', 'ada')`)
    expect(await notices()).toEqual([])
  })

  test('have the same types whatever the schema is called, and its endpoints are spared them too', async () => {
    await migrate(client, { schema: 'outbox' })
    await client.query(
      `select outbox.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now', 8, null, true)`,
    )
    await client.query(`select outbox.add_endpoint('hooks', 'acme', 'https://a.example/', $1)`, [
      JSON.stringify({ current: [sealed] }),
    ])
    await client.query(`select outbox.set_state('hooks/acme', 'disabled', 'abuse', 'ada')`)
    expect((await client.query('select type, source from outbox.events')).rows).toEqual([
      { type: 'postrider.endpoint.disabled', source: 'postrider' },
    ])
    expect((await client.query('select from outbox.pending')).rowCount).toBe(0)
  })
})

describe('what may be seen', () => {
  test('the status of an endpoint shows its origin and the names of its headers, and no view shows more', async () => {
    await add('acme', { headers: { Authorization: 'Bearer canary-of-a-header' } })
    await client.query(`select postrider.open_circuit('hooks/acme', null, 60000, 60000, 'connect', 'no connection', 3)`)
    expect(
      await one('select endpoint, sink, origin, state, failures, error_code, headers from postrider.endpoint_status'),
    ).toEqual({
      endpoint: 'hooks/acme',
      sink: 'hooks',
      origin: 'https://hooks.acme.example',
      state: 'degraded',
      failures: 3,
      error_code: 'connect',
      headers: ['Authorization'],
    })
    await client.query(`select postrider.set_state('hooks/acme', 'disabled', 'abuse', 'ada')`)
    await client.query(`select postrider.remove_endpoint('hooks/acme', 'left us')`)
    const { rows: views } = await client.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'postrider'::regnamespace and relkind in ('r', 'p', 'v') and relname <> 'endpoints'`,
    )
    for (const { name } of views) {
      const { rows } = await client.query(`select * from postrider.${name}`)
      expect(JSON.stringify(rows), name).not.toMatch(/canary|secret|sealed/)
    }
  })

  test.for([
    ['https://A.example:8443/x?y=z', 'https://a.example:8443'],
    ['http://[::1]:80?a', 'http://[::1]:80'],
    ['https://a.example', 'https://a.example'],
  ])('the origin of %s is %s', async ([given, origin]) => {
    expect(await one('select postrider.origin_of($1) as origin', [given])).toEqual({ origin })
  })
})

test('an operator with the role of a relay can add, change, verify and remove endpoints, and tell of them', async () => {
  await migrate(client, { roles: true })
  await client.query('set role postrider_relay')
  await add('acme', { state: 'pending' })
  await client.query(
    `select postrider.verify_endpoint('hooks/acme', 'ping'), postrider.change_endpoint('hooks/acme', '{"types": ["a"]}'),
       postrider.open_circuit('hooks/acme', null, 1, 1, 'connect', 'no connection', 20)`,
  )
  await client.query(`update postrider.circuits set failing_since = clock_timestamp() - interval '121 hours'`)
  expect(await one('select postrider.tell_endpoints() as told')).toEqual({ told: 1 })
  await client.query(`select postrider.resume('hooks/acme', 'mended', 'infinity')`)
  expect(await one(`select postrider.remove_endpoint('hooks/acme', 'left us')::int as dropped`)).toEqual({ dropped: 0 })
  await client.query('reset role')
})
