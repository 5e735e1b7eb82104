/** What kafkajs loses when it is used in the obvious way: the control for the driver, which must lose nothing to the same faults. */
import { Kafka, logLevel, type Message, type Producer } from 'kafkajs'
import { expect, test } from 'vitest'
import { startFakeKafka, type FakeKafka } from './broker.ts'

const retry = { initialRetryTime: 10, maxRetryTime: 30, retries: 2 }

function values(kafka: FakeKafka, topic: string, partition: number): string[] {
  return kafka.log(topic, partition).map(({ value }) => String(value))
}

async function producerOf(kafka: FakeKafka, idempotent = false): Promise<Producer & AsyncDisposable> {
  const client = new Kafka({ brokers: [...kafka.bootstrap], logLevel: logLevel.NOTHING, requestTimeout: 2000, retry })
  const producer = client.producer({ idempotent, retry, allowAutoTopicCreation: false })
  await producer.connect()
  return { ...producer, [Symbol.asyncDispose]: () => producer.disconnect() }
}

const message = (partition: number, value: string): Message => ({ partition, value })

test.each([false, true])(
  'loses an event without an error when a leader moves during a send over several partitions (idempotent: %s)',
  async (idempotent) => {
    await using kafka = await startFakeKafka({ nodes: 3 })
    kafka.createTopic('orders', 2)
    await using producer = await producerOf(kafka, idempotent)
    await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'a0'), message(1, 'a1')] })

    kafka.faults.add({ when: { partition: 0 }, fault: { do: 'move-leader', to: 2 } })
    const answer = await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'b0'), message(1, 'b1')] })

    expect(values(kafka, 'orders', 0)).toEqual(['a0'])
    expect(values(kafka, 'orders', 1)).toEqual(['a1', 'b1'])
    expect(answer.map(({ partition }) => partition)).toEqual([1])
  },
)

test('swallows the batch that follows one whose acknowledgements were lost, when both have equally many records (idempotent)', async () => {
  await using kafka = await startFakeKafka()
  kafka.createTopic('orders')
  await using producer = await producerOf(kafka, true)
  await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'a')] })

  kafka.faults.add({ times: retry.retries + 1, fault: { do: 'drop-ack' } })
  await expect(producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'b')] })).rejects.toThrow('Closed connection')
  kafka.faults.clear()
  const answer = await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'c')] })

  expect(answer).toMatchObject([{ partition: 0, errorCode: 0, baseOffset: '1' }])
  expect(values(kafka, 'orders', 0)).toEqual(['a', 'b'])
})

test('cannot send any more after lost acknowledgements, when the next batch has another number of records (idempotent)', async () => {
  await using kafka = await startFakeKafka()
  kafka.createTopic('orders')
  await using producer = await producerOf(kafka, true)
  kafka.faults.add({ times: retry.retries + 1, fault: { do: 'drop-ack' } })
  await expect(producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'a')] })).rejects.toThrow('Closed connection')
  kafka.faults.clear()

  for (const attempt of ['first', 'second']) {
    const messages = [message(0, `${attempt} 1`), message(0, `${attempt} 2`)]
    await expect(producer.send({ topic: 'orders', acks: -1, messages }), attempt).rejects.toThrow('out of order sequence')
  }
  expect(values(kafka, 'orders', 0)).toEqual(['a'])
})

test('writes an event twice when another partition of the same request fails', async () => {
  await using kafka = await startFakeKafka()
  kafka.createTopic('orders', 2)
  await using producer = await producerOf(kafka)
  kafka.faults.add({ when: { partition: 1 }, fault: { do: 'error', error: 'NOT_LEADER_OR_FOLLOWER' } })
  await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'a0'), message(1, 'a1')] })
  expect(values(kafka, 'orders', 0)).toEqual(['a0', 'a0'])
  expect(values(kafka, 'orders', 1)).toEqual(['a1'])
})

test('can send to no topic any more once a topic that it has used is deleted and a leader moves', async () => {
  await using kafka = await startFakeKafka({ nodes: 2 })
  kafka.createTopic('orders')
  kafka.createTopic('once')
  await using producer = await producerOf(kafka)
  await producer.send({ topic: 'once', acks: -1, messages: [message(0, 'a')] })
  await producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'a')] })

  kafka.deleteTopic('once')
  kafka.moveLeader('orders', 0)
  await expect(producer.send({ topic: 'orders', acks: -1, messages: [message(0, 'b')] })).rejects.toThrow(
    'does not host this topic',
  )

  await using fresh = await producerOf(kafka)
  await fresh.send({ topic: 'orders', acks: -1, messages: [message(0, 'c')] })
  expect(values(kafka, 'orders', 0)).toEqual(['a', 'c'])
})
