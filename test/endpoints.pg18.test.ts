import { setTimeout as sleep } from 'node:timers/promises'
import { subscribe, type Messages } from '@postrider/relay'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { faultless, faultsOf, repeats, type Written } from './history.ts'
import { addEndpoint, carryHooks, hooks, startDead, startOffice, stored } from './hooks.ts'
import { testDatabase, type TestDatabase } from './postgres/index.ts'
import { bigNumber, startReceiver, type Receiver } from './receiver.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

let db: TestDatabase
let client: pg.Client
let faults: unknown[]
let forget: () => void
beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  faults = []
  forget = subscribe('postrider:fault', ({ error }) => faults.push(error))
})
afterEach(async () => {
  forget()
  await db[Symbol.asyncDispose]()
  if (faults.length > 0) throw new AggregateError(faults, 'a relay has told of a fault of its own')
})

interface Made extends Written {
  readonly type: string
  readonly tenant: string | null
}

/** Events of all types and tenants, mixed, the `n`th of each key. */
async function emitMixed(count: number, from = 1): Promise<Made[]> {
  const made = Array.from({ length: count }, (_, index) => {
    const tenant = [null, 't-1', 't-2'][index % 3] ?? null
    return {
      type: ['order.placed', 'order.paid', 'user.created'][index % 3 === 0 ? index % 2 : index % 3] ?? '',
      tenant,
      key: `k${index % 7}`,
      n: from + index,
    }
  })
  const { rows } = await client.query<{ id: string }>(`select postrider.emit($1::text::jsonb) as id`, [
    `[${made
      .map(
        ({ type, tenant, key, n }) =>
          `{"type":"${type}","tenant":${JSON.stringify(tenant)},"key":"${key}","payload":{"key":"${key}","n":${n},"big":${bigNumber}}}`,
      )
      .join(',')}]`,
  ])
  return made.map((event, index) => ({ ...event, id: rows[index]?.id ?? '' }))
}

/** What of the committed events an endpoint was promised: all that its beginning had not seen. */
async function promised(endpoint: string, committed: readonly Written[]): Promise<Written[]> {
  const { rows } = await client.query<{ id: string }>(
    `select e.id from postrider.events as e join postrider.sinks as s on s.name = $1 where not pg_visible_in_snapshot(e.xid, s.origin)`,
    [endpoint],
  )
  const ids = new Set(rows.map(({ id }) => id))
  return committed.filter(({ id }) => ids.has(id))
}

const takenAll = (receiver: Receiver, expected: readonly Written[]): boolean => {
  const taken = new Set(receiver.taken.map(({ id }) => id))
  return expected.every(({ id }) => taken.has(id))
}

/** Nothing more arrives there for a while. */
async function quiet(receiver: Receiver): Promise<void> {
  await until('nothing more arrives', async () => {
    const before = receiver.arrivals.length
    await sleep(300)
    return receiver.arrivals.length === before
  })
}

test('each event goes to the endpoints whose types and tenant it has, in the order of its key, whichever of two relays carries them', async () => {
  await using one = await carryHooks(db.url)
  await using two = await carryHooks(db.url)
  const filters = {
    all: {},
    orders: { types: ['order.*'] },
    first: { tenant: 't-1' },
    'first-users': { types: ['user.**', 'order.paid'], tenant: 't-1' },
    nothing: { types: ['postrider.**'] },
  }
  const receivers = new Map<string, Receiver>()
  await using stack = new AsyncDisposableStack()
  for (const [name, filter] of Object.entries(filters)) {
    const receiver = stack.use(await startReceiver())
    receivers.set(name, receiver)
    await addEndpoint(client, name, receiver, filter)
  }
  const lanes = (): number[] => [one, two].map(({ relay }) => relay.health().lanes.length)
  await until('both relays carry endpoints', () => lanes().reduce((a, b) => a + b) === 5 && Math.min(...lanes()) >= 1)

  const made = await emitMixed(210)
  const wanted: Record<string, (event: Made) => boolean> = {
    all: () => true,
    orders: ({ type }) => type.startsWith('order.'),
    first: ({ tenant }) => tenant === 't-1',
    'first-users': ({ type, tenant }) => tenant === 't-1' && (type.startsWith('user.') || type === 'order.paid'),
    nothing: () => false,
  }
  for (const [name, receiver] of receivers) {
    const expected = made.filter(wanted[name] ?? (() => false))
    await until(`${name} has its events`, () => takenAll(receiver, expected))
  }
  await sleep(300)
  for (const [name, receiver] of receivers) {
    expect(faultsOf(made.filter(wanted[name] ?? (() => false)), receiver.arrivals), name).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    expect(repeats(receiver.arrivals), name).toBe(0)
  }
  expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)
})

