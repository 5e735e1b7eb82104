import { once as onceEvent } from 'node:events'
import { createServer, request as httpRequest, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { serve as serveHono } from '@hono/node-server'
import { generateSecret } from '@postrider/schema/signature'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import type { EachBatchPayload, EachMessagePayload } from 'kafkajs'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  createConsumer,
  createInbox,
  type Consumer,
  type ConsumerOptions,
  type Failure,
  type KafkaRecord,
  type PostriderError,
  type ReceivedEvent,
} from '../src/index.ts'
import { secret, signedHeaders, standardRequest, type Sent } from './sign.ts'

interface Tables {
  effects: { event_id: string; total: number }
}

let db: TestDatabase
let client: pg.Client
let pool: pg.Pool
let kysely: Kysely<Tables>

beforeAll(async () => {
  db = await testDatabase({ migrated: false })
  client = await db.client()
  await createInbox(client)
  await client.query('create table effects (event_id text not null, total numeric not null)')
  pool = new pg.Pool({ connectionString: db.url, max: 20 })
  kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: db.url, max: 20 }) }) })
})
beforeEach(() => client.query('truncate effects, postrider_inbox'))
afterAll(async () => {
  await kysely.destroy()
  await pool.end()
  await db[Symbol.asyncDispose]()
})

type OnPool = ConsumerOptions<pg.Pool>

const insert = async ({ id, data }: ReceivedEvent, trx: pg.PoolClient): Promise<void> => {
  await trx.query('insert into effects values ($1, $2)', [id, (data as { total: number }).total])
}

function onPool(options: Partial<OnPool> = {}): Consumer {
  return createConsumer({ name: 'billing', db: pool, secrets: [secret], handler: insert, onFailure: async () => {}, ...options })
}

async function effects(): Promise<string[]> {
  const { rows } = await client.query<{ event_id: string }>('select event_id from effects')
  return rows.map((row) => row.event_id)
}

interface Running extends AsyncDisposable {
  readonly port: number
}

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.closeAllConnections()
    server.close(() => resolve())
  })

async function listening(server: Server): Promise<Running> {
  if (!server.listening) await onceEvent(server, 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: () => close(server) }
}

const onNode = (consumer: Consumer): Promise<Running> => listening(createServer(consumer.node()).listen(0, '127.0.0.1'))

const frameworks: Record<string, (consumer: Consumer) => Promise<Running>> = {
  node: onNode,
  express: (consumer) => {
    const app = express()
    app.post('/hooks', consumer.express())
    app.use(express.json())
    return listening(app.listen(0, '127.0.0.1'))
  },
  'express with raw()': (consumer) => {
    const app = express()
    app.post('/hooks', express.raw({ type: () => true, limit: '2mb' }), consumer.express())
    return listening(app.listen(0, '127.0.0.1'))
  },
  fastify: async (consumer) => {
    const app = Fastify()
    await app.register(consumer.fastify('/hooks'))
    await app.listen({ port: 0, host: '127.0.0.1' })
    return { port: (app.server.address() as AddressInfo).port, [Symbol.asyncDispose]: () => app.close() }
  },
  hono: (consumer) => {
    const app = new Hono()
    app.post('/hooks', consumer.hono())
    return listening(serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server)
  },
  fetch: (consumer) => listening(serveHono({ fetch: consumer.fetch(), port: 0, hostname: '127.0.0.1' }) as Server),
}

interface Answered {
  readonly status: number
  readonly word: string
  readonly headers: Headers
}

async function send(
  { port }: Running,
  { body, headers }: Pick<Sent, 'headers'> & { body: string | Uint8Array<ArrayBuffer> },
): Promise<Answered> {
  const response = await fetch(`http://127.0.0.1:${port}/hooks`, { method: 'POST', body, headers })
  return { status: response.status, word: (await response.text()).trim(), headers: response.headers }
}

