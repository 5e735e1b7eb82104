import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit } from './emit.ts'

const relay = '018f3c2e-0000-7000-8000-0000000000aa'

let db: TestDatabase
let client: Client
/** Of key `k`, in this order; `late` was written by a transaction that committed last, and drew the first position. */
let first: string
let second: string
let late: string

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())

beforeEach(async () => {
  await client.query(
    'truncate postrider.events, postrider.attempts, postrider.sinks, postrider.checkpoints, postrider.deliveries, postrider.relays, postrider.actions cascade',
  )
  const other = await db.client()
  await other.query('begin')
  ;[late = ''] = await emit(other, { type: 'order.late', key: 'k' })
  ;[first = ''] = await emit(client, { type: 'order.placed', key: 'k' })
  ;[second = ''] = await emit(client, { type: 'order.paid', key: 'k' })
  await other.query('commit')
  await other.end()
  await sink()
})
afterEach(() => client.query('set timezone to default'))

interface Rules {
  readonly types?: readonly string[]
  readonly onDead?: 'block' | 'park'
  readonly audit?: 'all' | 'failures' | 'none'
  readonly starts?: 'beginning' | 'now'
}

async function sink({ types, onDead = 'block', audit = 'all', starts = 'beginning' }: Rules = {}): Promise<void> {
  await client.query(`select postrider.put_sink('shop', 'webhook', 1::smallint, $1, 'key', $2, $3, $4)`, [
    types ?? null,
    onDead,
    audit,
    starts,
  ])
}

/** The cursor has passed everything that is there now. */
async function pass(): Promise<void> {
  await client.query(`insert into postrider.checkpoints (sink, lane, fence, done) values ('shop', 0, 2, pg_current_snapshot())`)
}

/** A window is open: all there is now, passed up to the event. */
async function passUpTo(id: string): Promise<void> {
  await client.query(
    `insert into postrider.checkpoints (sink, lane, fence, done, target, position)
     select 'shop', 0, 2, '1:1:', pg_current_snapshot(), position from postrider.events where id = $1`,
    [id],
  )
}

async function carry(until = '1 minute'): Promise<void> {
  await client.query(`insert into postrider.relays (id, name, version) values ($1, 'host:1', '0')`, [relay])
  await client.query(`update postrider.lanes set relay = $1, leased_until = clock_timestamp() + $2::interval`, [relay, until])
}

interface Trouble {
  readonly state: string
  readonly attempts?: number
  readonly forgiven?: number
  readonly code?: string
  readonly error?: string
  readonly inSeconds?: number
  readonly parked?: boolean
  readonly operation?: number
}

async function trouble(id: string, row: Trouble): Promise<void> {
  const { state, attempts = 0, forgiven = 0, code = null, error = null, inSeconds = 0, parked = false, operation = null } = row
  await client.query(
    `insert into postrider.deliveries
       (sink, lane, position, slot, event_id, key, state, attempts, forgiven, error_code, error, available_at, since, parked, operation_id)
     select 'shop', 0, position, slot, id, key, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 second', '2026-01-02T03:04:05Z', $8, $9
     from postrider.events where id = $1`,
    [id, state, attempts, forgiven, code, error, inSeconds, parked, operation],
  )
}