test('an endpoint that is added while events flow gets everything that is written from then on; one from the beginning gets all', async () => {
  await using old = await startReceiver()
  await using young = await startReceiver()
  await using whole = await startReceiver()
  await using relay = await carryHooks(db.url)
  const oldName = await addEndpoint(client, 'old', old)
  await using writers = await startWriters(db.url, { keys: 10 })
  await until('events flow', () => old.distinct > 50)
  const youngName = await addEndpoint(client, 'young', young)
  await addEndpoint(client, 'whole', whole, { starts: 'beginning', lanes: 2 })
  await until('they flow to all', () => young.distinct > 50 && whole.distinct > 150)
  await writers.stop()
  for (const [name, receiver] of [
    [oldName, old],
    [youngName, young],
    ['hooks/whole', whole],
  ] as const) {
    const expected = await promised(name, writers.committed)
    await until(`${name} has everything`, () => takenAll(receiver, expected))
    expect(faultsOf(expected, receiver.taken), name).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
  }
  expect((await promised(youngName, writers.committed)).length).toBeLessThan(writers.committed.length)
  expect(relay.relay.health().lanes).toHaveLength(4)
})

test('a new address and a new secret hold at once, and nothing is lost between the two', async () => {
  await using before = await startReceiver()
  await using after = await startReceiver()
  await using _relay = await carryHooks(db.url)
  const name = await addEndpoint(client, 'acme', before)
  await using writers = await startWriters(db.url, { keys: 10 })
  await until('events flow', () => before.distinct > 50)
  await client.query(`select postrider.change_endpoint($1, $2)`, [name, stored(name, after)])
  await until('they flow to the new address', () => after.distinct > 50)
  await quiet(before)
  await writers.stop()
  const expected = await promised(name, writers.committed)
  const both = (): Written[] => [...before.taken, ...after.taken].toSorted((a, b) => a.at - b.at)
  await until('everything arrived', () => new Set(both().map(({ id }) => id)).size >= expected.length)
  expect(faultsOf(expected, both())).toEqual(faultless)
  expect([...before.complaints, ...after.complaints]).toEqual([])
})

test('from its consent on an endpoint is told with each event who sends it, and within the rate that it allows; others are not', async () => {
  await using consented = await startReceiver()
  await using other = await startReceiver()
  await using _relay = await carryHooks(db.url, hooks({ requestOrigin: 'events.shop.example' }))
  const name = await addEndpoint(client, 'acme', consented)
  await addEndpoint(client, 'other', other)
  const made = await emitMixed(6)
  await until('both have them', () => consented.distinct === 6 && other.distinct === 6)
  await client.query(`select postrider.verify_endpoint($1, 'cloudevents', allowed_rate => 20)`, [name])
  // Another event may still go the old way, but none after the first that goes the new one.
  let count = 6
  await until('it is told', async () => {
    made.push(...(await emitMixed(1, ++count)))
    return consented.arrivals.at(-1)?.sender !== null
  })
  const begun = performance.now()
  made.push(...(await emitMixed(60, count + 1)))
  await until('both have all', () => consented.distinct === made.length && other.distinct === made.length)
  const taken = consented.arrivals.filter(({ n }) => n > count)
  expect(new Set(taken.map(({ sender }) => sender))).toEqual(new Set(['events.shop.example']))
  // A second's worth may go at once.
  expect((taken.at(-1)?.at ?? 0) - begun).toBeGreaterThan(1_500)
  expect(new Set(other.arrivals.map(({ sender }) => sender))).toEqual(new Set([null]))
  for (const { arrivals, complaints } of [consented, other]) {
    expect(faultsOf(made, arrivals)).toEqual(faultless)
    expect(complaints).toEqual([])
  }
})