describe.each(Object.entries(frameworks))('%s', (_name, start) => {
  test('an event takes effect and is answered 200; so it is the second time, without an effect', async () => {
    await using server = await start(onPool())
    const request = standardRequest({ total: 42 })
    expect(await send(server, request)).toMatchObject({ status: 200, word: 'taken' })
    expect(await send(server, request)).toMatchObject({ status: 200, word: 'duplicate' })
    expect(await effects()).toEqual([request.id])
  })

  test('bytes that are no UTF-8 arrive as they were signed', async () => {
    const seen: Uint8Array[] = []
    await using server = await start(onPool({ handler: async ({ bytes }) => void seen.push(bytes ?? new Uint8Array()) }))
    const body = new Uint8Array(Array.from({ length: 256 }, (_, byte) => byte))
    const headers = { 'content-type': 'application/octet-stream', ...signedHeaders('octets', body) }
    expect(await send(server, { headers, body })).toMatchObject({ status: 200 })
    expect(Buffer.concat(seen).equals(body)).toBe(true)
  })

  test('what was signed by another, lacks its signature or is malformed is 401 or 400, and never an event', async () => {
    const refused: string[] = []
    await using server = await start(onPool({ onRefused: ({ code }) => void refused.push(code) }))
    const request = standardRequest({ total: 1 })
    const expected: [Answered, number, string][] = [
      [await send(server, standardRequest({ total: 1 }, { by: generateSecret() })), 401, 'wrong_signature'],
      [await send(server, { ...request, headers: {} }), 401, 'missing_signature'],
      [await send(server, { ...request, headers: { ...request.headers, 'webhook-timestamp': '1' } }), 401, 'stale_request'],
      [await send(server, { ...request, headers: { ...request.headers, 'webhook-id': 'a.b' } }), 400, 'malformed_request'],
    ]
    for (const [answer, status, word] of expected) expect(answer).toMatchObject({ status, word })
    expect(refused).toEqual(expected.map(([, , word]) => word))
    expect(await effects()).toEqual([])
  })

  test('a signed request that holds no event is 400, and told to onFailure', async () => {
    const failures: Failure[] = []
    await using server = await start(onPool({ onFailure: async (failure) => void failures.push(failure) }))
    const headers = { 'content-type': 'application/cloudevents+json', ...signedHeaders('x', 'no json') }
    expect(await send(server, { headers, body: 'no json' })).toMatchObject({ status: 400, word: 'malformed_event' })
    expect(failures).toMatchObject([{ event: null, transport: 'webhook', error: { code: 'malformed_event' } }])
  })

  test('a handler that throws is 500 with Retry-After, leaves nothing, and gets the event again', async () => {
    let healthy = false
    const handler: OnPool['handler'] = async (event, trx) => {
      await insert(event, trx)
      if (!healthy) throw new Error('the secret reason')
    }
    await using server = await start(onPool({ handler, retryAfterSeconds: 7 }))
    const request = standardRequest({ total: 1 })
    const failed = await send(server, request)
    expect([failed.status, failed.word, failed.headers.get('retry-after')]).toEqual([500, 'handler_failed', '7'])
    expect(await effects()).toEqual([])
    healthy = true
    expect(await send(server, request)).toMatchObject({ status: 200, word: 'taken' })
    expect(await effects()).toEqual([request.id])
  })

  test('a body over the limit is 413, with its length said or not', async () => {
    await using server = await start(onPool({ maxBodyBytes: 1_000 }))
    const request = standardRequest({ total: 1, padding: 'x'.repeat(2_000) })
    expect(await send(server, request)).toMatchObject({ status: 413, word: 'body_too_large' })
    const { port } = server
    const outgoing = httpRequest({ port, host: '127.0.0.1', path: '/hooks', method: 'POST', headers: { ...request.headers } })
    outgoing.write(request.body)
    outgoing.end()
    const [response] = (await onceEvent(outgoing, 'response')) as [{ statusCode: number; resume(): void }]
    response.resume()
    expect(response.statusCode).toBe(413)
    expect(await effects()).toEqual([])
  })
})

describe('a body that something has read already is a fault of the set-up, told with 500', () => {
  const request = standardRequest({ total: 1 })
  const read: Record<string, (consumer: Consumer) => Promise<Running>> = {
    'express.json()': (consumer) => {
      const app = express()
      app.use(express.json())
      app.post('/hooks', consumer.express())
      return listening(app.listen(0, '127.0.0.1'))
    },
    'express.text()': (consumer) => {
      const app = express()
      app.use(express.text({ type: () => true }))
      app.post('/hooks', consumer.express())
      return listening(app.listen(0, '127.0.0.1'))
    },
    'a middleware of Hono': (consumer) => {
      const app = new Hono()
      app.use(async (context, next) => {
        await context.req.text()
        await next()
      })
      app.post('/hooks', consumer.hono())
      return listening(serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server)
    },
  }
  test.each(Object.entries(read))('%s', async (_name, start) => {
    const refused: PostriderError[] = []
    await using server = await start(onPool({ onRefused: (error) => void refused.push(error) }))
    expect(await send(server, request)).toMatchObject({ status: 500, word: 'body_parsed' })
    expect(refused).toMatchObject([{ code: 'body_parsed' }])
  })
})

