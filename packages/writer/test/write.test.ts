import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { createWriter, event, type QueryTransaction, type RawQuery, type TransactionHandle } from '../src/index.ts'

const outbox = createWriter({
  source: 'shop',
  events: { 'order.placed': event<{ orderId: string; n?: bigint }>(), 'order.scanned': event<Uint8Array>() },
  key: { 'order.placed': (order) => order.orderId },
})

let db: TestDatabase
let pool: pg.Pool
let kysely: Kysely<{ orders: { id: string } }>

beforeAll(async () => {
  db = await testDatabase()
  pool = new pg.Pool({ connectionString: db.url, max: 4 })
  // Dropping the database at the end cuts connections that are still idle.
  pool.on('error', () => {})
  kysely = new Kysely({ dialect: new PostgresDialect({ pool }) })
  await pool.query('create table orders (id text primary key)')
})

afterAll(async () => {
  await kysely.destroy()
  await db[Symbol.asyncDispose]()
})

interface Row {
  id: string
  type: string
  key: string | null
  payload: string | null
}

/** What another transaction sees. */
async function committed(ids: readonly string[]): Promise<Row[]> {
  const text = 'select id, type, key, payload::text from postrider.events where id = any($1::uuid[]) order by position'
  return (await pool.query<Row>(text, [ids])).rows
}

const orders = async (id: string): Promise<number> => (await pool.query('select from orders where id = $1', [id])).rowCount ?? 0

/** The handles that a writer takes, each with its own way to begin and to end. */
const transactions: Record<
  string,
  (work: (trx: TransactionHandle, insert: (id: string) => Promise<unknown>) => Promise<void>) => Promise<void>
> = {
  'a Kysely transaction': async (work) => {
    await kysely.transaction().execute(async (trx) => {
      await work(trx, (id) => trx.insertInto('orders').values({ id }).execute())
    })
  },
  'a controlled Kysely transaction': async (work) => {
    const trx = await kysely.startTransaction().execute()
    try {
      await work(trx, (id) => trx.insertInto('orders').values({ id }).execute())
      await trx.commit().execute()
    } catch (error) {
      await trx.rollback().execute()
      throw error
    }
  },
  'a pg client': async (work) => {
    await inTransaction((client) => work(client, (id) => client.query('insert into orders values ($1)', [id])))
  },
  'an object with query(text, values)': async (work) => {
    await inTransaction(async (client) => {
      const handle: QueryTransaction = { query: (text, values) => client.query(text, values) }
      await work(handle, (id) => client.query('insert into orders values ($1)', [id]))
    })
  },
}

