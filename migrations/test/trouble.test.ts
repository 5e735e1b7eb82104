import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit } from './emit.ts'

let db: TestDatabase
let client: Client
/** Four events of one key, in order. */
let ids: string[]

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  ids = await emit(
    client,
    Array.from({ length: 4 }, () => ({ type: 'a', key: 'k' })),
  )
  await putSink('block')
})
afterEach(() => db[Symbol.asyncDispose]())

async function putSink(onDead: 'block' | 'park' | 'skip', ordering: 'key' | 'none' = 'key', name = 'shop'): Promise<void> {
  await client.query(`select postrider.put_sink($1, 'webhook', 4::smallint, null, $2, $3, 'all', 'beginning')`, [
    name,
    ordering,
    onDead,
  ])
}

/** Rows of the first events, in these states; `parked` is a dead one that may be passed. */
async function rows(states: readonly string[], sink = 'shop'): Promise<void> {
  await client.query(
    `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, parked, attempts, error_code, error, available_at)
     select $3, postrider.lane_of(bucket, 4::smallint), position, slot, e.id, key, case state when 'parked' then 'dead' else state end, state = 'parked',
       2, 'status_5xx', 'x', clock_timestamp() + interval '1 hour'
     from unnest($1::uuid[], $2::text[]) as wanted (id, state) join postrider.events as e on e.id = wanted.id`,
    [ids.slice(0, states.length), states, sink],
  )
}

async function states(sink = 'shop'): Promise<string[]> {
  const { rows: found } = await client.query<{ state: string }>(
    `select case when d.parked then 'parked' else coalesce(d.state, 'none') end as state from unnest($1::uuid[]) with ordinality as wanted (id, nth)
     left join postrider.deliveries as d on d.event_id = wanted.id and d.sink = $2 order by nth`,
    [ids, sink],
  )
  return found.map(({ state }) => state)
}

const due = async (nth: number): Promise<boolean> => {
  const { rows: found } = await client.query<{ due: boolean }>(
    `select available_at <= clock_timestamp() as due from postrider.deliveries where sink = 'shop' and event_id = $1`,
    [ids[nth]],
  )
  return found[0]?.due ?? false
}

const one = async (text: string, values: unknown[]): Promise<unknown> =>
  Object.values((await client.query(text, values)).rows[0] ?? {})[0]
const retry = (id: string | undefined): Promise<unknown> => one('select postrider.retry($1)', [id])
const discard = (id: string | undefined): Promise<unknown> => one(`select postrider.discard($1, 'because')`, [id])
const release = (keys = ['k']): Promise<unknown> => one(`select postrider.release_heads('shop', $1)`, [keys])

async function trail(): Promise<unknown[]> {
  const { rows: found } = await client.query(
    'select sink, event_id, attempt, outcome, detail from postrider.attempts order by sink',
  )
  return found
}

describe('release_heads lets the first blocked event of a key go', () => {
  test.for([
    ['behind nothing', ['blocked', 'blocked'], ['retrying', 'blocked']],
    ['not behind a retrying head', ['retrying', 'blocked', 'blocked'], ['retrying', 'blocked', 'blocked']],
    ['not behind a dead head', ['dead', 'blocked'], ['dead', 'blocked']],
    ['behind a dead head that is parked', ['parked', 'blocked', 'blocked'], ['parked', 'retrying', 'blocked']],
    ['not behind a head that stands behind a parked one', ['parked', 'dead', 'blocked'], ['parked', 'dead', 'blocked']],
    ['behind a scheduled event, which is in nobody’s way yet', ['scheduled', 'blocked'], ['scheduled', 'retrying']],
    ['before a head that stands later in the log', ['blocked', 'retrying'], ['retrying', 'retrying']],
    ['before letters that were left dead behind it', ['blocked', 'dead', 'dead'], ['retrying', 'dead', 'dead']],
    [
      'not behind a head, though others stand behind it',
      ['dead', 'blocked', 'dead', 'blocked'],
      ['dead', 'blocked', 'dead', 'blocked'],
    ],
  ] as const)('%s', async ([, before, after]) => {
    await rows(before)
    await release()
    expect((await states()).slice(0, after.length)).toEqual(after)
    // Again: what goes now is itself in the way.
    await release()
    expect((await states()).slice(0, after.length)).toEqual(after)
  })

  test('of each key for itself, and of its sink alone', async () => {
    await rows(['blocked'])
    await putSink('block', 'key', 'other')
    await rows(['blocked'], 'other')
    await release(['j', 'k', 'k'])
    expect([...(await states()).slice(0, 1), ...(await states('other')).slice(0, 1)]).toEqual(['retrying', 'blocked'])
    expect(await due(0)).toBe(true)
  })
})