test('the parsers of Fastify on other routes stay as they are, and app.inject is served too', async () => {
  const app = Fastify()
  await app.register(onPool().fastify('/hooks'))
  app.post('/other', async ({ body }) => body)
  const other = await app.inject({ method: 'POST', url: '/other', payload: { a: 1 } })
  expect(other.json()).toEqual({ a: 1 })
  const { body, headers } = standardRequest({ total: 1 })
  expect((await app.inject({ method: 'POST', url: '/hooks', payload: body, headers: { ...headers } })).body).toBe('taken\n')
  await app.close()
})

describe('hostile requests', () => {
  /** Sends raw bytes; answers the first line that comes back, or `closed`. */
  async function speak({ port }: Running, text: string): Promise<string> {
    const socket = connect(port, '127.0.0.1')
    try {
      socket.write(text)
      const [first] = await Promise.race([onceEvent(socket, 'data'), onceEvent(socket, 'close').then(() => ['closed'])])
      return String(first).split('\r\n', 1).join()
    } finally {
      socket.destroy()
    }
  }

  test('duplicate ids, huge headers, another method and a body that breaks off or never ends get an answer and have no effect', async () => {
    await using server = await onNode(onPool({ timeoutMs: 300 }))
    const { id, body, headers } = standardRequest({ total: 1 })
    const lines = Object.entries({ host: 'x', ...headers }).map(([name, value]) => `${name}: ${value}`)
    const whole = (more: string[], length = Buffer.byteLength(body)): string =>
      `POST /hooks HTTP/1.1\r\n${[...lines, ...more, `content-length: ${length}`].join('\r\n')}\r\n\r\n${body}`
    expect(await speak(server, whole([`webhook-id: ${id}`]))).toBe('HTTP/1.1 400 Bad Request')
    expect(await speak(server, whole([`Webhook-Timestamp: 1`]))).toBe('HTTP/1.1 400 Bad Request')
    expect(await speak(server, whole([`x: ${'y'.repeat(20_000)}`]))).toBe('HTTP/1.1 431 Request Header Fields Too Large')
    expect(await speak(server, whole([], 5_000))).toBe('HTTP/1.1 408 Request Timeout')
    expect((await fetch(`http://127.0.0.1:${server.port}/`)).status).toBe(405)
    expect(await effects()).toEqual([])
    expect(await speak(server, whole([]))).toBe('HTTP/1.1 200 OK')
  })
})

const record = (request: Sent, offset = '0'): KafkaRecord => ({
  topic: 'orders',
  partition: 0,
  offset,
  key: Buffer.from('o-1'),
  value: Buffer.from(JSON.stringify((JSON.parse(request.body) as { data: unknown }).data)),
  timestamp: '1767605400123',
  headers: { ce_specversion: Buffer.from('1.0'), ce_id: Buffer.from(request.id), ce_type: Buffer.from('order.placed') },
})

function onKysely(options: Partial<ConsumerOptions<Kysely<Tables>>> = {}): Consumer {
  return createConsumer({
    name: 'billing',
    db: kysely,
    secrets: [secret],
    onFailure: async () => {},
    handler: async ({ id, data }, trx) => {
      await trx
        .insertInto('effects')
        .values({ event_id: id, total: (data as { total: number }).total })
        .execute()
    },
    ...options,
  })
}