async function inTransaction(work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await work(client)
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

describe.for(Object.entries(transactions))('in %s', ([name, transaction]) => {
  test('the event is there when the transaction commits, not before', async () => {
    const orderId = `${name} commits`
    let id = ''
    await transaction(async (trx, insert) => {
      await insert(orderId)
      id = await outbox.emit(trx, 'order.placed', { orderId })
      expect(await committed([id])).toEqual([])
    })
    expect(await committed([id])).toEqual([
      { id, type: 'order.placed', key: orderId, payload: JSON.stringify({ orderId }).replace(':', ': ') },
    ])
    expect(await orders(orderId)).toBe(1)
  })

  test('neither the event nor the row is there when it rolls back', async () => {
    const orderId = `${name} rolls back`
    const fault = new Error('changed my mind')
    let id = ''
    const work = transaction(async (trx, insert) => {
      await insert(orderId)
      id = await outbox.emit(trx, 'order.placed', { orderId })
      throw fault
    })
    await expect(work).rejects.toBe(fault)
    expect(await committed([id])).toEqual([])
    expect(await orders(orderId)).toBe(0)
  })

  test('a fault of the database reaches the caller as it is', async () => {
    const work = transaction(async (trx, insert) => {
      await insert('twice').catch(() => undefined)
      await insert('twice').catch(() => undefined)
      await outbox.emit(trx, 'order.placed', { orderId: 'o' })
    })
    await expect(work).rejects.toMatchObject({ name: 'error', code: '25P02' })
  })
})

test('a savepoint that is rolled back takes its events along, and only those', async () => {
  let ids: string[] = []
  await inTransaction(async (client) => {
    const before = await outbox.emit(client, 'order.placed', { orderId: 's' })
    await client.query('savepoint s')
    const within = await outbox.emit(client, 'order.placed', { orderId: 's' })
    await client.query('rollback to s')
    const after = await outbox.emit(client, 'order.placed', { orderId: 's' })
    ids = [before, within, after]
  })
  expect((await committed(ids)).map(({ id }) => id)).toEqual([ids[0], ids[2]])
})

describe('a pg client that is in no transaction', () => {
  test('is refused, before BEGIN and after COMMIT', async () => {
    const client = await db.client()
    const emit = (): Promise<string> => outbox.emit(client, 'order.placed', { orderId: 'o' })
    await expect(emit()).rejects.toMatchObject({
      code: 'not_in_transaction',
      message: expect.stringContaining("query('BEGIN')") as string,
    })
    await client.query('begin')
    await emit()
    await client.query('commit')
    await expect(emit()).rejects.toMatchObject({ code: 'not_in_transaction' })
  })

  test('is not mistaken for one in pipeline mode, where BEGIN is sent and not yet answered', async () => {
    const client = new pg.Client({ connectionString: db.url, pipeline: true })
    await client.connect()
    onTestFinished(() => client.end())
    const [, id] = await Promise.all([
      client.query('begin'),
      outbox.emit(client, 'order.placed', { orderId: 'p' }),
      client.query('rollback'),
    ])
    expect(await committed([id])).toEqual([])
  })
})

test('1,000 events go in one round trip, in their order', async () => {
  let statements = 0
  let ids: string[] = []
  await inTransaction(async (client) => {
    const counting: QueryTransaction = {
      query: (text, values) => {
        statements += 1
        return client.query(text, values)
      },
    }
    ids = await outbox.emitMany(
      counting,
      Array.from({ length: 1000 }, (_, i) => ({ type: 'order.placed', data: { orderId: `${i}` } }) as const),
    )
  })
  expect(statements).toBe(1)
  const rows = await committed(ids)
  expect(rows.map(({ id }) => id)).toEqual(ids)
  expect(rows.map(({ key }) => key)).toEqual(Array.from({ length: 1000 }, (_, i) => `${i}`))
})

test('integers beyond 2^53 are stored with all their digits', async () => {
  let id = ''
  await inTransaction(async (client) => {
    id = await outbox.emit(client, 'order.placed', { orderId: 'big', n: 123456789012345678901234567890n })
  })
  expect((await committed([id]))[0]?.payload).toBe('{"n": 123456789012345678901234567890, "orderId": "big"}')
})

test('the largest payloads that the writer takes are no trouble for the database', async () => {
  const large = createWriter({ source: 'x', events: { large: event<unknown>() } })
  const payloads = [
    Array.from({ length: 131_071 }, () => 1),
    Array.from({ length: 37_449 }, () => ({ '': 1 })),
    'x'.repeat(262_142),
    '\u0001'.repeat(43_690),
    new Uint8Array(262_144),
  ]
  let ids: string[] = []
  await inTransaction(async (client) => {
    ids = await large.emitMany(
      client,
      payloads.map((data) => ({ type: 'large', data }) as const),
    )
  })
  expect(await committed(ids)).toHaveLength(payloads.length)
})

test('the deepest payload that the writer takes is no trouble for the database', async () => {
  const deep = createWriter({ source: 'x', events: { deep: event<unknown>() } })
  const text = '['.repeat(1000) + ']'.repeat(1000)
  let id = ''
  await inTransaction(async (client) => {
    id = await deep.emit(client, 'deep', JSON.parse(text))
  })
  expect((await committed([id]))[0]?.payload).toBe(text)
})

test('every attribute is stored as it was given', async () => {
  const bytes = Uint8Array.of(0, 255, 34, 92)
  const id = '018F3C2E-1111-7000-8000-00000000ABCD'
  const headers = { 'X-Shop': '"a\\b"', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }
  await inTransaction((client) =>
    outbox.emit(client, 'order.scanned', bytes, {
      id,
      key: 'k "1" \\ ü 😀',
      subject: 's',
      tenant: 't',
      source: 'elsewhere',
      contentType: 'image/png',
      headers,
      time: '2026-01-02T03:04:05.123456+01:00',
      deliverAt: new Date('2030-01-01T00:00:00Z'),
      expiresAt: new Date('2031-01-01T00:00:00Z'),
      order: 'commit',
    }),
  )
  const { rows } = await pool.query(
    `select id, key, subject, tenant, source, content_type, headers, payload, payload_bytes, deliver_at, expires_at,
       to_char(time at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') as time
     from postrider.events where id = $1`,
    [id],
  )
  expect(rows).toEqual([
    {
      id: id.toLowerCase(),
      key: 'k "1" \\ ü 😀',
      subject: 's',
      tenant: 't',
      source: 'elsewhere',
      content_type: 'image/png',
      headers: { 'x-shop': '"a\\b"', traceparent: headers.traceparent },
      payload: null,
      payload_bytes: Buffer.from(bytes),
      deliver_at: new Date('2030-01-01T00:00:00Z'),
      expires_at: new Date('2031-01-01T00:00:00Z'),
      time: '2026-01-02T02:04:05.123456',
    },
  ])
})

test('every language writes by the same function: a plain SQL call without the writer', async () => {
  const { rows } = await pool.query<{ id: string }>(
    `select postrider.emit('{"type": "order.noted", "payload": {"text": "by hand"}}') as id`,
  )
  expect(await committed(rows.map(({ id }) => id))).toMatchObject([
    { type: 'order.noted', key: null, payload: '{"text": "by hand"}' },
  ])
})
describe('an error of the function has the code of Postrider, its details, and the cause', () => {
  // What the writer lets through and the function refuses: PostgreSQL writes numbers without exponents.
  const roomy = createWriter({ source: 'x', events: { a: event<unknown>(), b: event<number>() } })

  test('payload_too_large, for a payload whose text as PostgreSQL writes it is over the limit', async () => {
    const data = Array.from({ length: 2_000 }, () => 1e300)
    let cause: unknown
    const work = inTransaction(async (client) => {
      await roomy
        .emitMany(client, [
          { type: 'b', data: 1 },
          { type: 'a', data },
        ])
        .catch((error: unknown) => {
          cause = (error as Error).cause
          throw error
        })
    })
    await expect(work).rejects.toMatchObject({
      name: 'PostriderError',
      code: 'payload_too_large',
      details: { index: 1, type: 'a', path: 'payload', limit: 524_288, id: expect.any(String) as string },
    })
    expect(cause).toMatchObject({ code: 'PR003' })
  })

  test.for([
    ['PR001', 'invalid_event', { type: 'not a type' }, 'type'],
    ['PR003', 'payload_too_large', { type: 'b', payload: 'x'.repeat(524_288) }, 'payload'],
  ] as const)('%s is %s, from Kysely as from pg', async ([state, code, bad, path]) => {
    // Changed on their way, as a producer without these checks would send them.
    const altered = JSON.stringify([{ type: 'b' }, bad, { type: 'b' }])
    const events = [1, 2, 3].map((data) => ({ type: 'b', data }) as const)
    const matching = { code, details: { index: 1, type: 'b', path }, cause: { code: state } }

    const byPg = inTransaction(async (client) => {
      await roomy.emitMany({ query: (text) => client.query(text, [altered]) }, events)
    })
    await expect(byPg).rejects.toMatchObject(matching)

    const byKysely = kysely.transaction().execute(async (trx) => {
      const executeQuery = (query: RawQuery): Promise<unknown> => trx.executeQuery({ ...query, parameters: [altered] })
      await roomy.emitMany({ isTransaction: true, executeQuery }, events)
    })
    await expect(byKysely).rejects.toMatchObject(matching)
  })
})

describe('a database without the schema', () => {
  let empty: TestDatabase

  beforeAll(async () => {
    empty = await testDatabase({ migrated: false })
  })
  afterAll(() => empty[Symbol.asyncDispose]())

  let client: pg.Client
  beforeEach(async () => {
    client = await empty.client()
    await client.query('begin')
  })

  const missing = {
    code: 'schema_missing',
    next: 'Run `postrider migrate up`.',
    message: expect.stringContaining('postrider.emit') as string,
  }

  test('says schema_missing', async () => {
    await expect(outbox.emit(client, 'order.placed', { orderId: 'o' })).rejects.toMatchObject({
      ...missing,
      cause: { code: '3F000' },
    })
  })

  test('says so too when the schema is there and its function is not', async () => {
    await client.query('create schema postrider')
    await expect(outbox.emit(client, 'order.placed', { orderId: 'o' })).rejects.toMatchObject({
      ...missing,
      cause: { code: '42883' },
    })
  })
})