describe('retry', () => {
  test('sends a dead letter again, at once and with a fresh count, and says so in the audit trail', async () => {
    await rows(['dead', 'blocked'])
    expect(await retry(ids[0])).toBe(1)
    expect((await states()).slice(0, 2)).toEqual(['retrying', 'blocked'])
    expect(await due(0)).toBe(true)
    expect(
      (await client.query('select attempts, forgiven from postrider.deliveries where event_id = $1', [ids[0]])).rows,
    ).toEqual([{ attempts: 2, forgiven: 2 }])
    expect(await trail()).toEqual([
      { sink: 'shop', event_id: ids[0], attempt: 2, outcome: 'retried', detail: { actor: 'postgres' } },
    ])
  })

  test('of a parked letter puts it in the way of its key again', async () => {
    await rows(['parked', 'blocked'])
    expect(await retry(ids[0])).toBe(1)
    await release()
    expect((await states()).slice(0, 2)).toEqual(['retrying', 'blocked'])
  })

  test('touches nothing that is not dead', async () => {
    await rows(['retrying', 'blocked', 'scheduled'])
    for (const id of ids) expect(await retry(id)).toBe(0)
    expect(await states()).toEqual(['retrying', 'blocked', 'scheduled', 'none'])
    expect(await trail()).toEqual([])
  })

  test('at every sink, or at the one that is named', async () => {
    await putSink('block', 'key', 'other')
    await rows(['dead'])
    await rows(['dead'], 'other')
    expect(await one(`select postrider.retry($1, 'other', 'ann')`, [ids[0]])).toBe(1)
    expect([(await states())[0], (await states('other'))[0]]).toEqual(['dead', 'retrying'])
    expect(await retry(ids[0])).toBe(1)
    expect(await trail()).toMatchObject([
      { sink: 'other', detail: { actor: 'ann' } },
      { sink: 'shop', detail: { actor: 'postgres' } },
    ])
  })
})

describe('discard', () => {
  test('gives an event up with who and why, and lets the next of its key go', async () => {
    await rows(['dead', 'blocked', 'blocked'])
    expect(await discard(ids[0])).toBe(1)
    expect(await states()).toEqual(['none', 'retrying', 'blocked', 'none'])
    expect(await due(1)).toBe(true)
    expect(await trail()).toEqual([
      { sink: 'shop', event_id: ids[0], attempt: 2, outcome: 'discarded', detail: { actor: 'postgres', reason: 'because' } },
    ])
  })

  test('of an event that waits in the middle leaves its head alone', async () => {
    await rows(['retrying', 'blocked', 'blocked'])
    expect(await discard(ids[1])).toBe(1)
    expect(await states()).toEqual(['retrying', 'none', 'blocked', 'none'])
  })

  test('of an event that waits nowhere does nothing', async () => {
    expect(await discard(ids[0])).toBe(0)
    expect(await trail()).toEqual([])
  })

  test('at every sink, or at the one that is named', async () => {
    await putSink('block', 'key', 'other')
    await rows(['dead'])
    await rows(['retrying'], 'other')
    expect(await one(`select postrider.discard($1, 'because', 'other')`, [ids[0]])).toBe(1)
    expect([(await states())[0], (await states('other'))[0]]).toEqual(['dead', 'none'])
  })
})

describe('release_key', () => {
  const releaseKey = (key: string): Promise<unknown> => one(`select postrider.release_key('shop', $1, 'looked at', 'ann')`, [key])

  test('lets the events of a key pass its dead heads, which stay dead letters, and says so', async () => {
    await rows(['dead', 'dead', 'blocked', 'blocked'])
    expect(await releaseKey('k')).toBe(2)
    expect(await states()).toEqual(['parked', 'parked', 'retrying', 'blocked'])
    expect(await due(2)).toBe(true)
    expect((await client.query('select actor, action, sink, reason, detail from postrider.actions')).rows).toEqual([
      { actor: 'ann', action: 'released', sink: 'shop', reason: 'looked at', detail: { key: 'k', events: ids.slice(0, 2) } },
    ])
  })

  test('does not let them pass a head that is being retried', async () => {
    await rows(['dead', 'retrying', 'blocked'])
    expect(await releaseKey('k')).toBe(1)
    expect((await states()).slice(0, 3)).toEqual(['parked', 'retrying', 'blocked'])
  })

  test('does and records nothing for another key, without a dead head, or at another sink', async () => {
    await rows(['retrying', 'blocked', 'parked'])
    expect([await releaseKey('k'), await releaseKey('j')]).toEqual([0, 0])
    expect(await one(`select postrider.release_key('nobody', 'k', 'x')`, [])).toBe(0)
    expect((await states()).slice(0, 3)).toEqual(['retrying', 'blocked', 'parked'])
    expect((await client.query('select from postrider.actions')).rowCount).toBe(0)
  })
})

