/** The graduation of a consumer, there and back, on a real broker, while writers write. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createConsumer, createInbox } from '@postrider/inbox'
import { createKafkaSink } from '@postrider/kafka'
import { migrate } from '@postrider/migrations'
import { createRelay } from '@postrider/relay'
import { sharedKafka, testTopic } from '@postrider/test/kafka'
import { startPostgres } from '@postrider/test/postgres'
import { until } from '@postrider/test/until'
import { startWriters } from '@postrider/test/writers'
import { createWebhookSink, generateSecret } from '@postrider/webhook'
import { Kafka, logLevel, type Consumer as Group } from 'kafkajs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../src/connect.ts'
import { cutOver, type Graduation } from '../src/graduate/cutover.ts'
import { openStream } from '../src/graduate/open-stream.ts'
import { rollBack } from '../src/graduate/roll-back.ts'
import { verify } from '../src/graduate/verify.ts'

const { kafka, reason } = sharedKafka()
/** Twenty take a minute and a half. */
const rounds = Number(process.env['POSTRIDER_TEST_ROUNDS'] ?? 6)

describe.skipIf(kafka === null)(`graduation (${reason})`, () => {
  test(`${rounds} cut-overs and roll-backs under load: the inbox has every event once, each key in order, and log and topic are equal`, async () => {
    const bootstrap = kafka!.bootstrap
    const server = await startPostgres()
    onTestFinished(() => server[Symbol.asyncDispose]())
    const pool = new pg.Pool({ connectionString: server.url, max: 8 })
    pool.on('error', () => {})
    onTestFinished(() => pool.end())
    const client = new pg.Client(server.url)
    client.on('error', () => {})
    await client.connect()
    onTestFinished(() => client.end())
    await migrate(client)
    await createInbox(client)
    await client.query('create table effects (nr bigint generated always as identity, event_id uuid, key text, n int, by text)')
    const topic = await testTopic(bootstrap, { partitions: 4 })
    onTestFinished(() => topic[Symbol.asyncDispose]())

    const secret = generateSecret()
    const consumer = createConsumer({
      name: 'billing',
      db: pool,
      secrets: [secret],
      handler: async (event, trx) => {
        const { key, n } = event.data as { key: string; n: number }
        await trx.query('insert into effects (event_id, key, n, by) values ($1, $2, $3, $4)', [event.id, key, n, event.transport])
      },
    })
    const receiver = createServer(consumer.node())
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void receiver.close())
    receiver.unref()

    const hook = createWebhookSink({
      name: 'hook',
      url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
      secrets: { current: secret },
      trust: 'internal',
      allow: ['127.0.0.0/8'],
    })
    const stream = await createKafkaSink({ name: 'stream', brokers: bootstrap, topic: topic.name, source: 'test' })
    const relay = createRelay({
      connectionString: server.url,
      leaseMs: 5_000,
      sinks: [
        { sink: hook, lanes: 2, concurrency: 8 },
        { sink: stream, lanes: 2, concurrency: 500 },
      ],
    })
    const stop = new AbortController()
    const running = relay.run(stop.signal)
    let failure: unknown
    running.catch((error: unknown) => (failure = error))
    onTestFinished(async () => {
      stop.abort()
      await running
    })
    const carries = (): boolean => {
      if (failure !== undefined) throw new Error('the relay has ended', { cause: failure })
      return relay.health().lanes.length === 4
    }
    await until('the relay carries', carries, 60_000)

    const database = openDatabase(
      { database: { url: server.url, directUrl: server.url, connections: 4 }, schema: 'postrider' },
      'test',
    )
    onTestFinished(() => database[Symbol.asyncDispose]())
    const log = await openStream({ connection: { brokers: bootstrap }, driver: { brokers: bootstrap }, profile: 'cloudevents' })
    onTestFinished(() => log[Symbol.asyncDispose]())
    const graduation: Graduation = { database, schema: 'postrider', stream: log, deadlineMs: 30_000 }
    const client2 = new Kafka({ clientId: 'billing', brokers: [...bootstrap], logLevel: logLevel.NOTHING })
    const group = `billing-${topic.name}`
    const read = async (): Promise<Group> => {
      const reader = client2.consumer({ groupId: group, sessionTimeout: 6_000, heartbeatInterval: 500 })
      await reader.connect()
      await reader.subscribe({ topic: topic.name })
      await reader.run({ autoCommitInterval: 200, eachMessage: consumer.kafka().eachMessage })
      return reader
    }

    const writers = await startWriters(server.url, { slow: 0.05 })
    onTestFinished(() => writers[Symbol.asyncDispose]())
    const count = async (by = 'kafka'): Promise<number> =>
      Number((await client.query('select count(*)::int as n from effects where by = $1', [by])).rows[0].n)
    const move = { sink: 'hook', types: ['account.*'], toSink: 'stream', consumer: group, actor: 'test', reason: null }
    for (let times = 0; times < rounds; times++) {
      await sleep(Math.random() * 300)
      const cutover = await cutOver(move, graduation)
      const before = await count()
      const reader = await read()
      if (times % 4 === 0) await until('it reads from the topic', async () => (await count()) > before + 20, 20_000)
      else await sleep(Math.random() * 600)
      await reader.disconnect()
      const { cutover: rolled } = await rollBack(cutover, { actor: 'test', reason: null }, graduation)
      expect(rolled.state).toBe('rolled_back')
    }
    await writers.stop()
    const expected = new Map(writers.committed.map((event) => [event.id, event]))
    await until(
      'every event took effect',
      async () => (await client.query('select from effects')).rowCount === expected.size,
      30_000,
    )
    const { rows: effects } = await client.query<{ event_id: string; key: string; n: number }>(
      'select * from effects order by nr',
    )
    expect(new Set(effects.map(({ event_id }) => event_id)).size).toBe(effects.length)
    const last = new Map<string, number>()
    for (const { key, n } of effects) {
      expect(n, key).toBe((last.get(key) ?? 0) + 1)
      last.set(key, n)
    }
    expect(await count(), 'by the topic').toBeGreaterThan(20 * Math.ceil(rounds / 4))
    expect(await count('webhook'), 'by the webhook').toBeGreaterThan(20)
    const parity = await verify({ toSink: 'stream', actor: 'test' }, graduation)
    expect(parity).toMatchObject({ equal: true, events: expected.size, foreign: 0 })
  }, 240_000)
})
