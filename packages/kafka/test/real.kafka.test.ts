import { randomBytes } from 'node:crypto'
import {
  createKafkaSink,
  openKafkaAdmin,
  openKafkaDriver,
  preflight,
  type KafkaOptions,
  type StreamRecord,
} from '@postrider/kafka'
import { sharedKafka, testTopic } from '@postrider/test/kafka'
import { Kafka, logLevel } from 'kafkajs'
import { describe, expect, it } from 'vitest'
import { nth } from './event.ts'

const { kafka, reason } = sharedKafka()
const never = new AbortController().signal
const clients = ['kafkajs', 'platformatic'] as const

describe.skipIf(kafka === null).each(clients)(`on a real broker (${reason}) with %s`, (client) => {
  const brokers = kafka?.bootstrap ?? []
  const options = (topic: string, change: Partial<KafkaOptions> = {}): KafkaOptions => ({
    name: 'main',
    client,
    brokers,
    topic,
    ...change,
  })
  const record = (value: Buffer): StreamRecord => ({ key: null, value, headers: [], timestampMs: Date.now() })

  it.each(['none', 'gzip', 'zstd'] as const)(
    'events written with %s are read back, in the order of their keys',
    async (compression) => {
      await using topic = await testTopic(brokers, { partitions: 6 })
      await using sink = await createKafkaSink(options(topic.name, { compression }))
      const outcomes = await Promise.all(
        Array.from({ length: 3_000 }, (_, n) => sink.deliver(nth(n, { key: `k${n % 100}` }), never)),
      )
      await using driver = await openKafkaDriver({ client, brokers })
      const bounds = await driver.bounds(topic.name, never)
      const last = new Map<string, number>()
      let count = 0
      for (const [partition, { first, next }] of bounds) {
        for await (const { key, value, offset } of driver.read(topic.name, partition, first, next, never)) {
          const { n } = JSON.parse(String(value)) as { n: number }
          expect(n).toBeGreaterThan(last.get(String(key)) ?? -1)
          expect(outcomes.at(n)).toEqual({
            kind: 'delivered',
            appended: { topic: topic.name, partition, offset: String(offset) },
          })
          last.set(String(key), n)
          count++
        }
      }
      expect(count).toBe(3_000)
    },
  )

  it('a record of 2 MB is refused alone, and taken where the topic allows it', async () => {
    const payloadText = JSON.stringify({ blob: randomBytes(1_500_000).toString('base64') })
    await using narrow = await testTopic(brokers)
    await using sink = await createKafkaSink(options(narrow.name))
    const [large, ...others] = await Promise.all([
      sink.deliver(nth(0, { key: 'large', payloadText }), never),
      ...Array.from({ length: 10 }, (_, n) => sink.deliver(nth(n + 1, { key: `k${n}` }), never)),
    ])
    expect(large).toMatchObject({
      kind: 'reject',
      error: { code: 'record_too_large', message: expect.stringContaining('1048588') },
    })
    expect(new Set(others.map(({ kind }) => kind))).toEqual(new Set(['delivered']))

    await using wide = await testTopic(brokers, { settings: { 'max.message.bytes': '4000000' } })
    await using wideSink = await createKafkaSink(options(wide.name))
    expect(await wideSink.deliver(nth(0, { payloadText }), never)).toMatchObject({ kind: 'delivered' })
    await using driver = await openKafkaDriver({ client, brokers })
    for await (const { value } of driver.read(wide.name, 0, 0n, 1n, never)) expect(String(value) === payloadText).toBe(true)
  })

  it('another client reads the attributes of CloudEvents, and a tombstone as one', async () => {
    await using topic = await testTopic(brokers)
    await using sink = await createKafkaSink(options(topic.name))
    await sink.deliver(nth(1, { subject: 'order/7' }), never)
    await sink.deliver(nth(2, { payloadText: null }), never)
    const consumer = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).consumer({ groupId: topic.name })
    const seen: { value: string | null; id: string }[] = []
    await consumer.connect()
    await consumer.subscribe({ topic: topic.name, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) =>
        void seen.push({ value: message.value?.toString() ?? null, id: String(message.headers?.['ce_id']) }),
    })
    await expect
      .poll(() => seen, { timeout: 15_000 })
      .toEqual([
        { value: '{"n": 1}', id: nth(1).event.id },
        { value: null, id: nth(2).event.id },
      ])
    await using admin = await openKafkaAdmin({ client, brokers })
    expect(await admin.groupState(topic.name)).toEqual({ state: 'active', members: 1 })
    const offsets = [{ topic: topic.name, partition: 0, offset: 1n }]
    await expect(admin.setGroupOffsets(topic.name, offsets)).rejects.toThrow(expect.objectContaining({ code: 'group_not_empty' }))
    await consumer.disconnect()
    expect(await admin.groupState(topic.name)).toEqual({ state: 'empty', members: 0 })
    await admin.setGroupOffsets(topic.name, offsets)
    expect(await admin.groupOffsets(topic.name, topic.name)).toEqual(new Map([[0, 1n]]))
    await admin.deleteGroup(topic.name)
    expect(await admin.groupState(topic.name)).toEqual({ state: 'absent', members: 0 })
    await admin.deleteGroup(topic.name)
  })

  it('a topic is made, described, and is there the second time', async () => {
    await using admin = await openKafkaAdmin({ client, brokers })
    const name = `made-${randomBytes(6).toString('hex')}`
    expect(await admin.describeTopic(name)).toBeNull()
    const wanted = { name, partitions: 3, configs: { 'retention.ms': '60000', 'cleanup.policy': 'compact' } }
    expect(await admin.createTopic(wanted)).toBe('created')
    expect(await admin.createTopic(wanted)).toBe('exists')
    const described = await admin.describeTopic(name)
    expect(described).toMatchObject({ name, replication: 1 })
    expect(described?.partitions.map(({ partition }) => partition)).toEqual([0, 1, 2])
    for (const config of ['min.insync.replicas', 'max.message.bytes', 'message.timestamp.type'])
      expect(described?.configs.get(config)).toBeTruthy()
    expect(described?.configs.get('retention.ms')).toBe('60000')
    await expect(admin.createTopic({ name: `${name}-x`, partitions: 1, replication: 9 })).rejects.toThrow(
      'INVALID_REPLICATION_FACTOR',
    )
    await admin.deleteTopic(name)
  })

  it('the checks before the first event name what is wrong, and what to do', async () => {
    await using topic = await testTopic(brokers, { settings: { 'cleanup.policy': 'compact,delete', 'retention.ms': '60000' } })
    const checks = await preflight(
      { client, brokers },
      {
        topics: [topic.name, 'no-such-topic'],
        largestBytes: 3_000_000,
        oldestMs: Date.now() - 3_600_000,
        nullKeys: true,
        partitionCounts: new Map([[topic.name, 2]]),
        canary: topic.name,
      },
    )
    const failed = checks.filter(({ level }) => level === 'fail')
    expect(failed.map(({ check }) => check).toSorted()).toEqual([
      'cleanup.policy',
      'max.message.bytes',
      'partitions',
      'retention.ms',
      'topic',
    ])
    for (const { next } of failed) expect(next).toBeTruthy()
    expect(checks.find(({ check }) => check === 'canary')).toMatchObject({
      level: 'ok',
      detail: expect.stringContaining('read back'),
    })
    expect(checks.find(({ check }) => check === 'versions')?.level).toBe('ok')
  })

  it('what another relay may have sent is found at the end of its partition', async () => {
    await using topic = await testTopic(brokers, { partitions: 3 })
    await using dead = await createKafkaSink(options(topic.name))
    const sent = await Promise.all(Array.from({ length: 50 }, (_, n) => dead.deliver(nth(n, { key: `k${n}` }), never)))
    await using heir = await createKafkaSink(options(topic.name, { exactlyOnce: true }))
    const again = await Promise.all(
      Array.from({ length: 60 }, (_, n) => heir.deliver({ ...nth(n, { key: `k${n}` }), number: 2, doubtful: true }, never)),
    )
    expect(again.slice(0, 50)).toEqual(sent)
    await using driver = await openKafkaDriver({ client, brokers })
    const all = [...(await driver.bounds(topic.name, never)).values()].reduce((sum, { first, next }) => sum + next - first, 0n)
    expect(all).toBe(60n)
  })

  it('a topic that is deleted and made anew is written again', async () => {
    await using topic = await testTopic(brokers)
    await using driver = await openKafkaDriver({ client, brokers })
    await using admin = await openKafkaAdmin({ client, brokers })
    const at = { topic: topic.name, partition: 0 }
    expect(await driver.append({ ...at, records: [record(Buffer.from('a'))] }, never, 5_000)).toMatchObject({ ok: true })
    await admin.deleteTopic(topic.name)
    await expect.poll(() => admin.describeTopic(topic.name)).toBeNull()
    expect(await driver.append({ ...at, records: [record(Buffer.from('b'))] }, never, 5_000)).toMatchObject({
      ok: false,
      written: 'no',
      scope: 'topic',
      code: 'UNKNOWN_TOPIC_OR_PARTITION',
    })
    await admin.createTopic({ name: topic.name, partitions: 1 })
    expect(await driver.append({ ...at, records: [record(Buffer.from('c'))] }, never, 10_000)).toEqual({
      ok: true,
      baseOffset: 0n,
    })
  })
})