describe('skip_key', () => {
  const skipKey = (key: string, sink = 'shop'): Promise<unknown> =>
    one(`select postrider.skip_key($2, $1, 'never mind', 'ann')`, [key, sink])

  test.for(['dead', 'retrying'])('gives the %s head of a key up, with who and why, and lets the next go', async (state) => {
    await rows([state, 'blocked', 'blocked'])
    expect(await skipKey('k')).toBe(ids[0])
    expect(await states()).toEqual(['none', 'retrying', 'blocked', 'none'])
    expect(await trail()).toMatchObject([
      { event_id: ids[0], outcome: 'discarded', detail: { actor: 'ann', reason: 'never mind' } },
    ])
    expect(await skipKey('k')).toBe(ids[1])
    expect(await states()).toEqual(['none', 'none', 'retrying', 'none'])
  })

  test('is no parked letter, nothing that is not in the way, and not the head at another sink', async () => {
    await putSink('block', 'key', 'other')
    await rows(['parked', 'scheduled'])
    await rows(['dead'], 'other')
    expect([await skipKey('k'), await skipKey('j'), await skipKey('k', 'nobody')]).toEqual([null, null, null])
    expect((await states()).slice(0, 2)).toEqual(['parked', 'scheduled'])
    expect((await states('other'))[0]).toBe('dead')
    expect(await trail()).toEqual([])
  })
})

describe('a fingerprint', () => {
  const of = async (
    error: string | null,
    sink = 'shop',
    code: string | null = 'status_5xx',
    status: number | null = 500,
  ): Promise<unknown> => await one('select postrider.fingerprint($1, $2, $3, $4)', [sink, code, status, error])

  test.for([
    ['numbers', 'order 17 of 3', 'order 4 of 12345'],
    ['UUIDs', 'no 0192b0f0-7a3e-7c51-9b1e-2f5d8c4a6e01 here', 'no 018f3c2e-0000-7000-8000-0000000000AA here'],
    ['hashes', 'blob d41d8cd98f00b204 is gone', 'blob 0123456789abcdef01234567 is gone'],
    ['addresses', 'connect ECONNREFUSED 10.0.0.1:80', 'connect ECONNREFUSED 192.168.17.4:8080'],
    ['what stands in quotes', 'field "name" is not a "thing"', 'field "a longer one" is not a "b"'],
    ['what stands in single quotes', `cannot read 'x' now`, `cannot read '' now`],
  ] as const)('is the same for errors that differ in %s', async ([, first, second]) => {
    expect(await of(first)).toMatch(/^[0-9a-f]{12}$/)
    expect(await of(second)).toBe(await of(first))
  })

  test('is another for another message, class, status or sink, and there without any of them', async () => {
    const all = [
      await of('a thing'),
      await of('b thing'),
      await of('a thing', 'other'),
      await of('a thing', 'shop', 'timeout'),
      await of('a thing', 'shop', 'status_5xx', 502),
      await of(null, 'shop', null, null),
    ]
    expect(new Set(all).size).toBe(all.length)
  })

  test('stands on dead letters alone', async () => {
    await rows(['dead', 'retrying', 'parked'])
    const { rows: found } = await client.query('select fingerprint from postrider.deliveries order by position')
    expect(found).toEqual([{ fingerprint: await of('x', 'shop', 'status_5xx', null) }, { fingerprint: null }, found[0]])
  })
})

