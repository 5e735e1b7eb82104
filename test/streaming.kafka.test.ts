/** A relay that carries to Kafka and to a webhook at once, while brokers freeze, die and move, and topics come and go. */
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaAdmin } from '@postrider/kafka'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { migrate } from '@postrider/migrations'
import { faultless, faultsOf, repeats } from './history.ts'
import { ownKafka, startKafka, type Kafka, type KafkaOptions } from './kafka/index.ts'
import { startPostgres } from './postgres/index.ts'
import { bigNumber, startReceiver, type Receiver } from './receiver.ts'
import { startRelay, type RelayProcess, type RelayProcessOptions } from './relay-process.ts'
import { readTopic } from './topic-reader.ts'
import { until } from './until.ts'
import { startWriters, type Writers } from './writers.ts'

const { available, reason } = ownKafka()
/** How long a broker stands still: a minute is what a page of an operator takes, and a CI run has less. */
const frozenMs = Number(process.env['POSTRIDER_TEST_FROZEN_MS'] ?? 15_000)

interface Stage {
  readonly client: pg.Client
  readonly url: string
  readonly kafka: Kafka
  readonly receiver: Receiver
  relay: RelayProcess
  readonly writers: Writers
  readonly start: (more?: RelayProcessOptions) => Promise<RelayProcess>
  /** Stops the writers, waits until all is carried, and checks both sides. */
  readonly finish: () => Promise<{ readonly repeated: number }>
}

async function stage(
  options: KafkaOptions = {},
  { sink = {}, topics = ['account'], partitions = 3 }: { sink?: object; topics?: readonly string[]; partitions?: number } = {},
): Promise<Stage> {
  const server = await startPostgres()
  onTestFinished(() => server[Symbol.asyncDispose]())
  const client = new pg.Client(server.url)
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.end())
  await migrate(client)
  const kafka = await startKafka(options)
  onTestFinished(() => kafka[Symbol.asyncDispose]())
  await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
  for (const name of topics) await admin.createTopic({ name, partitions })
  const receiver = await startReceiver()
  onTestFinished(() => receiver[Symbol.asyncDispose]())
  const start = async (more: RelayProcessOptions = {}): Promise<RelayProcess> => {
    const relay = await startRelay(server.url, receiver, {
      leaseMs: 2_000,
      sink: { lanes: 2 },
      kafka: [
        {
          lanes: 2,
          concurrency: 500,
          retry: { delaysMs: Array<number>(200).fill(200), jitter: 0, maxAgeMs: 600_000 },
          options: {
            name: 'stream',
            brokers: kafka.bootstrap,
            source: 'test',
            timeouts: { requestMs: 2_000, connectMs: 1_000, deadlineMs: 6_000 },
            ...sink,
          },
        },
      ],
      watch: ['postrider:attempt'],
      ...more,
    })
    onTestFinished(() => relay[Symbol.asyncDispose]())
    return relay
  }
  const relay = await start()
  const writers = await startWriters(server.url)
  onTestFinished(() => writers[Symbol.asyncDispose]())
  const set: Stage = {
    client,
    url: server.url,
    kafka,
    receiver,
    relay,
    writers,
    start,
    finish: async () => {
      await writers.stop()
      const settled = async (): Promise<boolean> =>
        (await client.query('select from postrider.pending limit 1')).rowCount === 0 &&
        (await client.query('select from postrider.deliveries limit 1')).rowCount === 0
      await until('everything is carried', settled, 60_000)
      const placed = await readTopic(kafka.bootstrap, 'account')
      expect(faultsOf(writers.committed, placed)).toEqual(faultless)
      expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
      expect(receiver.complaints).toEqual([])
      await set.relay.stop()
      return { repeated: repeats(placed) }
    },
  }
  return set
}

/** Events that the webhook took in a time. */
async function takenIn(receiver: Receiver, ms: number): Promise<number> {
  const before = receiver.distinct
  await sleep(ms)
  return receiver.distinct - before
}

/** Attempts at the stream that failed, by error code. */
const spent = async (client: pg.Client): Promise<number> =>
  (await client.query(`select from postrider.deliveries where sink = 'stream' and attempts > 0`)).rowCount ?? 0