test('what waits in trouble goes to the new address too', async () => {
  await using broken = await startReceiver({ answer: ({ n }) => (n === 3 ? 422 : 204) })
  await using mended = await startReceiver()
  await using _relay = await carryHooks(
    db.url,
    hooks({}, { retry: { delaysMs: Array.from({ length: 100 }, () => 500), jitter: 0, maxAgeMs: 600_000 } }),
  )
  const name = await addEndpoint(client, 'acme', broken)
  const made = await emitMixed(21)
  const waits = async (): Promise<number | null> => (await client.query(`select from postrider.deliveries`)).rowCount
  await until('one waits, and others behind it', async () => broken.distinct === 18 && (await waits()) === 3)
  await client.query(`select postrider.change_endpoint($1, $2)`, [name, stored(name, mended)])
  await until('they arrived at the new address', async () => mended.distinct === 3 && (await waits()) === 0)
  expect(faultsOf(made, [...broken.taken, ...mended.taken])).toEqual(faultless)
})

describe('a pause', () => {
  /** Events flow, the endpoint is paused for a while and resumed; answers what was expected and what came. */
  async function pausedAndResumed(choice: 'all' | 'since' | 'skip'): Promise<{
    name: string
    paused: Receiver
    other: Receiver
    committed: readonly Written[]
    before: ReadonlySet<string>
    stack: AsyncDisposableStack
  }> {
    const stack = new AsyncDisposableStack()
    const paused = stack.use(await startReceiver())
    const other = stack.use(await startReceiver())
    stack.use(await carryHooks(db.url))
    stack.use(await carryHooks(db.url))
    const name = await addEndpoint(client, 'acme', paused)
    await addEndpoint(client, 'other', other)
    const writers = stack.use(await startWriters(db.url, { keys: 10 }))
    await until('events flow', () => paused.distinct > 50)
    await client.query(`select postrider.pause($1, 'because')`, [name])
    await quiet(paused)
    const otherBefore = other.distinct
    const before = new Set(paused.arrivals.map(({ id }) => id))
    await until('events flow to the other', () => other.distinct > otherBefore + 50)
    const { rows } = await client.query<{ now: string }>('select clock_timestamp()::text as now')
    await until('and more of them', () => other.distinct > otherBefore + 100)
    expect(paused.arrivals.length, 'nothing is sent while it is paused').toBe(before.size)
    expect((await client.query('select from postrider.deliveries')).rowCount, 'nothing is written while it is paused').toBe(0)
    await client.query(`select postrider.resume($1, 'on', $2::timestamptz)`, [
      name,
      { all: '-infinity', skip: 'infinity', since: rows[0]?.now ?? '' }[choice],
    ])
    await until('events flow again', () => paused.distinct > before.size + 50)
    await writers.stop()
    await until('the other has everything', () => other.distinct >= writers.committed.length)
    return { name, paused, other, committed: writers.committed, before, stack }
  }

  test('that ends with all loses nothing and keeps the order', async () => {
    const { name, paused, other, committed, stack } = await pausedAndResumed('all')
    await using _ = stack
    const expected = await promised(name, committed)
    await until('everything arrived', () => takenAll(paused, expected))
    expect(faultsOf(expected, paused.taken)).toEqual(faultless)
    expect(faultsOf(committed, other.taken)).toEqual(faultless)
    expect([...paused.complaints, ...other.complaints]).toEqual([])
  })

  test.for(['since', 'skip'] as const)('that ends with %s leaves out what the record says, and nothing else', async (choice) => {
    const { name, paused, committed, before, stack } = await pausedAndResumed(choice)
    await using _ = stack
    const { rows } = await client.query<{ id: string; left_out: boolean }>(
      `select e.id, e.position <= (a.detail ->> 'up_to_position')::bigint as left_out
       from postrider.events as e cross join postrider.actions as a where a.sink = $1 and a.action = 'left_out'`,
      [name],
    )
    const leftOut = new Set(rows.filter((row) => row.left_out && !before.has(row.id)).map(({ id }) => id))
    const expected = committed.filter(({ id }) => !leftOut.has(id))
    await until('all others arrived', () => takenAll(paused, expected))
    await sleep(300)
    expect(faultsOf(expected, paused.taken)).toEqual(faultless)
    expect(leftOut.size).toBeGreaterThan(choice === 'since' ? 40 : 90)
    expect(paused.complaints).toEqual([])
  })
})