describe('a relay that blocks an event and an operator who removes its head do not miss each other', () => {
  /** What a relay does when a page holds an event whose key is in trouble. */
  async function settle(session: Client, nth: number): Promise<void> {
    await session.query('begin')
    await session.query(`select postrider.lock_trouble('shop', lane) from postrider.deliveries where event_id = $1`, [ids[0]])
    await session.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state)
       select 'shop', postrider.lane_of(bucket, 4::smallint), position, slot, id, key, 'blocked' from postrider.events where id = $1`,
      [ids[nth]],
    )
    await session.query(`select postrider.release_heads('shop', '{k}')`)
  }

  /** Sessions of this database that wait for a lock. */
  async function waiting(session: Client): Promise<number | null> {
    const text = `select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())`
    return (await session.query(text)).rowCount
  }

  test('the operator waits for the relay, and then lets its event go', async () => {
    await rows(['dead'])
    const relay = await db.client()
    await settle(relay, 1)
    const discarded = discard(ids[0])
    await expect.poll(() => waiting(relay)).toBe(1)
    await relay.query('commit')
    expect(await discarded).toBe(1)
    expect((await states()).slice(0, 2)).toEqual(['none', 'retrying'])
  })

  test('the relay waits for the operator, and then lets its own event go', async () => {
    await rows(['dead'])
    const operator = await db.client()
    await operator.query('begin')
    await operator.query(`select postrider.discard($1, 'because')`, [ids[0]])
    const relay = await db.client()
    const settled = settle(relay, 1)
    await expect.poll(() => waiting(operator)).toBe(1)
    await operator.query('commit')
    await settled
    await relay.query('commit')
    expect((await states()).slice(0, 2)).toEqual(['none', 'retrying'])
  })

  test.for(['repeatable read', 'serializable'])('a transaction that could miss it is refused: %s', async (level) => {
    await rows(['dead'])
    for (const call of [`select postrider.discard($1, 'because')`, 'select postrider.retry($1)']) {
      await client.query(`begin isolation level ${level}`)
      await expect(client.query(call, [ids[0]])).rejects.toMatchObject({
        code: '25000',
        hint: 'begin isolation level read committed',
      })
      await client.query('rollback')
    }
    expect((await states())[0]).toBe('dead')
  })
})

describe('put_sink', () => {
  test('lets events go that wait by rules which the sink no longer has', async () => {
    await rows(['dead', 'blocked', 'blocked'])
    await putSink('park')
    expect((await states()).slice(0, 3)).toEqual(['parked', 'retrying', 'blocked'])
    await putSink('skip', 'none')
    expect((await states()).slice(0, 3)).toEqual(['parked', 'retrying', 'retrying'])
  })

  test('leaves them alone when the rules stay', async () => {
    await rows(['dead', 'blocked'])
    await putSink('block')
    expect((await states()).slice(0, 2)).toEqual(['dead', 'blocked'])
  })

  test('makes lanes and cursors once, also when relays start together', async () => {
    const others = await Promise.all([db.client(), db.client(), db.client()])
    const text = `select lanes from postrider.put_sink('new', 'webhook', $1::smallint, null, 'key', 'block', 'all', 'now')`
    const answers = await Promise.all(others.map((other, n) => other.query<{ lanes: number }>(text, [n + 2])))
    const [lanes] = answers.map(({ rows: found }) => found[0]?.lanes)
    expect(new Set(answers.map(({ rows: found }) => found[0]?.lanes)).size).toBe(1)
    expect((await client.query(`select from postrider.lanes where sink = 'new'`)).rowCount).toBe(lanes)
    expect((await client.query(`select from postrider.checkpoints where sink = 'new'`)).rowCount).toBe(lanes)
  })

  test('changes the settings of a known sink, but neither its lanes nor where it stands', async () => {
    const { rows: found } = await client.query(
      `select kind, state, lanes, types, ordering, on_dead, audit, filter
       from postrider.put_sink('shop', 'kafka', 8::smallint, '{a.*}', 'none', 'park', 'none', 'now')`,
    )
    expect(found).toEqual([
      {
        kind: 'kafka',
        state: 'active',
        lanes: 4,
        types: ['a.*'],
        ordering: 'none',
        on_dead: 'park',
        audit: 'none',
        filter: '^(a\\.[^.]+)$',
      },
    ])
    expect((await client.query(`select done::text, fence from postrider.cursors where sink = 'shop'`)).rows).toEqual(
      Array.from({ length: 4 }, () => ({ done: '1:1:', fence: '1' })),
    )
  })

  test('knows no start but the beginning and now', async () => {
    await expect(
      client.query(`select postrider.put_sink('new', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'yesterday')`),
    ).rejects.toMatchObject({ code: '22023', message: `starts is 'yesterday': give beginning or now` })
  })
})