async function attempt(id: string, number: number, outcome: string, status?: number): Promise<void> {
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, status, started_at, duration_ms)
     select 'shop', position, slot, id, $2, $3, $4, '2026-01-02T03:04:05Z', 250 from postrider.events where id = $1`,
    [id, number, outcome, status ?? null],
  )
}

const failed: Trouble = { state: 'retrying', attempts: 3, code: 'status_5xx', error: 'answered 503', inSeconds: 60 }
const at = '2026-01-02T03:04:05Z'
const told = '2026-01-02 03:04:05\\+00'

/** The circuit of the sink; times in seconds from now. */
async function circuit(state: string, untilSeconds: number | null, quietSeconds: number | null = null): Promise<void> {
  await client.query(
    `insert into postrider.circuits (sink, state, trips, until, prober, error_code, error, quiet_until, failing_since, failures)
     values ('shop', $1, 2, clock_timestamp() + $2 * interval '1 second', $3, 'connect', 'refused', clock_timestamp() + $4 * interval '1 second', $5, 12)`,
    [state, untilSeconds, relay, quietSeconds, at],
  )
}

async function lanes(change: string): Promise<void> {
  await client.query(`update postrider.lanes set ${change}`)
}

async function sinks(change: string): Promise<void> {
  await client.query(`update postrider.sinks set ${change}`)
}

interface More {
  readonly attempts?: number
  readonly next?: boolean
  readonly of?: () => string
  /** What would help; by default nothing is said. */
  readonly hint?: RegExp
  /** It has been so for a known time. */
  readonly since?: boolean
}

const nobody: More = { since: true, hint: /^postrider start$/ }
const wait: More = { since: true }

/** What is done, with which event in mind, and where it is then, and why. FIRST, SECOND and LATE stand for ids. */
const states: readonly (readonly [string, () => Promise<unknown>, string, RegExp, More?])[] = [
  [
    'pending, nobody carries it',
    async () => {},
    'pending',
    /^behind the cursor, 1 event of its lane before it; no relay carries lane 0$/,
    nobody,
  ],
  ['pending, the lease ran out', () => carry('-1 second'), 'pending', /; no relay carries lane 0$/, nobody],
  ['pending, the next', async () => {}, 'pending', /^behind the cursor, the next of its lane; /, { ...nobody, of: () => late }],
  [
    'pending, two events before it',
    async () => {},
    'pending',
    /^behind the cursor, 2 events of its lane before it; /,
    { ...nobody, of: () => second },
  ],
  [
    'pending, more before it than are counted',
    () =>
      client.query(
        `with moved as (delete from postrider.events where id = '${second}' returning *)
         insert into postrider.events (xid, position, id, bucket, type, source, content_type) overriding system value
         select m.xid, m.position + n, case n when 1500 then m.id else gen_random_uuid() end, m.bucket, m.type, 's', 'a/b'
         from moved as m cross join generate_series(1, 1500) as n`,
      ),
    'pending',
    /^behind the cursor, at least \d{3,4} events of its lane before it; /,
    { ...nobody, of: () => second },
  ],
  [
    'pending, carried',
    () => carry(),
    'pending',
    /^behind the cursor, 1 event of its lane before it; lane 0 is carried by relay host:1 \(018f3c2e-0000-7000-8000-0000000000aa\) until 20[^;]*$/,
    wait,
  ],
  [
    'pending, the sink is paused for a time',
    async () => {
      await carry()
      await client.query(`select postrider.pause('shop', 'their release', interval '1 hour', 'ann')`)
    },
    'pending',
    /before it; the sink is paused since 20.* by ann until 20.*: their release$/,
    { since: true, hint: /^select postrider\.resume\('shop'\);$/ },
  ],
  [
    'pending, the endpoint is not active yet',
    () => sinks(`state = 'pending', state_since = '${at}'`),
    'pending',
    new RegExp(`; the sink is pending since ${told}$`),
    wait,
  ],
  [
    'pending, the sink is disabled',
    () => sinks(`state = 'disabled', state_by = 'postrider', state_reason = 'five days without a success'`),
    'pending',
    /; the sink is disabled since 20.* by postrider: five days without a success$/,
    { since: true, hint: /resume/ },
  ],
  [
    'pending, the sink is gone',
    () => client.query(`select postrider.set_state('shop', 'gone', 'answered 410', 'postrider')`),
    'pending',
    /; the sink is gone since 20.* by postrider: answered 410$/,
    { since: true, hint: /resume/ },
  ],
  [
    'pending, the circuit is open',
    () => circuit('open', 60),
    'pending',
    new RegExp(`; the circuit is open until 20.*, after 12 failures since ${told} \\(connect: refused\\)$`),
    nobody,
  ],
  [
    'pending, the circuit may be probed',
    () => circuit('open', -1),
    'pending',
    /; the circuit is open, and a probe is due since 20/,
    nobody,
  ],
  [
    'pending, the circuit is half open',
    () => circuit('half_open', 60),
    'pending',
    /; the circuit is half open: relay 018f3c2e-0000-7000-8000-0000000000aa sends one event to see, until 20[^;]*$/,
    nobody,
  ],
  [
    'pending, the destination asked for a pause',
    () => circuit('closed', null, 60),
    'pending',
    /; the destination asked for a pause until 20[^;]*$/,
    nobody,
  ],
  ['pending, that pause is over', () => circuit('closed', null, -1), 'pending', /; no relay carries lane 0$/, nobody],
  [
    'pending, limited',
    async () => {
      await carry()
      await sinks('rate = 9')
      await client.query(`select postrider.set_limits('shop', 2, 0.5)`)
    },
    'pending',
    /; lane 0 is carried by .*; at most 0\.5 a second; at most 2 in flight$/,
    wait,
  ],
  [
    'pending, limited by configuration',
    async () => {
      await carry()
      await sinks('rate = 9')
    },
    'pending',
    /; at most 9 a second$/,
    wait,
  ],
  [
    'pending, the limit was lifted',
    async () => {
      await carry()
      await sinks(`rate = 9, live_rate = 'infinity'`)
    },
    'pending',
    /until 20[^;]*$/,
    wait,
  ],
  [
    'pending, a relay died with its lane',
    async () => {
      await carry()
      await lanes('careful = 64')
    },
    'pending',
    /; 64 events at once, because a relay died with this lane in hand$/,
    wait,
  ],
  [
    'pending, and relays die of it',
    async () => {
      await carry()
      await lanes(`careful = 1, strikes = 2, suspect = (select position from postrider.events where id = '${first}')`)
    },
    'pending',
    /; this event is carried alone: relays died while they carried just it \(2 so far\)$/,
    wait,
  ],
  [
    'pending, and relays die of another',
    async () => {
      await carry()
      await lanes('careful = 1, suspect = 7')
    },
    'pending',
    /; before it the event at position 7 is carried alone, because relays died here$/,
    wait,
  ],
  [
    'pending, and expires',
    () => client.query(`update postrider.events set expires_at = '2099-01-01T00:00:00Z'`),
    'pending',
    /; no relay carries lane 0; it expires at 2099-01-01 00:00:00\+00$/,
    nobody,
  ],
  [
    'pending, in an open window',
    () => passUpTo(first),
    'pending',
    /^behind the cursor, the next of its lane/,
    { ...nobody, of: () => second },
  ],
  ['passed, in an open window', () => passUpTo(first), 'passed', /^passed by the cursor/],
  [
    'scheduled',
    () => trouble(first, { state: 'scheduled', inSeconds: 60 }),
    'scheduled',
    /^scheduled for 20[^;]*$/,
    { next: true, since: true },
  ],
  [
    'scheduled, and its time has come',
    () => trouble(first, { state: 'scheduled' }),
    'scheduled',
    /^scheduled for 20.*; no relay carries lane 0$/,
    { next: true, since: true },
  ],
  [
    'retrying, later',
    () => trouble(first, failed),
    'retrying',
    /^attempt 3 failed \(status_5xx: answered 503\), next at 20[^;]*$/,
    { attempts: 3, next: true, since: true },
  ],
  [
    'retrying, due and nobody carries it',
    () => trouble(first, { ...failed, inSeconds: -1 }),
    'retrying',
    /^attempt 3 failed .*; no relay carries lane 0$/,
    { attempts: 3, next: true, since: true },
  ],
  [
    'retrying, and the circuit is open',
    async () => {
      await trouble(first, failed)
      await circuit('open', 60)
    },
    'retrying',
    /^attempt 3 failed .*; the circuit is open until 20/,
    { attempts: 3, next: true, since: true },
  ],
  [
    'retrying, let go',
    () => trouble(first, { state: 'retrying' }),
    'retrying',
    /^let go, due since 20.*; no relay/,
    { next: true, since: true },
  ],
  [
    'retrying, sent again by an operator',
    () => trouble(first, { ...failed, forgiven: 3, inSeconds: 0 }),
    'retrying',
    /^sent again by an operator at 2026-01-02 03:04:05/,
    { attempts: 3, next: true, since: true },
  ],
  [
    'retrying, failed again after that',
    () => trouble(first, { ...failed, forgiven: 2 }),
    'retrying',
    /^attempt 3 failed/,
    { attempts: 3, next: true, since: true },
  ],
  [
    'retrying, an attempt takes long',
    () => trouble(first, { state: 'retrying', code: 'slow', inSeconds: 9 }),
    'retrying',
    /^slow: an attempt is still under way/,
    { next: true, since: true },
  ],
  [
    'retrying, interrupted',
    () => trouble(first, { state: 'retrying', code: 'interrupted' }),
    'retrying',
    /^interrupted, due since/,
    { next: true, since: true },
  ],
  [
    'blocked behind a retrying head',
    async () => {
      await trouble(first, failed)
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is retrying \(status_5xx: answered 503\)$/,
    { of: () => second, since: true },
  ],
  [
    'blocked behind the nearest of several heads',
    async () => {
      await trouble(late, { state: 'dead' })
      await trouble(first, { state: 'retrying' })
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is retrying$/,
    { of: () => second, since: true },
  ],
  [
    'blocked behind a head that stands later in the log',
    async () => {
      await trouble(first, { state: 'dead' })
      await trouble(late, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is dead$/,
    { of: () => late, since: true, hint: /^select postrider\.retry\('FIRST', 'shop'\);$/ },
  ],
  [
    'blocked, and not behind a dead event that is parked',
    async () => {
      await trouble(late, failed)
      await trouble(first, { state: 'dead', parked: true })
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event LATE of the same key, which is retrying \(/,
    { of: () => second, since: true },
  ],
  [
    'blocked, and the sink is paused',
    async () => {
      await trouble(first, failed)
      await trouble(second, { state: 'blocked' })
      await sinks(`state = 'paused', state_by = 'ann'`)
    },
    'blocked',
    /^behind event FIRST .*; the sink is paused since 20.* by ann$/,
    { of: () => second, since: true, hint: /resume/ },
  ],
  [
    'blocked by nothing any more',
    () => trouble(second, { state: 'blocked' }),
    'blocked',
    /^nothing of its key is in the way any more.*; no relay carries lane 0$/,
    { of: () => second, since: true },
  ],
  [
    'dead',
    () => trouble(first, { ...failed, state: 'dead', attempts: 12 }),
    'dead',
    new RegExp(`^dead since ${told} after 12 attempts \\(status_5xx: answered 503\\); later events of its key wait behind it$`),
    { attempts: 12, since: true, hint: /^select postrider\.retry\('FIRST', 'shop'\);$/ },
  ],
  [
    'dead and parked',
    () => trouble(first, { ...failed, state: 'dead', parked: true }),
    'dead',
    /\); parked: later events of its key pass$/,
    { attempts: 3, since: true, hint: /retry/ },
  ],
  [
    'sent once more by an operation',
    async () => {
      await attempt(first, 1, 'delivered')
      await pass()
      await client.query(
        `insert into postrider.operations (id, kind, filter, sink, actor, up_to_position) overriding system value
         values (7, 'replay', '{}', 'shop', 'ann', 0) on conflict do nothing`,
      )
      await trouble(first, { state: 'retrying', operation: 7 })
    },
    'retrying',
    /^let go, due since .*; operation 7 \(replay by ann\) sends it once more$/,
    { next: true, since: true },
  ],
  [
    'delivered at the first attempt',
    async () => {
      await attempt(first, 1, 'delivered', 204)
      await pass()
    },
    'delivered',
    /^delivered at 2026-01-02 03:04:05\.25\+00 by attempt 1, status 204$/,
    { attempts: 1, since: true },
  ],
  [
    'delivered after trouble',
    async () => {
      await attempt(first, 3, 'delivered')
      await attempt(first, 1, 'retry')
      await attempt(first, 2, 'retry')
      await pass()
    },
    'delivered',
    /by attempt 3$/,
    { attempts: 3, since: true },
  ],
  [
    'delivered after a pause that the destination asked for, by clocks that differ',
    async () => {
      await attempt(first, 1, 'delivered')
      await attempt(first, 1, 'throttled')
      await pass()
    },
    'delivered',
    /by attempt 1$/,
    { attempts: 1, since: true },
  ],
  [
    'delivered, ahead of the cursor',
    () => attempt(first, 1, 'delivered'),
    'delivered',
    /^delivered at/,
    { attempts: 1, since: true },
  ],
  [
    'delivered without a record',
    async () => {
      await sink({ audit: 'failures' })
      await attempt(first, 1, 'retry')
      await pass()
    },
    'delivered',
    /^passed by the cursor, and waits nowhere; the audit of the sink \(failures\) keeps no record of it$/,
    { attempts: 1 },
  ],
  [
    'discarded',
    async () => {
      await trouble(first, { ...failed, state: 'dead' })
      await client.query(`select postrider.discard($1, 'no such shop', actor => 'ann')`, [first])
      await pass()
    },
    'discarded',
    /^discarded at 20.* by ann: no such shop$/,
    { attempts: 3, since: true },
  ],
  [
    'expired',
    async () => {
      await client.query(`update postrider.events set expires_at = '${at}'`)
      await attempt(first, 1, 'retry')
      await attempt(first, 1, 'expired')
      await pass()
    },
    'expired',
    new RegExp(`^expired at ${told}, before it could be delivered$`),
    { attempts: 1, since: true },
  ],
  [
    'filtered out, not passed yet',
    () => sink({ types: ['order.paid'] }),
    'filtered',
    /^type order\.placed is not in the filter \{order\.paid\}$/,
  ],
  [
    'filtered out and passed',
    async () => {
      await sink({ types: ['order.paid'] })
      await pass()
    },
    'filtered',
    /^type order\.placed/,
  ],
  [
    'for another tenant',
    async () => {
      await client.query(`update postrider.events set tenant = 'acme'`)
      await sinks(`tenant = 'zeta'`)
    },
    'filtered',
    /^it is for tenant acme, and the sink takes those of zeta$/,
  ],
  ['for no tenant', () => sinks(`tenant = 'zeta'`), 'filtered', /^it is for tenant nobody, and the sink takes those of zeta$/],
  [
    'passed without a record, though all is recorded',
    () => pass(),
    'passed',
    /^passed by the cursor, and no attempt is on record: the filter or the audit of the sink was another then, or retention/,
  ],
  [
    'left out by whoever resumed the sink',
    async () => {
      await sink({ audit: 'none' })
      await client.query(`select postrider.pause('shop', 'p')`)
      await client.query(`select postrider.resume('shop', 'too old', 'infinity', 'ann')`)
    },
    'left_out',
    /^left out when the sink was resumed at 20.* by ann: too old$/,
    { since: true },
  ],
  [
    'delivered before others were left out',
    async () => {
      await sink({ audit: 'none' })
      await passUpTo(first)
      await client.query(`select postrider.pause('shop', 'p')`)
      await client.query(`select postrider.resume('shop', 'too old', 'infinity', 'ann')`)
    },
    'delivered',
    /^passed by the cursor, and waits nowhere/,
  ],
  [
    'from before a sink that started from now',
    async () => {
      await client.query('truncate postrider.sinks, postrider.checkpoints cascade')
      await sink({ starts: 'now' })
    },
    'skipped',
    /^written before the sink began/,
  ],
]

test.for(states)('explains an event that is %s', async ([, arrange, state, reason, more = {}]) => {
  const { attempts = 0, next = false, of = () => first, hint, since = false } = more
  await client.query(`set timezone to 'UTC'`)
  await arrange()
  const { rows } = await client.query('select * from postrider.explain($1)', [of()])
  const named = ({ source }: RegExp): RegExp =>
    new RegExp(source.replace('FIRST', first).replace('SECOND', second).replace('LATE', late))
  expect(rows).toEqual([
    {
      sink: 'shop',
      state,
      reason: expect.stringMatching(named(reason)) as string,
      attempts,
      next_at: next ? (expect.any(Date) as Date) : null,
      position: expect.stringMatching(/^\d+$/) as string,
      since: since ? (expect.any(Date) as Date) : null,
      hint: hint === undefined ? null : (expect.stringMatching(named(hint)) as string),
    },
  ])
})

describe('an event that nobody knows', () => {
  const other = '018f3c2e-0000-7000-8000-0000000000ff'
  const reasonOf = async (id: string): Promise<string> => {
    const { rows } = await client.query<{ sink: null; state: string; reason: string }>(
      'select sink, state, reason from postrider.explain($1)',
      [id],
    )
    expect(rows).toMatchObject([{ sink: null, state: 'unknown' }])
    return rows[0]?.reason ?? ''
  }

  test('may be of a transaction that is open, which is named', async () => {
    await using writer = await session('orders')
    const reader = await session('reports')
    await writer.client.query('begin')
    const [open = ''] = await emit(writer.client, { type: 'a' })
    await reader.client.query('begin; select from postrider.events')
    for (const id of [open, other]) {
      expect(await reasonOf(id)).toMatch(
        new RegExp(
          `still open or was rolled back, .*; open and with events are 1, the oldest of pid ${writer.pid} \\(orders\\) since 20`,
        ),
      )
    }
    await writer.client.query('rollback')
    expect(await reasonOf(open)).toMatch(/no open transaction has written one: its transaction was rolled back, or retention/)
    await reader[Symbol.asyncDispose]()
  })

  test('may be of a transaction that was prepared', async () => {
    await client.query(`begin; set local postrider.wake = off`)
    const [prepared = ''] = await emit(client, { type: 'a' })
    await client.query(`prepare transaction 'explain ${prepared}'`)
    expect(await reasonOf(prepared)).toMatch(/open and with events are 1, the oldest a prepared transaction$/)
    await client.query(`commit prepared 'explain ${prepared}'`)
    expect((await client.query('select state from postrider.explain($1)', [prepared])).rows).toEqual([{ state: 'pending' }])
  })
})

test('an event is explained at every sink, by name; of a sink with endpoints at each of these', async () => {
  await client.query(
    `select postrider.put_sink('audit', 'kafka', 64::smallint, '{order.paid}', 'key', 'block', 'all', 'beginning');
     select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'beginning', fans_out => true)`,
  )
  await attempt(first, 1, 'delivered')
  const explained = async (): Promise<unknown> =>
    (await client.query('select sink, state from postrider.explain($1)', [first])).rows
  const others = [
    { sink: 'audit', state: 'filtered' },
    { sink: 'shop', state: 'delivered' },
  ]
  expect(await explained()).toEqual([others[0], { sink: 'hooks', state: 'skipped' }, others[1]])
  await client.query(
    `insert into postrider.sinks (name, kind, lanes, family, types) values ('hooks/a', 'webhook', 2, 'hooks', null), ('hooks/b', 'webhook', 1, 'hooks', '{x}');
     select postrider.begin_sink(s, postrider.start_of('beginning')) from postrider.sinks as s where family = 'hooks'`,
  )
  expect(await explained()).toEqual([
    others[0],
    { sink: 'hooks/a', state: 'pending' },
    { sink: 'hooks/b', state: 'filtered' },
    others[1],
  ])
})

/** A session with a name. */
async function session(name: string): Promise<{ readonly client: Client; readonly pid: number } & AsyncDisposable> {
  const other = await db.client()
  await other.query(`set application_name to '${name}'`)
  const { rows } = await other.query<{ pid: number }>('select pg_backend_pid() as pid')
  return { client: other, pid: rows[0]?.pid ?? 0, [Symbol.asyncDispose]: () => other.end() }
}