test('an endpoint that is removed while events flow gets nothing more and leaves nothing; the others do not notice', async () => {
  await using gone = await startReceiver()
  await using other = await startReceiver()
  await using one = await carryHooks(db.url)
  await using two = await carryHooks(db.url)
  const name = await addEndpoint(client, 'acme', gone)
  await addEndpoint(client, 'other', other)
  await using writers = await startWriters(db.url, { keys: 10 })
  await until('events flow', () => gone.distinct > 50)
  await client.query(`select postrider.remove_endpoint($1, 'left us')`, [name])
  await quiet(gone)
  const otherBefore = other.distinct
  const arrived = gone.arrivals.length
  await until('events flow to the other', () => other.distinct > otherBefore + 100)
  expect(gone.arrivals).toHaveLength(arrived)
  expect([one, two].flatMap(({ relay }) => relay.health().lanes)).toEqual([{ sink: 'hooks/other', lane: 0 }])
  expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)

  // And one of the same name is another one.
  await using again = await startReceiver()
  await addEndpoint(client, 'acme', again)
  await until('events flow to the new one', () => again.distinct > 50)
  await writers.stop()
  const expected = await promised(name, writers.committed)
  await until('everything arrived', () => takenAll(again, expected) && takenAll(other, writers.committed))
  expect(faultsOf(expected, again.taken)).toEqual(faultless)
  expect(faultsOf(writers.committed, other.taken)).toEqual(faultless)
})

test('one that answers 410 twice is gone, and a notice says so; resumed, it gets all that came meanwhile', async () => {
  let wanted = false
  await using office = await startOffice()
  await using receiver = await startReceiver({ answer: () => (wanted ? 204 : 410) })
  await using _one = await carryHooks(db.url)
  await using _two = await carryHooks(db.url)
  await addEndpoint(client, 'office', office, { types: ['postrider.**'] })
  const name = await addEndpoint(client, 'acme', receiver)
  const stateOf = async (): Promise<unknown> =>
    (await client.query<{ state: unknown }>('select state from postrider.endpoint_status where endpoint = $1', [name])).rows[0]
      ?.state

  const made = await emitMixed(30)
  await until('it has said so once', async () => (await stateOf()) === 'degraded')
  await sleep(300)
  expect(office.notices).toEqual([])
  // It is asked again after five minutes.
  await client.query(`update postrider.circuits set until = clock_timestamp(); select postrider.tell_relays()`)
  await until('it has said so twice', async () => (await stateOf()) === 'gone')
  await until('the office was told', () => office.notices.length === 1)
  expect(office.notices[0]).toMatchObject({
    type: 'postrider.endpoint.gone',
    data: { endpoint: name, sink: 'hooks', state: 'gone', error_code: 'gone', origin: receiver.url.slice(0, -1) },
  })
  wanted = true
  const more = await emitMixed(30, 31)
  await sleep(300)
  expect(receiver.taken, 'nobody asks one that is gone').toEqual([])
  await client.query(`select postrider.resume($1, 'they want it after all')`, [name])
  const both = [...made, ...more]
  await until('everything arrived', () => takenAll(receiver, both))
  expect(faultsOf(both, receiver.taken)).toEqual(faultless)
  expect(office.notices).toHaveLength(1)
  // Nothing of it was charged to an event.
  expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)
})