describe('once, whatever happens', () => {
  test.each([
    ['pg', onPool],
    ['Kysely', onKysely],
    [
      'any other database',
      () =>
        createConsumer({
          name: 'billing',
          secrets: [secret],
          db: { inTransaction: <R>(work: (trx: pg.PoolClient) => Promise<R>) => transactByHand(work) },
          handler: insert,
        }),
    ],
  ])('64 deliveries at once, half of them by Kafka, have one effect, on %s', async (_name, make) => {
    const consumer = make()
    await using server = await onNode(consumer)
    const request = standardRequest({ total: 1 })
    const { record: take } = consumer.kafka()
    const answers = await Promise.all(
      Array.from({ length: 64 }, async (_, n) =>
        n % 2 === 0 ? (await send(server, request)).word : await take(record(request)),
      ),
    )
    expect(answers.filter((word) => word === 'taken')).toHaveLength(1)
    expect(answers.filter((word) => word === 'duplicate')).toHaveLength(63)
    expect(await effects()).toEqual([request.id])
  })

  async function transactByHand<R>(work: (trx: pg.PoolClient) => Promise<R>): Promise<R> {
    const own = await pool.connect()
    try {
      await own.query('begin')
      const result = await work(own)
      await own.query('commit')
      return result
    } catch (error) {
      await own.query('rollback')
      throw error
    } finally {
      own.release()
    }
  }

  test('events that come by both transports in any order have one effect each', async () => {
    const consumer = onPool()
    await using server = await onNode(consumer)
    const requests = Array.from({ length: 20 }, (_, total) => standardRequest({ total }))
    const { record: take } = consumer.kafka()
    await Promise.all([
      ...requests.map((request) => send(server, request)),
      ...requests.toReversed().map((request, n) => take(record(request, String(n)))),
    ])
    expect((await effects()).sort()).toEqual(requests.map(({ id }) => id).sort())
  })

  test('another consumer has its own effect', async () => {
    const request = record(standardRequest({ total: 1 }))
    expect(await onPool().kafka().record(request)).toBe('taken')
    expect(await onPool({ name: 'mail' }).kafka().record(request)).toBe('taken')
  })

  test('a handler that hides the error of a statement is not taken for success', async () => {
    const consumer = onPool({
      handler: (_event, trx) =>
        trx.query('select 1/0').then(
          () => undefined,
          () => undefined,
        ),
    })
    await expect(consumer.kafka().record(record(standardRequest({ total: 1 })))).rejects.toMatchObject({ code: 'rolled_back' })
    expect((await client.query('select from postrider_inbox')).rowCount).toBe(0)
  })

  test('nor on Kysely, which does not look at the tag of a commit', async () => {
    const consumer = onKysely({
      handler: (_event, trx) =>
        trx
          .selectFrom('nowhere' as 'effects')
          .selectAll()
          .execute()
          .then(
            () => undefined,
            () => undefined,
          ),
    })
    await expect(consumer.kafka().record(record(standardRequest({ total: 1 })))).rejects.toMatchObject({ code: 'rolled_back' })
  })

  test.each([
    ['pg', onPool],
    ['Kysely', onKysely],
  ] as const)(
    'a handler that hangs is cut off, its transaction is rolled back, and the next event is served, on %s',
    async (_name, make) => {
      const never = make({ timeoutMs: 200, handler: () => new Promise<void>(() => {}) })
      const request = record(standardRequest({ total: 1 }))
      await expect(never.kafka().record(request)).rejects.toMatchObject({ code: 'handler_timeout' })
      const asleep = onPool({ timeoutMs: 200, handler: async (_event, trx) => void (await trx.query('select pg_sleep(30)')) })
      await expect(asleep.kafka().record(request)).rejects.toMatchObject({ code: expect.stringMatching(/^handler_/) as string })
      expect(await make().kafka().record(request)).toBe('taken')
    },
  )

  test('while another transaction holds the event, the answer is 503 and the sender comes again; it is not given up for that', async () => {
    const request = standardRequest({ total: 1 })
    await using server = await onNode(onPool({ lockTimeoutMs: 50, onFailure: async () => 'give-up' }))
    await client.query('begin')
    await client.query(`insert into postrider_inbox values ('billing', $1)`, [request.id])
    const busy = await send(server, request)
    expect([busy.status, busy.word, busy.headers.get('retry-after')]).toEqual([503, 'event_busy', '2'])
    await client.query('rollback')
    expect(await send(server, request)).toMatchObject({ status: 200, word: 'taken' })
  })

  test('a connection that breaks while a handler works fails the event, not the process', async () => {
    const consumer = onPool({
      handler: async (event, trx) => {
        await insert(event, trx)
        const { rows } = await trx.query<{ pid: number }>('select pg_backend_pid() as pid')
        await client.query('select pg_terminate_backend($1)', [rows.at(0)!.pid])
        await sleep(50)
      },
    })
    const request = record(standardRequest({ total: 1 }))
    await expect(consumer.kafka().record(request)).rejects.toThrow(/terminat|not queryable/i)
    expect(await effects()).toEqual([])
    expect(await onPool().kafka().record(request)).toBe('taken')
  })

  test('without the table nothing is taken, and the error says what to do', async () => {
    await using server = await onNode(onPool({ table: 'nowhere' }))
    expect(await send(server, standardRequest({ total: 1 }))).toMatchObject({ status: 500, word: 'inbox_missing' })
  })
})

