import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
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
    'truncate postrider.events, postrider.attempts, postrider.sinks, postrider.lanes, postrider.checkpoints, postrider.deliveries, postrider.relays',
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
  readonly onDead?: 'block' | 'skip'
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
}

async function trouble(id: string, { state, attempts = 0, forgiven = 0, code, error, inSeconds = 0 }: Trouble): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, forgiven, error_code, error, available_at, since)
     select 'shop', 0, position, slot, id, key, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 second', '2026-01-02T03:04:05Z'
     from postrider.events where id = $1`,
    [id, state, attempts, forgiven, code ?? null, error ?? null, inSeconds],
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

/** What is done, with which event in mind, and where it is then, and why. */
const states: readonly (readonly [
  string,
  () => Promise<void>,
  string,
  RegExp,
  { attempts?: number; next?: boolean; of?: () => string }?,
])[] = [
  ['pending, nobody carries it', async () => {}, 'pending', /^behind the cursor; no relay carries lane 0$/],
  ['pending, the lease ran out', () => carry('-1 second'), 'pending', /no relay carries lane 0$/],
  [
    'pending, carried',
    () => carry(),
    'pending',
    /^behind the cursor; lane 0 is carried by relay host:1 \(018f3c2e-0000-7000-8000-0000000000aa\) until 20/,
  ],
  [
    'pending, the sink is paused',
    async () => {
      await carry()
      await client.query(`update postrider.sinks set state = 'paused'`)
    },
    'pending',
    /^behind the cursor; the sink is paused$/,
  ],
  ['pending, in an open window', () => passUpTo(first), 'pending', /^behind the cursor/, { of: () => second }],
  ['passed, in an open window', () => passUpTo(first), 'passed', /^passed by the cursor/],
  ['scheduled', () => trouble(first, { state: 'scheduled', inSeconds: 60 }), 'scheduled', /^scheduled for 20/, { next: true }],
  [
    'retrying, later',
    () => trouble(first, failed),
    'retrying',
    /^attempt 3 failed \(status_5xx: answered 503\), next at 20[^;]*$/,
    { attempts: 3, next: true },
  ],
  [
    'retrying, due and nobody carries it',
    () => trouble(first, { ...failed, inSeconds: -1 }),
    'retrying',
    /^attempt 3 failed .*; no relay carries lane 0$/,
    { attempts: 3, next: true },
  ],
  [
    'retrying, let go',
    () => trouble(first, { state: 'retrying' }),
    'retrying',
    /^let go, due since 20.*; no relay/,
    { next: true },
  ],
  [
    'retrying, sent again by an operator',
    () => trouble(first, { ...failed, forgiven: 3, inSeconds: 0 }),
    'retrying',
    /^sent again by an operator at 2026-01-02 03:04:05/,
    { attempts: 3, next: true },
  ],
  [
    'retrying, failed again after that',
    () => trouble(first, { ...failed, forgiven: 2 }),
    'retrying',
    /^attempt 3 failed/,
    { attempts: 3, next: true },
  ],
  [
    'retrying, an attempt takes long',
    () => trouble(first, { state: 'retrying', code: 'slow', inSeconds: 9 }),
    'retrying',
    /^slow: an attempt is still under way/,
    { next: true },
  ],
  [
    'retrying, interrupted',
    () => trouble(first, { state: 'retrying', code: 'interrupted' }),
    'retrying',
    /^interrupted, due since/,
    { next: true },
  ],
  [
    'blocked behind a retrying head',
    async () => {
      await trouble(first, failed)
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is retrying$/,
    { of: () => second },
  ],
  [
    'blocked behind the nearest of several heads',
    async () => {
      await trouble(late, { state: 'dead' })
      await trouble(first, { state: 'held' })
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is held$/,
    { of: () => second },
  ],
  [
    'blocked behind a head that stands later in the log',
    async () => {
      await trouble(first, { state: 'dead' })
      await trouble(late, { state: 'blocked' })
    },
    'blocked',
    /^behind event FIRST of the same key, which is dead$/,
    { of: () => late },
  ],
  [
    'blocked, and not behind a dead event that may be skipped',
    async () => {
      await sink({ onDead: 'skip' })
      await trouble(late, failed)
      await trouble(first, { state: 'dead' })
      await trouble(second, { state: 'blocked' })
    },
    'blocked',
    /^behind event LATE of the same key, which is retrying$/,
    { of: () => second },
  ],
  [
    'blocked by nothing any more',
    () => trouble(second, { state: 'blocked' }),
    'blocked',
    /^nothing of its key is in the way any more/,
    { of: () => second },
  ],
  ['held', () => trouble(first, { state: 'held', error: 'by hand' }), 'held', /^held since 2026-01-02 03:04:05\+00: by hand$/],
  [
    'dead',
    () => trouble(first, { ...failed, state: 'dead', attempts: 12 }),
    'dead',
    /^dead since 2026-01-02 03:04:05\+00 after 12 attempts \(status_5xx: answered 503\); postrider\.retry\(event_id\) sends it again$/,
    { attempts: 12 },
  ],
  [
    'delivered at the first attempt',
    async () => {
      await attempt(first, 1, 'delivered', 204)
      await pass()
    },
    'delivered',
    /^delivered at 2026-01-02 03:04:05\.25\+00 by attempt 1, status 204$/,
    { attempts: 1 },
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
    { attempts: 3 },
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
    { attempts: 1 },
  ],
  ['delivered, ahead of the cursor', () => attempt(first, 1, 'delivered'), 'delivered', /^delivered at/, { attempts: 1 }],
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
    { attempts: 3 },
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
    'passed without a record, though all is recorded',
    () => pass(),
    'passed',
    /^passed by the cursor, and no attempt is on record: the filter or the audit of the sink was another then, or retention/,
  ],
  [
    'from before a sink that started from now',
    async () => {
      await client.query('truncate postrider.sinks, postrider.lanes, postrider.checkpoints')
      await sink({ starts: 'now' })
    },
    'skipped',
    /^written before the sink began/,
  ],
]

test.for(states)(
  'explains an event that is %s',
  async ([, arrange, state, reason, { attempts = 0, next = false, of = () => first } = {}]) => {
    await client.query(`set timezone to 'UTC'`)
    await arrange()
    const { rows } = await client.query('select * from postrider.explain($1)', [of()])
    const expected = new RegExp(reason.source.replace('FIRST', first).replace('LATE', late))
    expect(rows).toEqual([
      {
        sink: 'shop',
        state,
        reason: expect.stringMatching(expected) as string,
        attempts,
        next_at: next ? (expect.any(Date) as Date) : null,
        position: expect.stringMatching(/^\d+$/) as string,
      },
    ])
  },
)

test('an event that nobody knows is unknown, also while its transaction is open', async () => {
  const other = await db.client()
  await other.query('begin')
  const [open = ''] = await emit(other, { type: 'a' })
  for (const id of [open, '018f3c2e-0000-7000-8000-0000000000ff']) {
    const { rows } = await client.query('select sink, state, reason from postrider.explain($1)', [id])
    expect(rows).toEqual([
      { sink: null, state: 'unknown', reason: expect.stringMatching(/still open or was rolled back/) as string },
    ])
  }
  await other.end()
})

test('an event is explained at every sink, by name', async () => {
  await client.query(
    `select postrider.put_sink('audit', 'kafka', 64::smallint, '{order.paid}', 'key', 'block', 'all', 'beginning')`,
  )
  await attempt(first, 1, 'delivered')
  const { rows } = await client.query('select sink, state from postrider.explain($1)', [first])
  expect(rows).toEqual([
    { sink: 'audit', state: 'filtered' },
    { sink: 'shop', state: 'delivered' },
  ])
})