test('of one that fails for long the office hears from a relay, and again when it recovers', { timeout: 60_000 }, async () => {
  let up = false
  await using office = await startOffice()
  await using receiver = await startReceiver({ answer: () => (up ? 204 : 503) })
  await using _relay = await carryHooks(db.url)
  await addEndpoint(client, 'office', office, { types: ['postrider.endpoint.*'] })
  const name = await addEndpoint(client, 'acme', receiver)
  const made = await emitMixed(30)
  await until('its circuit is open', async () => (await client.query('select from postrider.circuits')).rowCount === 1)
  await client.query(`update postrider.circuits set failing_since = clock_timestamp() - interval '16 minutes'`)
  await until('the office was told', () => office.notices.length === 1, 30_000)
  up = true
  await client.query(`update postrider.circuits set until = clock_timestamp(); select postrider.tell_relays()`)
  await until('everything arrived', () => takenAll(receiver, made))
  await until('the office was told again', () => office.notices.length === 2)
  expect(office.notices).toMatchObject([
    { type: 'postrider.endpoint.failing', data: { endpoint: name, error_code: 'status_5xx', error: 'answered 503' } },
    { type: 'postrider.endpoint.recovered', data: { endpoint: name, state: 'active' } },
  ])
})

test('one whose row cannot be used stands still, the relay says so once, and nothing else suffers; mended, it goes on', async () => {
  const said: Messages['postrider:endpoint'][] = []
  const stopListening = subscribe('postrider:endpoint', (message) => said.push(message))
  await using good = await startReceiver()
  await using mended = await startReceiver()
  await using _relay = await carryHooks(db.url)
  const name = await addEndpoint(client, 'broken', { ...mended, url: 'http://169.254.169.254/' })
  await addEndpoint(client, 'good', good)
  const made = await emitMixed(30)
  await until('the other has everything', () => takenAll(good, made))
  expect(said.map(({ sink, error }) => [sink, error instanceof Error ? error.message : ''])).toEqual([
    [name, expect.stringContaining('url: target not allowed') as string],
  ])
  await client.query(`select postrider.change_endpoint($1, $2)`, [name, stored(name, mended)])
  await until('it has everything', () => takenAll(mended, made))
  expect(faultsOf(made, mended.taken)).toEqual(faultless)
  expect(said).toHaveLength(1)
  stopListening()
})

test('of 21 endpoints one is dead and gets a tenth of the events: the others are drained, and it has no rows beyond its slots', async () => {
  const slots = 4
  const perEndpoint = 100
  const forDead = Math.floor((20 * perEndpoint) / 9)
  await using dead = await startDead()
  await using _relay = await carryHooks(db.url, hooks({ timeouts: { totalMs: 5_000 } }, { concurrency: slots }))
  await using stack = new AsyncDisposableStack()
  const healthy: Receiver[] = []
  for (let n = 0; n < 20; n++) {
    const receiver = stack.use(await startReceiver())
    healthy.push(receiver)
    await addEndpoint(client, `e${n}`, receiver, { types: [`e${n}.made`] })
  }
  await addEndpoint(client, 'dead', dead, { types: ['dead.made'] })
  await client.query(
    `select count(*) from postrider.emit((
       select jsonb_agg(jsonb_build_object('type', 'e' || n || '.made', 'key', 'k' || i % 10, 'payload', jsonb_build_object('key', 'k' || i % 10, 'n', i, 'big', ${bigNumber})))
       from generate_series(0, 19) as n cross join generate_series(1, $1::int) as i))`,
    [perEndpoint],
  )
  await client.query(
    `select count(*) from postrider.emit((select jsonb_agg(jsonb_build_object('type', 'dead.made', 'key', 'k' || i)) from generate_series(1, $1::int) as i))`,
    [forDead],
  )
  await until('the others are drained', () => healthy.every(({ distinct }) => distinct === perEndpoint))
  await until('the dead one was tried', () => dead.connections > 0)
  const backlog = `select b.sink as endpoint, b.pending, b.retrying + b.blocked + b.dead + b.scheduled as rows from postrider.backlog as b where b.pending > 0 or b.retrying + b.blocked + b.dead + b.scheduled > 0`
  await until('theirs is settled', async () => (await client.query(backlog)).rowCount === 1)
  const { rows } = await client.query<{ endpoint: string; pending: string; rows: string }>(backlog)
  expect(rows.map(({ endpoint }) => endpoint)).toEqual(['hooks/dead'])
  expect(Number(rows[0]?.rows)).toBeLessThanOrEqual(slots)
  expect(Number(rows[0]?.pending)).toBeGreaterThanOrEqual(forDead - slots - 1)
  for (const { complaints } of healthy) expect(complaints).toEqual([])
})