describe('kafkajs', () => {
  test('eachMessage takes the payload of kafkajs, and throws when the handler does, so that the offset is not committed', async () => {
    let healthy = false
    const failures: Failure[] = []
    const consumer = onPool({
      handler: async (event, trx) => (healthy ? insert(event, trx) : Promise.reject(new Error('no'))),
      onFailure: async (failure) => void failures.push(failure),
    })
    const request = standardRequest({ total: 1 })
    const { topic, partition, ...message } = record(request)
    const payload = { topic, partition, message } as unknown as EachMessagePayload
    await expect(consumer.kafka().eachMessage(payload)).rejects.toMatchObject({
      code: 'handler_failed',
      cause: { message: 'no' },
    })
    expect(failures).toMatchObject([{ transport: 'kafka', event: { id: request.id } }])
    healthy = true
    await consumer.kafka().eachMessage(payload)
    await consumer.kafka().eachMessage(payload)
    expect(await effects()).toEqual([request.id])
  })

  test('eachBatch resolves what was taken up to the record that fails, in order, and begins there the next time', async () => {
    const requests = Array.from({ length: 5 }, (_, total) => standardRequest({ total }))
    let poisonous = true
    const consumer = onPool({
      handler: async (event, trx) => {
        if (poisonous && event.id === requests.at(3)!.id) throw new Error('poison')
        await insert(event, trx)
      },
    })
    const resolved: string[] = []
    let heartbeats = 0
    const batch = { topic: 'orders', partition: 0, messages: requests.map((request, n) => record(request, String(n))) }
    const payload = {
      batch,
      resolveOffset: (offset: string) => void resolved.push(offset),
      heartbeat: async () => void heartbeats++,
    } as unknown as EachBatchPayload
    await expect(consumer.kafka().eachBatch(payload)).rejects.toMatchObject({ code: 'handler_failed' })
    expect([resolved, heartbeats]).toEqual([['0', '1', '2'], 3])
    poisonous = false
    await consumer.kafka().eachBatch(payload)
    expect(await effects()).toEqual(requests.map(({ id }) => id))
  })
})

describe('poison', () => {
  const poison = async (): Promise<void> => {
    throw new Error('poison')
  }

  test('given up, a webhook becomes a dead letter of the sender, and a record is passed over; neither counts as taken', async () => {
    const consumer = onPool({ handler: poison, onFailure: async () => 'give-up' })
    await using server = await onNode(consumer)
    const request = standardRequest({ total: 1 })
    const answer = await send(server, request)
    expect([answer.status, answer.word, answer.headers.get('postrider-retry')]).toEqual([422, 'handler_failed', 'never'])
    expect(await consumer.kafka().record(record(request))).toBe('given-up')
    expect(await onPool().kafka().record(record(request))).toBe('taken')
  })

  test('an onFailure that throws gives nothing up, and both errors are heard', async () => {
    const consumer = onPool({
      handler: poison,
      onFailure: async () => {
        throw new Error('the hook is broken')
      },
    })
    const heard: string[] = []
    const listen = ({ message }: Error): void => void heard.push(message)
    process.on('warning', listen)
    await expect(consumer.kafka().record(record(standardRequest({ total: 1 })))).rejects.toMatchObject({ code: 'handler_failed' })
    await sleep(20)
    process.off('warning', listen)
    expect(heard.join('\n')).toMatch(/poison[^]*the hook is broken/)
  })

  test('without onFailure a failed webhook is a warning of the process', async () => {
    const consumer = createConsumer({ name: 'billing', db: pool, secrets: [secret], handler: poison })
    await using server = await onNode(consumer)
    const warned = onceEvent(process, 'warning')
    await send(server, standardRequest({ total: 1 }))
    const [warning] = (await warned) as [Error]
    expect(warning).toMatchObject({ name: 'PostriderWarning', message: expect.stringContaining('poison') as string })
  })
})

test('options are checked at the door, all at once; HTTP without secrets is refused when the adapter is made', () => {
  const broken = { name: 'a b', db: pool, handler: 1, timeoutMs: 0, misspelt: true } as unknown as OnPool
  expect(() => createConsumer(broken)).toThrow(/misspelt[^]*name[^]*handler[^]*timeoutMs/)
  expect(() => createConsumer({ name: 'a', db: client as never, handler: insert })).toThrow('db: expected')
  const consumer = createConsumer({ name: 'a', db: pool, handler: insert })
  expect(() => consumer.express()).toThrow(expect.objectContaining({ code: 'invalid_options' }))
  expect(() => consumer.kafka()).not.toThrow()
})
