import { Producer } from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { sharedKafka, testTopic } from '../index.ts'

const { kafka, reason } = sharedKafka()

describe.skipIf(kafka === null)(`the shared broker (${reason})`, () => {
  const bootstrap = [...(kafka?.bootstrap ?? [])]
  const client = new Kafka({ brokers: bootstrap, logLevel: logLevel.NOTHING })

  test('gives back what was produced, with key, headers and timestamp', async () => {
    await using topic = await testTopic(bootstrap)
    const producer = client.producer()
    await producer.connect()
    const sent = { key: 'k', value: 'v', headers: { 'content-type': 'text/plain' }, timestamp: '1700000000000' }
    await producer.send({ topic: topic.name, acks: -1, messages: [sent] })
    await producer.disconnect()

    const consumer = client.consumer({ groupId: topic.name })
    const received = Promise.withResolvers<unknown>()
    await consumer.connect()
    await consumer.subscribe({ topic: topic.name, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message: { key, value, headers, timestamp } }) => {
        received.resolve({
          key: String(key),
          value: String(value),
          headers: { 'content-type': String(headers?.['content-type']) },
          timestamp,
        })
      },
    })
    expect(await received.promise).toEqual(sent)
    await consumer.disconnect()
  })

  test('takes every compression, and transactions', async () => {
    await using topic = await testTopic(bootstrap)
    const algorithms = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
    for (const compression of algorithms) {
      const producer = new Producer({ clientId: 'test', bootstrapBrokers: bootstrap, compression })
      const value = Buffer.from(compression.repeat(100))
      await producer.send({ acks: -1, messages: [{ topic: topic.name, partition: 0, value }] })
      await producer.close(true)
    }
    const transactional = client.producer({ transactionalId: topic.name, idempotent: true, maxInFlightRequests: 1 })
    await transactional.connect()
    for (const settle of ['abort', 'commit'] as const) {
      const transaction = await transactional.transaction()
      await transaction.send({ topic: topic.name, acks: -1, messages: [{ value: settle }] })
      await transaction[settle]()
    }
    await transactional.disconnect()
    const admin = client.admin()
    await admin.connect()
    // Each transaction leaves a record of its own and a marker.
    expect(await admin.fetchTopicOffsets(topic.name)).toMatchObject([{ high: String(algorithms.length + 4) }])
    await admin.disconnect()
  })

  test('makes no topic by itself', async () => {
    const admin = client.admin()
    await admin.connect()
    await expect(admin.fetchTopicMetadata({ topics: ['never-made'] })).rejects.toThrow('does not host this topic')
    await admin.disconnect()
  })

  test('a topic of a test is gone after it', async () => {
    const admin = client.admin()
    await admin.connect()
    const name = await (async () => {
      await using topic = await testTopic(bootstrap, { partitions: 3 })
      expect((await admin.fetchTopicMetadata({ topics: [topic.name] })).topics.at(0)!.partitions).toHaveLength(3)
      return topic.name
    })()
    expect(await admin.listTopics()).not.toContain(name)
    await admin.disconnect()
  })
})