describe.skipIf(!available)(`Kafka and a webhook (${reason})`, () => {
  test('a broker that stands still and goes on: nothing is lost, no attempt is spent, and the webhook does not notice', async () => {
    const { kafka, receiver, client, finish } = await stage()
    await until('both get events', () => receiver.distinct > 100)
    const usual = await takenIn(receiver, 2_000)
    await kafka.brokers[0]!.kill('SIGSTOP')
    await sleep(frozenMs / 3)
    const meanwhile = await takenIn(receiver, 2_000)
    await sleep((frozenMs * 2) / 3 - 2_000)
    expect(await spent(client)).toBe(0)
    await kafka.brokers[0]!.kill('SIGCONT')
    expect(meanwhile).toBeGreaterThan(usual * 0.7)
    await finish()
  }, 240_000)

  test('a broker that is killed and started again: nothing is lost, and each key keeps its order', async () => {
    const { kafka, receiver, finish } = await stage()
    await until('both get events', () => receiver.distinct > 100)
    for (let times = 0; times < 2; times++) {
      await kafka.brokers[0]!.kill('SIGKILL')
      await sleep(3_000)
      await kafka.brokers[0]!.start()
      await sleep(2_000)
    }
    await finish()
  }, 120_000)

  test('three brokers of which one after the other dies and comes back: leaders move, nothing is lost', async () => {
    const { kafka, receiver, finish } = await stage({ brokers: 3 }, { partitions: 6 })
    await until('both get events', () => receiver.distinct > 100)
    for (const broker of kafka.brokers) {
      await broker.kill('SIGKILL')
      await sleep(3_000)
      await broker.start()
      await sleep(3_000)
    }
    await finish()
  }, 180_000)

  test('a topic that is deleted stops its own events only, and they go when it is there again', async () => {
    const { kafka, client, receiver, writers, relay } = await stage({}, { topics: ['account', 'other'] })
    const emit = async (type: string, n: number): Promise<void> => {
      await client.query('select postrider.emit($1::text::jsonb)', [
        `{"type": "${type}.made", "key": "${type}", "payload": {"key": "${type}", "n": ${n}, "big": ${bigNumber}}}`,
      ])
    }
    for (let n = 1; n <= 5; n++) await emit('other', n)
    await until('they are there', async () => (await readTopic(kafka.bootstrap, 'other')).length === 5)
    await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
    await admin.deleteTopic('other')
    for (let n = 6; n <= 10; n++) await emit('other', n)
    const before = (await readTopic(kafka.bootstrap, 'account')).length
    await until(
      'its events wait',
      async () => (await client.query(`select from postrider.trouble where sink = 'stream'`)).rowCount === 5,
    )
    await sleep(3_000)
    expect((await readTopic(kafka.bootstrap, 'account')).length).toBeGreaterThan(before + 100)
    expect(await spent(client)).toBe(0)
    await admin.createTopic({ name: 'other', partitions: 3 })
    await until('they arrive', async () => (await readTopic(kafka.bootstrap, 'other')).length >= 5, 40_000)
    expect(faultsOf([], await readTopic(kafka.bootstrap, 'other')).outOfOrder).toEqual([])
    await writers.stop()
    await until('the webhook has them too', () => receiver.distinct === writers.committed.length + 10)
    expect(faultsOf(writers.committed, await readTopic(kafka.bootstrap, 'account')).outOfOrder).toEqual([])
    await relay.stop()
  }, 120_000)

  test('a record that is too large for its topic is a dead letter that says so, and all others go', async () => {
    const { kafka, client, receiver, writers } = await stage(
      { properties: { 'message.max.bytes': 60_000 } },
      { sink: { compression: 'none' } },
    )
    await until('both get events', () => receiver.distinct > 20)
    await client.query(
      `select postrider.emit(jsonb_build_object('type', 'account.grown', 'key', 'big', 'payload', jsonb_build_object('key', 'big', 'n', 1, 'big', ${bigNumber}, 'pad', repeat('x', 100000))))`,
    )
    await until(
      'it is dead',
      async () => (await client.query(`select from postrider.dead_letters where sink = 'stream'`)).rowCount === 1,
    )
    const { rows } = await client.query<{ error: string }>('select error from postrider.dead_letters')
    expect(rows[0]?.error).toMatch(/60,?000/)
    await writers.stop()
    await until(
      'all others are there',
      async () => (await readTopic(kafka.bootstrap, 'account')).length === writers.committed.length,
    )
    expect(faultsOf(writers.committed, await readTopic(kafka.bootstrap, 'account'))).toEqual(faultless)
  }, 60_000)

  test.each([
    [true, 'stands there once'],
    [false, 'stands there at least once'],
  ])(
    'exactlyOnce %s: an event of relays that are killed again and again %s',
    async (exactlyOnce) => {
      const set = await stage({}, { sink: { exactlyOnce } })
      await set.relay.stop()
      for (let times = 0; times < 6; times++) {
        // Between what it has sent and its word for it.
        set.relay = await set.start({ dieAt: { channel: 'postrider:settling', nth: 3 + times * 2 } })
        await set.relay.ended
        expect(set.relay.end?.signal).toBe('SIGKILL')
      }
      set.relay = await set.start()
      const { repeated } = await set.finish()
      if (exactlyOnce) expect(repeated).toBe(0)
      else expect(repeated).toBeGreaterThan(0)
    },
    120_000,
  )
})
