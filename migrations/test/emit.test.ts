import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit, stored } from './emit.ts'

let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(() => client.query('begin'))
afterEach(() => client.query('rollback'))

const full = {
  type: 'order.placed',
  id: '018F3C2E-1111-7000-8000-00000000ABCD',
  key: 'k',
  source: 'shop',
  subject: 's',
  tenant: 't',
  content_type: 'application/vnd.order+json',
  headers: { 'x-shop': 'a "b" \\' },
  time: '2026-01-02T03:04:05.123456+01:00',
  deliver_at: '2030-01-01T00:00:00Z',
  payload: { n: 9007199254740993n.toString(), list: [1, 2, 3] },
}

const fullRow = {
  id: full.id.toLowerCase(),
  type: 'order.placed',
  key: 'k',
  source: 'shop',
  subject: 's',
  tenant: 't',
  content_type: full.content_type,
  headers: full.headers,
  deliver_at: new Date(full.deliver_at),
  payload: full.payload,
  payload_bytes: null,
}

describe('one event, alone, alone in an array, and among others', () => {
  test.for([
    ['alone', full],
    ['alone in an array', [full]],
    ['among others', [full, { type: 'other' }]],
  ] as const)('is stored attribute by attribute: %s', async ([, events]) => {
    const [id] = await emit(client, events)
    expect(id).toBe(full.id.toLowerCase())
    expect(await stored(client, [id ?? ''])).toMatchObject([fullRow])
    const { rows } = await client.query<{ time: string }>(
      `select to_char(time at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as time from postrider.events where id = $1`,
      [id],
    )
    expect(rows).toEqual([{ time: '2026-01-02 02:04:05.123456' }])
  })

  test.for([[{ type: 'a' }], [[{ type: 'a' }]], [[{ type: 'a' }, { type: 'a' }]]])(
    'has defaults for what is left out: %j',
    async ([events]) => {
      const before = Date.now()
      for (const row of await stored(client, await emit(client, events))) {
        expect(row).toMatchObject({
          key: null,
          source: `postgresql/${db.name}`,
          subject: null,
          tenant: null,
          time: null,
          deliver_at: null,
          content_type: 'application/json',
          headers: {},
          payload: null,
          payload_bytes: null,
        })
        expect(row['id']).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(Number(row['created_at'])).toBeGreaterThan(before - 5_000)
        expect(Number(row['slot'])).toBe(Math.floor(Number(row['created_at']) / 86_400_000) % 8)
      }
    },
  )

  test('counts an attribute that is null as absent, but keeps a payload that is null', async () => {
    const absent = Object.fromEntries(
      [
        'id',
        'key',
        'source',
        'subject',
        'tenant',
        'payload_base64',
        'content_type',
        'headers',
        'time',
        'deliver_at',
        'order',
      ].map((name) => [name, null]),
    )
    const event = { type: 'a', payload: null, ...absent }
    const rows = await stored(client, [...(await emit(client, event)), ...(await emit(client, [event, event]))])
    expect(rows).toHaveLength(3)
    for (const row of rows) {
      expect(row).toMatchObject({
        key: null,
        headers: {},
        content_type: 'application/json',
        payload_text: 'null',
        payload_bytes: null,
      })
    }
  })

  test('keeps bytes given as base64, also with the line breaks of PostgreSQL', async () => {
    const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => i % 256))
    const { rows } = await client.query<{ id: string }>(
      `select postrider.emit(jsonb_build_object('type', 'a', 'payload_base64', encode($1::bytea, 'base64'))) as id`,
      [bytes],
    )
    const ids = [rows[0]?.id ?? '', ...(await emit(client, { type: 'a', payload_base64: bytes.toString('base64') }))]
    for (const row of await stored(client, ids)) {
      expect(row).toMatchObject({ payload: null, payload_bytes: bytes, content_type: 'application/octet-stream' })
    }
  })

  test('keeps a number with all its digits', async () => {
    const { rows } = await client.query<{ id: string }>(
      `select postrider.emit('{"type": "a", "payload": 12345678901234567890.123456789012345678901}') as id`,
    )
    expect(await stored(client, [rows[0]?.id ?? ''])).toMatchObject([
      { payload_text: '12345678901234567890.123456789012345678901' },
    ])
  })
})

describe('an array', () => {
  test('keeps its order: ids and positions as the events stand in it', async () => {
    const events = Array.from({ length: 2_000 }, (_, n) => ({ type: 'a', key: `k${n % 7}`, payload: n }))
    const ids = await emit(client, events)
    const rows = await stored(client, ids)
    expect(rows.map(({ payload }) => payload)).toEqual(events.map(({ payload }) => payload))
    const positions = rows.map(({ position }) => Number(position))
    expect(positions).toEqual(positions.map((_, n) => (positions[0] ?? 0) + n))
  })

  test('that is empty writes nothing and answers nothing', async () => {
    expect(await emit(client, [])).toEqual([])
    expect((await client.query('select from postrider.events')).rowCount).toBe(0)
    expect((await client.query(`select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`)).rowCount).toBe(0)
  })
})

describe('an id made by PostgreSQL', () => {
  test('is a UUIDv7 of now', async () => {
    const { rows } = await client.query<{ id: string; now: number }>(
      'select postrider.uuidv7() as id, extract(epoch from clock_timestamp())::float8 * 1000 as now',
    )
    const { id, now } = rows[0] ?? { id: '', now: 0 }
    const made = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
    expect(made).toBeGreaterThan(now - 1_000)
    expect(made).toBeLessThanOrEqual(Math.ceil(now))
    expect(id).toMatch(/^.{14}7.{4}[89ab]/)
  })

  test('sorts after those that its session made before', async () => {
    const ids = await emit(
      client,
      Array.from({ length: 500 }, () => ({ type: 'a' })),
    )
    for (let n = 0; n < 50; n++) ids.push(...(await emit(client, { type: 'a' })))
    expect(ids.toSorted()).toEqual(ids)
  })

  test('has random bits that do not repeat', async () => {
    const { rows } = await client.query<{ n: number }>(
      `select count(distinct right(postrider.uuidv7()::text, 16))::int as n from generate_series(1, 10000)`,
    )
    expect(rows).toEqual([{ n: 10_000 }])
  })
})
