import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterEach(() => db[Symbol.asyncDispose]())

interface Rules {
  readonly name?: string
  readonly lanes?: number
  readonly types?: readonly string[]
  readonly tenant?: string
  readonly ordering?: 'key' | 'none'
  readonly onDead?: 'block' | 'park'
  readonly audit?: 'all' | 'none'
  readonly starts?: 'beginning' | 'now'
}

async function putSink(rules: Rules = {}): Promise<void> {
  const {
    name = 'shop',
    lanes = 1,
    types = null,
    ordering = 'key',
    onDead = 'block',
    audit = 'all',
    starts = 'beginning',
  } = rules
  await client.query(`select postrider.put_sink($1, 'webhook', $2::smallint, $3, $4, $5, $6, $7)`, [
    name,
    lanes,
    types,
    ordering,
    onDead,
    audit,
    starts,
  ])
  if (rules.tenant !== undefined)
    await client.query('update postrider.sinks set tenant = $2 where name = $1', [name, rules.tenant])
}

/** The cursors have passed what is visible now; with a window open, up to an event of it. */
async function pass(sink = 'shop'): Promise<void> {
  await client.query(
    `insert into postrider.checkpoints (sink, lane, fence, done, position)
     select sink, lane, fence + 1, pg_current_snapshot(), (select max(position) from postrider.events) from postrider.cursors where sink = $1`,
    [sink],
  )
}
async function openWindow(upTo: string | undefined): Promise<void> {
  await client.query(
    `insert into postrider.checkpoints (sink, lane, fence, done, target, position)
     select sink, lane, fence + 1, done, pg_current_snapshot(), (select position from postrider.events where id = $1) from postrider.cursors`,
    [upTo],
  )
}

async function trouble(id: string | undefined, state: string, more: { parked?: boolean } = {}): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, parked, attempts, available_at)
     select 'shop', 0, position, slot, id, key, $2, $3, 2, clock_timestamp() + interval '1 hour' from postrider.events where id = $1`,
    [id, state, more.parked ?? false],
  )
}

/**
 * What a logical restore leaves: all rows as they were, written by later transactions, in another cluster. `shift` is by how much
 * the ids of the transactions that wrote them were above those of this cluster.
 */
async function restore(shift = 0): Promise<void> {
  const shifted = (snapshot: string): string =>
    `(select format('%s:%s:%s', pg_snapshot_xmin(${snapshot})::text::bigint + $1, pg_snapshot_xmax(${snapshot})::text::bigint + $1,
       (select string_agg((x::text::bigint + $1)::text, ',' order by x) from pg_snapshot_xip(${snapshot}) as x))::pg_snapshot)`
  await client.query(`update postrider.events set xid = (xid::text::bigint + $1)::text::xid8 where xid > '0'`, [shift])
  await client.query(`update postrider.checkpoints set done = ${shifted('done')} where done::text <> '1:1:'`, [shift])
  await client.query(`update postrider.checkpoints set target = ${shifted('target')} where target is not null`, [shift])
  await client.query(`update postrider.sinks set origin = ${shifted('origin')} where origin::text <> '1:1:'`, [shift])
  await client.query(`update postrider.cutovers set after = ${shifted('after')}`, [shift])
  await client.query(`update postrider.cutovers set until = ${shifted('until')} where until is not null`, [shift])
  await client.query('update postrider.meta set system_identifier = 1, table_id = 0')
}

const anchor = async (session: Client = client): Promise<Record<string, unknown> | null> =>
  (await session.query<{ entry: Record<string, unknown> | null }>(`select postrider.anchor_cursors('ann') as entry`)).rows[0]
    ?.entry ?? null

/** State of the deliveries of these events, or `none`. */
async function states(ids: readonly (string | undefined)[], sink = 'shop'): Promise<string[]> {
  const { rows } = await client.query<{ state: string }>(
    `select coalesce(d.state, 'none') as state from unnest($1::uuid[]) with ordinality as wanted (id, nth)
     left join postrider.deliveries as d on d.event_id = wanted.id and d.sink = $2 order by nth`,
    [ids, sink],
  )
  return rows.map(({ state }) => state)
}

/** What the lanes of a sink will read from the log. */
async function pending(sink = 'shop'): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    'select event_id as id from postrider.pending where sink = $1 order by position',
    [sink],
  )
  return rows.map(({ id }) => id)
}

async function explained(id: string | undefined, sink = 'shop'): Promise<string | undefined> {
  const { rows } = await client.query<{ state: string }>('select state from postrider.explain($1) where sink = $2', [id, sink])
  return rows[0]?.state
}

const one = async (text: string, values: unknown[] = []): Promise<unknown> =>
  Object.values((await client.query(text, values)).rows[0] ?? {})[0]
const a = { type: 'a.made', key: 'k' }

/** Far above the ids of this cluster, so that they look like transactions to come; and as they are, so that they look finished. */
describe.each([1_000_000_000, 0])('anchor_cursors, where the restored transaction ids are off by %i', (shift) => {
  const cases: readonly (readonly [string, () => Promise<readonly (string | undefined)[]>, readonly string[]])[] = [
    [
      'what the cursor had passed stays passed, the rest of a key waits for its first',
      async () => {
        await putSink()
        const before = await emit(client, [a, a])
        await pass()
        return [...before, ...(await emit(client, [a, a, a]))]
      },
      ['none', 'none', 'retrying', 'blocked', 'blocked'],
    ],
    [
      'a transaction that was open when the cursor was taken, and the one behind it in the log that was passed',
      async () => {
        await putSink()
        const other = await db.client()
        await other.query('begin')
        const late = await emit(other, a)
        const early = await emit(client, a)
        await pass()
        await other.query('commit')
        return [...late, ...early]
      },
      ['retrying', 'none'],
    ],
    [
      'an open window, passed up to its second event',
      async () => {
        await putSink()
        const ids = await emit(client, [a, a, a, a])
        await openWindow(ids[1])
        return [...ids, ...(await emit(client, a))]
      },
      ['none', 'none', 'retrying', 'blocked', 'blocked'],
    ],
    [
      'a sink from the beginning that never read anything',
      async () => {
        await putSink()
        return await emit(client, [a, { type: 'a.made' }, { ...a, key: 'j' }])
      },
      ['retrying', 'retrying', 'retrying'],
    ],
    [
      'a sink from now: what was written before it began is not for it',
      async () => {
        const before = await emit(client, [a])
        await putSink({ starts: 'now' })
        return [...before, ...(await emit(client, [a]))]
      },
      ['none', 'retrying'],
    ],
    [
      'types and tenants that the sink does not take',
      async () => {
        await putSink({ types: ['a.*'], tenant: 't' })
        return await emit(client, [
          { ...a, tenant: 't' },
          { type: 'b.made', key: 'k', tenant: 't' },
          { ...a, tenant: 'u' },
          a,
          { ...a, tenant: 't' },
        ])
      },
      ['retrying', 'none', 'none', 'none', 'blocked'],
    ],
    [
      'without order every event goes by itself',
      async () => {
        await putSink({ ordering: 'none' })
        return await emit(client, [a, a])
      },
      ['retrying', 'retrying'],
    ],
    [
      'an event for later is in nobody’s way, one whose time has come is',
      async () => {
        await putSink()
        return await emit(client, [{ ...a, deliver_at: '2099-01-01T00:00:00Z' }, { ...a, deliver_at: '2020-01-01T00:00:00Z' }, a])
      },
      ['scheduled', 'retrying', 'blocked'],
    ],
    ...(['retrying', 'dead'] as const).map(
      (head) =>
        [
          `behind a ${head} head`,
          async () => {
            await putSink()
            const ids = await emit(client, [a])
            await pass()
            await trouble(ids[0], head)
            return [...ids, ...(await emit(client, [a, a]))]
          },
          [head, 'blocked', 'blocked'],
        ] as const,
    ),
    [
      'behind others that are blocked',
      async () => {
        await putSink()
        const ids = await emit(client, [a, a])
        await pass()
        await trouble(ids[0], 'dead')
        await trouble(ids[1], 'blocked')
        return [...ids, ...(await emit(client, [a]))]
      },
      ['dead', 'blocked', 'blocked'],
    ],
    [
      'a key whose events waited for nothing goes on with the first of them',
      async () => {
        await putSink()
        const ids = await emit(client, [a])
        await pass()
        await trouble(ids[0], 'blocked')
        return [...ids, ...(await emit(client, [a]))]
      },
      ['retrying', 'blocked'],
    ],
    [
      'a dead letter that is parked and a scheduled event are in nobody’s way',
      async () => {
        await putSink({ onDead: 'park' })
        const ids = await emit(client, [a, a])
        await pass()
        await trouble(ids[0], 'dead', { parked: true })
        await trouble(ids[1], 'scheduled')
        return [...ids, ...(await emit(client, [a, a]))]
      },
      ['dead', 'scheduled', 'retrying', 'blocked'],
    ],
    [
      'an event ahead of the cursor that has its row keeps it',
      async () => {
        await putSink()
        const ids = await emit(client, [a, a])
        await trouble(ids[1], 'retrying')
        return ids
      },
      ['retrying', 'retrying'],
    ],
    [
      'what was left out stays left out',
      async () => {
        await putSink()
        const ids = await emit(client, [a])
        await client.query(`select postrider.leave_out('shop', 'infinity', 'too late', 'ann')`)
        return [...ids, ...(await emit(client, [a]))]
      },
      ['none', 'retrying'],
    ],
  ]

  test.for(cases)('%s', async ([, arrange, expected]) => {
    const ids = await arrange()
    await restore(shift)
    const entry = await anchor()
    expect(await states(ids)).toEqual(expected)
    expect(await pending()).toEqual([])
    const { rows } = await client.query(
      `select attempts from postrider.deliveries where state <> 'scheduled' and available_at > clock_timestamp()`,
    )
    expect(rows.every(({ attempts }) => attempts === 2)).toBe(true) // none but those that were there
    expect(entry).toMatchObject({ missing: 0, moved: 0 })
  })

  test('what is written afterwards is read from the log, and what was restored never again', async () => {
    await putSink({ lanes: 4 })
    const old = await emit(
      client,
      Array.from({ length: 40 }, (_, n) => ({ ...a, key: `k${n}` })),
    )
    await restore(shift)
    await anchor()
    const fresh = await emit(client, [a, { ...a, key: 'k7' }])
    expect(await pending()).toEqual(fresh)
    await pass()
    expect(await pending()).toEqual([])
    expect(new Set(await states(old))).toEqual(new Set(['retrying']))
    const { rows } = await client.query(
      'select distinct lane = postrider.lane_of(postrider.bucket_of(key), 4::smallint) as right from postrider.deliveries',
    )
    expect(rows).toEqual([{ right: true }])
  })

  test('an event written here before anybody anchored is read from the log, also when its transaction is still open then', async () => {
    await putSink()
    await emit(client, [a, a])
    await pass()
    await restore(shift)
    const early = await emit(client, a)
    const other = await db.client()
    await other.query('begin')
    await other.query('savepoint one')
    const [open] = await emit(other, a)
    const after = await emit(client, a)
    await anchor()
    expect(await pending()).toEqual([...early, ...after])
    await other.query('release one')
    await other.query('commit')
    expect(await pending()).toEqual([...early, open, ...after])
    expect(await states([...early, open, ...after])).toEqual(['none', 'none', 'none'])
  })

  test('explain tells of every event as before, at sinks from then, from now and from after the restore', async () => {
    const [before] = await emit(client, a)
    await putSink({ starts: 'now', audit: 'none' })
    const [delivered] = await emit(client, a)
    await pass()
    const [undone] = await emit(client, a)
    await restore(shift)
    await anchor()
    await putSink({ name: 'later', starts: 'now' })
    await putSink({ name: 'all', audit: 'none' })
    const [fresh] = await emit(client, a)
    const ids = [before, delivered, undone, fresh]
    const at = async (sink: string): Promise<(string | undefined)[]> => {
      const found = []
      for (const id of ids) found.push(await explained(id, sink))
      return found
    }
    expect(await at('shop')).toEqual(['skipped', 'delivered', 'retrying', 'pending'])
    expect(await at('later')).toEqual(['skipped', 'skipped', 'skipped', 'pending'])
    expect(await at('all')).toEqual(['retrying', 'blocked', 'blocked', 'pending'])

    // And once more elsewhere.
    await client.query(`update postrider.deliveries set available_at = 'infinity'`)
    for (const sink of ['shop', 'later', 'all']) await pass(sink)
    await restore(-shift / 2)
    await anchor()
    const [newest] = await emit(client, a)
    ids.push(newest)
    expect(await at('shop')).toEqual(['skipped', 'delivered', 'retrying', 'delivered', 'pending'])
    expect(await at('later')).toEqual(['skipped', 'skipped', 'skipped', 'passed', 'pending'])
    expect(await at('all')).toEqual(['retrying', 'blocked', 'blocked', 'delivered', 'pending'])
  })

  test('letters that were imported go nowhere by themselves, and hold back nothing', async () => {
    await putSink()
    await emit(client, a)
    await pass()
    await client.query(
      `insert into postrider.events (xid, slot, bucket, type, source, content_type) values ('0', -1, 1, 'a.made', 's', 'application/json')`,
    )
    await restore(shift)
    expect(await anchor()).toMatchObject({ set_aside: 0 })
    await putSink({ name: 'all' })
    expect(await one(`select count(*)::int from postrider.deliveries where sink = 'all'`)).toBe(1)
  })
})

test('what was restored stays unread when the transaction ids of this cluster come to those that it carries', async () => {
  await putSink()
  await emit(client, [a, a])
  await pass()
  await restore(100)
  await anchor()
  await putSink({ name: 'later', starts: 'now' })
  await putSink({ name: 'all' })
  const look = async (): Promise<string[][]> => [await pending(), await pending('later'), await pending('all')]
  expect(await look()).toEqual([[], [], []])
  await client.query('do $$ begin for i in 1..300 loop perform pg_current_xact_id(); commit; end loop; end $$')
  expect(await look()).toEqual([[], [], []])
  const fresh = await emit(client, a)
  expect(await look()).toEqual([fresh, fresh, fresh])
})

describe('the sequence of positions', () => {
  /** Two events of the old cluster, and a sequence that knows nothing of them, as after logical replication. */
  async function leaveBehind(): Promise<void> {
    await putSink()
    await emit(client, [a, a, a])
    await pass()
    await restore()
    await client.query(`select setval(pg_get_serial_sequence('postrider.events', 'position'), 1, false)`)
  }
  const positions = async (): Promise<number[]> =>
    (await client.query<{ position: string }>('select position from postrider.events order by position')).rows.map(
      ({ position }) => Number(position),
    )

  test('that a restore left behind is lifted above all that was restored', async () => {
    await leaveBehind()
    await anchor()
    const fresh = await emit(client, [a, a])
    expect(await pending()).toEqual(fresh)
    expect((await positions()).slice(0, 3)).toEqual([1, 2, 3])
  })

  test('is lifted above what deliveries and cursors refer to, where events are missing', async () => {
    await putSink()
    await emit(client, [a, a, a])
    await pass()
    await client.query('delete from postrider.events')
    await restore()
    await client.query(`select setval(pg_get_serial_sequence('postrider.events', 'position'), 1, false)`)
    await anchor()
    await emit(client, a)
    expect((await positions())[0]).toBeGreaterThan(3)
  })

  test('what was written meanwhile with positions that were taken gets others, in its order', async () => {
    await leaveBehind()
    // Another segment, as on another day: the primary key does not notice.
    await client.query(`create or replace function postrider.current_slot() returns smallint language sql as
      $$ select ((extract(epoch from clock_timestamp())::bigint / 86400 + 1) % 8)::smallint $$`)
    const early = await emit(client, [a, { ...a, key: 'j' }])
    expect(await positions()).toEqual([1, 1, 2, 2, 3])
    expect(await anchor()).toMatchObject({ position: 3, moved: 2 })
    expect(await pending()).toEqual(early)
    expect(new Set(await positions()).size).toBe(5)
  })

  test('waits for writers only when it has to be lifted, and not for long', async () => {
    await leaveBehind()
    const other = await db.client()
    await other.query('begin')
    await client.query(
      `create or replace function postrider.current_slot() returns smallint language sql as 'select 7::smallint'`,
    )
    const [open] = await emit(other, a)
    await expect(anchor()).rejects.toMatchObject({ code: '55P03' })
    await other.query('commit')
    expect(await anchor()).toMatchObject({ moved: 1 })
    expect(await pending()).toEqual([open])
  }, 10_000)
})

describe('a cutover', () => {
  test('holds in the restored database: what had moved is not set aside, what is written now has moved too, and there is no way back', async () => {
    await putSink()
    await client.query(`select postrider.put_sink('log', 'kafka', 2::smallint, null, 'key', 'block', 'all', 'beginning')`)
    const [own] = await emit(client, a)
    await client.query(`select postrider.begin_cutover('shop', '{a.*}', 'log', 'billing')`)
    const [moved, other] = await emit(client, [a, { type: 'b.made' }])
    await client.query(`select postrider.begin_cutover('shop', '{c.*}', 'log', 'old')`)
    await client.query(
      `update postrider.cutovers set state = 'rolled_back', until = pg_current_snapshot() where consumer = 'old'`,
    )
    await restore(1_000_000_000)
    await anchor()
    expect(await states([own, moved, other])).toEqual(['retrying', 'none', 'retrying'])
    expect(await states([own, moved, other], 'log')).toEqual(['retrying', 'blocked', 'retrying'])
    const [later, rest] = await emit(client, [a, { type: 'b.made' }])
    expect(await explained(later)).toBe('moved')
    expect(await pending()).toEqual([rest])
    expect(await pending('log')).toEqual([later, rest])
    expect(await one('select array_agg(consumer) from postrider.cutovers')).toEqual(['billing'])
    await expect(client.query(`select postrider.roll_back_cutover(1, '{}')`)).rejects.toMatchObject({
      code: 'PR006',
      message: 'the database was restored since cutover 1',
    })
  })

  test.each([
    ['order.*', 'order.placed', true],
    ['order.*', '*.placed', true],
    ['order.*', 'order.*.x', false],
    ['order.**', 'order.placed.x', true],
    ['order.**', 'order', false],
    ['**', 'a', true],
    ['a.b', 'a.c', false],
    ['*.b.**', 'a.*.c', true],
    ['*', 'a.b', false],
  ])('filters %s and %s take a type together: %s', async (one_, other, overlap) => {
    expect(await one('select postrider.filters_overlap($1, $2)', [one_, other])).toBe(overlap)
    expect(await one('select postrider.filters_overlap($1, $2)', [other, one_])).toBe(overlap)
  })
})

describe('anchoring', () => {
  test('happens once, also when relays start together', async () => {
    await putSink({ lanes: 4 })
    await emit(client, [a, a])
    await restore()
    const sessions = await Promise.all([db.client(), db.client(), db.client()])
    const entries = await Promise.all(sessions.map(anchor))
    expect(entries.filter((entry) => entry !== null)).toHaveLength(1)
    expect(await anchor()).toBeNull()
    expect(await one(`select count(*)::int from postrider.actions where action = 'anchored'`)).toBe(1)
    expect(await one('select max(fence)::int from postrider.checkpoints')).toBe(2)
    expect(await one('select count(*)::int from postrider.deliveries')).toBe(2)
  })

  test('leaves a record, free lanes, no relay, and cursors that a former owner collides with', async () => {
    await putSink({ lanes: 2 })
    await emit(client, [a, a])
    await client.query(`insert into postrider.relays (id, name, version) values (gen_random_uuid(), 'old', '0')`)
    await client.query(`update postrider.lanes set relay = gen_random_uuid(), leased_until = 'infinity'`)
    await restore()
    const entry = await anchor()
    expect(entry).toEqual({
      from: '1',
      to: expect.stringMatching(/^\d+$/) as string,
      position: 2,
      set_aside: 2,
      missing: 0,
      moved: 0,
    })
    expect((await client.query('select actor, action, detail from postrider.actions')).rows).toEqual([
      { actor: 'ann', action: 'anchored', detail: entry },
    ])
    expect((await client.query('select from postrider.relays')).rowCount).toBe(0)
    const { rows } = await client.query('select anchor, relay, leased_until, fence, target, position from postrider.cursors')
    expect(rows).toEqual(
      Array.from({ length: 2 }, () => ({
        anchor: '2',
        relay: null,
        leased_until: -Infinity,
        fence: '2',
        target: null,
        position: '2',
      })),
    )
  })

  test('does nothing where the database belongs, and needs no more than the role of a relay', async () => {
    await migrate(client, { roles: true })
    await putSink()
    const ids = await emit(client, a)
    const before = (await client.query('select * from postrider.cursors')).rows
    expect(await anchor()).toBeNull()
    expect((await client.query('select * from postrider.cursors')).rows).toEqual(before)
    await restore()
    await client.query('set role postrider_relay')
    expect(await anchor()).toMatchObject({ set_aside: 1 })
    await client.query('reset role')
    expect(await states(ids)).toEqual(['retrying'])
  })

  test('keeps the cursors where the cluster goes on under another identifier, as after pg_upgrade', async () => {
    await putSink()
    const ids = await emit(client, a)
    await client.query('update postrider.meta set system_identifier = 1, xid = pg_current_xact_id()')
    expect(await anchor()).toMatchObject({ from: '1', continued: true })
    expect(await anchor()).toBeNull()
    expect(await pending()).toEqual(ids)
  })

  test('is called for by a copy in the same cluster too', async () => {
    expect(await one('select postrider.is_moved()')).toBe(false)
    await client.query('update postrider.meta set table_id = 0')
    expect(await one('select postrider.is_moved()')).toBe(true)
    await anchor()
    expect(await one('select postrider.is_moved()')).toBe(false)
    await client.query('vacuum full postrider.meta')
    expect(await one('select postrider.is_moved()')).toBe(false)
  })

  test('waits for the end of a restore, which makes the foreign keys last', async () => {
    await restore()
    await client.query('alter table postrider.lanes drop constraint lanes_sink_fkey')
    await expect(anchor()).rejects.toMatchObject({ code: '55000', message: expect.stringContaining('has not ended') as string })
  })

  test('comes before a sink can begin', async () => {
    await restore()
    await expect(putSink()).rejects.toMatchObject({ code: '55000', hint: expect.stringContaining('anchor_cursors()') as string })
    await anchor()
    await putSink()
  })

  test.for([
    ['block', ['dead', 'blocked']],
    ['park', ['dead', 'retrying']],
  ] as const)(
    'makes dead letters of deliveries whose events were not restored, and its key goes on by the rule: %s',
    async ([onDead, expected]) => {
      await putSink({ onDead })
      const ids = await emit(client, [a, a])
      await pass()
      await trouble(ids[0], 'retrying')
      await trouble(ids[1], 'blocked')
      await client.query('delete from postrider.events where id = $1', [ids[0]])
      await restore()
      expect(await anchor()).toMatchObject({ missing: 1 })
      expect(await states(ids)).toEqual(expected)
      expect((await client.query('select event_id, error_code from postrider.dead_letters')).rows).toEqual([
        { event_id: ids[0], error_code: 'event_missing' },
      ])
    },
  )

  test('leaves pauses and circuits as they were', async () => {
    await putSink()
    await client.query(`select postrider.pause('shop', 'stock-taking', '1 hour', 'ann')`)
    await client.query(`insert into postrider.circuits (sink, state, trips, until) values ('shop', 'open', 3, 'infinity')`)
    const text = `select s.state, s.state_until, s.state_reason, c.state as circuit, c.trips from postrider.sinks as s join postrider.circuits as c on c.sink = s.name`
    const before = (await client.query(text)).rows
    await restore()
    await anchor()
    expect((await client.query(text)).rows).toEqual(before)
  })
})
