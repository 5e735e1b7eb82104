import { Producer } from '@platformatic/kafka'
import { CompressionTypes, Kafka, logLevel, type Message } from 'kafkajs'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { crc32c, parseBatch } from './batch.ts'
import { startFakeKafka, type FakeKafka } from './broker.ts'
import { Faults, seeded, type Fault } from './faults.ts'

interface Sender extends AsyncDisposable {
  send(topic: string, partition: number, ...values: string[]): Promise<unknown>
}

const clients: Record<string, (kafka: FakeKafka, idempotent: boolean, gzip?: boolean) => Promise<Sender>> = {
  async kafkajs(kafka, idempotent, gzip = false) {
    const retry = { initialRetryTime: 10, maxRetryTime: 30, retries: 3 }
    const client = new Kafka({ brokers: [...kafka.bootstrap], logLevel: logLevel.NOTHING, requestTimeout: 600, retry })
    const producer = client.producer({ idempotent, retry })
    await producer.connect()
    const messages = (partition: number, values: string[]): Message[] =>
      values.map((value) => ({ partition, key: 'k', value, headers: { h: 'x' }, timestamp: '1700000000000' }))
    const compression = gzip ? CompressionTypes.GZIP : CompressionTypes.None
    return {
      send: (topic, partition, ...values) =>
        producer.send({ topic, acks: -1, compression, messages: messages(partition, values) }),
      [Symbol.asyncDispose]: () => producer.disconnect(),
    }
  },
  async platformatic(kafka, idempotent, gzip = false) {
    const producer = new Producer<string, string, string, string>({
      clientId: 'test',
      bootstrapBrokers: [...kafka.bootstrap],
      idempotent,
      retries: 3,
      retryDelay: 10,
      timeout: 2000,
      serializers: { key: asBuffer, value: asBuffer, headerKey: asBuffer, headerValue: asBuffer },
    })
    return {
      send: (topic, partition, ...values) =>
        producer.send({
          acks: -1,
          compression: gzip ? 'gzip' : 'none',
          messages: values.map((value) => ({
            topic,
            partition,
            key: 'k',
            value,
            headers: new Map([['h', 'x']]),
            timestamp: 1_700_000_000_000n,
          })),
        }),
      [Symbol.asyncDispose]: () => producer.close(true),
    }
  },
}

function asBuffer(value?: string): Buffer | undefined {
  return value === undefined ? undefined : Buffer.from(value)
}

function values(kafka: FakeKafka, topic: string, partition: number): string[] {
  return kafka.log(topic, partition).map(({ value }) => String(value))
}

describe.each(Object.entries(clients))('with %s', (_name, connect) => {
  test.each([
    { idempotent: false, gzip: false },
    { idempotent: true, gzip: true },
  ])('keeps what a producer sends: %o', async ({ idempotent, gzip }) => {
    await using kafka = await startFakeKafka({ nodes: 2 })
    kafka.createTopic('orders', 2)
    await using sender = await connect(kafka, idempotent, gzip)
    await sender.send('orders', 1, 'a', 'b')
    await sender.send('orders', 1, 'c')
    expect(values(kafka, 'orders', 0)).toEqual([])
    expect(values(kafka, 'orders', 1)).toEqual(['a', 'b', 'c'])
    const last = kafka.log('orders', 1).at(-1)!
    expect(last).toMatchObject({ offset: 2n, timestampMs: 1_700_000_000_000, key: Buffer.from('k') })
    expect(last.headers).toEqual([['h', Buffer.from('x')]])
  })

  test('a lost acknowledgement writes twice without idempotence, and once with it', async () => {
    await using kafka = await startFakeKafka()
    for (const idempotent of [false, true]) {
      const topic = `idempotent-${idempotent}`
      kafka.createTopic(topic)
      await using sender = await connect(kafka, idempotent)
      kafka.faults.add({ fault: { do: 'drop-ack' } })
      await sender.send(topic, 0, 'a')
      expect(values(kafka, topic, 0)).toEqual(idempotent ? ['a'] : ['a', 'a'])
    }
  })

  test('a moved leader is found again', async () => {
    await using kafka = await startFakeKafka({ nodes: 3 })
    kafka.createTopic('orders')
    await using sender = await connect(kafka, true)
    await sender.send('orders', 0, 'a')
    kafka.faults.add({ fault: { do: 'move-leader' } })
    await sender.send('orders', 0, 'b')
    expect(values(kafka, 'orders', 0)).toEqual(['a', 'b'])
  })

  test('an error is answered with or without writing, as it was ordered', async () => {
    await using kafka = await startFakeKafka()
    for (const fault of ['error', 'write-then-error'] as const) {
      kafka.createTopic(fault)
      await using sender = await connect(kafka, false)
      kafka.faults.add({ times: 9, fault: { do: fault, error: 'TOPIC_AUTHORIZATION_FAILED' } })
      await expect(sender.send(fault, 0, 'a')).rejects.toThrow(/authorized|Producing/)
      kafka.faults.clear()
    }
    expect(values(kafka, 'error', 0)).toEqual([])
    expect(values(kafka, 'write-then-error', 0)).toContain('a')
  })

  test('a deleted topic and a batch that is too large are refused', async () => {
    await using kafka = await startFakeKafka({ maxBatchBytes: 1000 })
    kafka.createTopic('orders')
    kafka.createTopic('gone')
    await using sender = await connect(kafka, false)
    await expect(sender.send('orders', 0, 'x'.repeat(2000))).rejects.toThrow(/larger|Producing/)
    kafka.faults.add({ fault: { do: 'delete-topic' } })
    await expect(sender.send('gone', 0, 'a')).rejects.toThrow(/not host|Producing/)
    expect(values(kafka, 'orders', 0)).toEqual([])
  })

  test('a node that is down refuses, and serves again when it is up', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('orders')
    await using sender = await connect(kafka, false)
    await sender.send('orders', 0, 'a')
    await kafka.down(1)
    await expect(sender.send('orders', 0, 'b')).rejects.toThrow(/ECONNREFUSED|Producing/)
    await kafka.up(1)
    await sender.send('orders', 0, 'c')
    expect(values(kafka, 'orders', 0)).toEqual(['a', 'c'])
  })
})

test('a late answer comes after its delay; a connection that hangs answers nothing more, and others go on', async () => {
  await using kafka = await startFakeKafka()
  kafka.createTopic('orders')
  await using sender = await clients['kafkajs']!(kafka, false)
  await sender.send('orders', 0, 'a')
  kafka.faults.add({ fault: { do: 'delay', ms: 300 } })
  const began = performance.now()
  await sender.send('orders', 0, 'b')
  expect(performance.now() - began).toBeGreaterThan(290)

  kafka.faults.add({ fault: { do: 'hang' } })
  await expect(sender.send('orders', 0, 'c')).rejects.toThrow('timed out')
  await using other = await clients['kafkajs']!(kafka, false)
  await other.send('orders', 0, 'd')
  expect(values(kafka, 'orders', 0)).toEqual(['a', 'b', 'd'])
})

test('what was produced can be read back by its offset and by its time', async () => {
  await using kafka = await startFakeKafka()
  kafka.createTopic('orders', 2)
  await using sender = await clients['kafkajs']!(kafka, false)
  await sender.send('orders', 1, 'a', 'b')
  const admin = new Kafka({ brokers: [...kafka.bootstrap], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  expect(await admin.fetchTopicOffsets('orders')).toMatchObject([
    { partition: 0, low: '0', high: '0' },
    { partition: 1, low: '0', high: '2' },
  ])
  const byTime = await admin.fetchTopicOffsetsByTimestamp('orders', 1_600_000_000_000)
  expect(byTime.find(({ partition }) => partition === 1)).toMatchObject({ offset: '0' })
  await admin.disconnect()
})

test('the checksum is CRC-32C, and a batch that does not match it is corrupt', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  const batch = Buffer.alloc(61)
  batch.writeInt32BE(49, 8)
  batch.writeInt8(2, 16)
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  expect(parseBatch(batch)).toMatchObject({ count: 0 })
  batch[60] = 1
  expect(parseBatch(batch)).toBeNull()
  expect(parseBatch(gzipSync(batch))).toBeNull()
})

test('faults are drawn alike for equal seeds, and strike only where they are told to', () => {
  const kinds: Fault[] = [{ do: 'close' }, { do: 'drop-ack' }, { do: 'hang' }]
  const draw = (seed: number): (string | undefined)[] => {
    const faults = new Faults()
    faults.addRandom(seed, 0.5, kinds)
    return Array.from({ length: 40 }, () => faults.next({ api: 'Produce', node: 1, topic: 't', partition: 0 })?.do)
  }
  expect(draw(7)).toEqual(draw(7))
  expect(draw(7)).not.toEqual(draw(8))
  expect(new Set(draw(7))).toEqual(new Set([undefined, 'close', 'drop-ack', 'hang']))
  expect(seeded(1)()).not.toBe(seeded(2)())

  const faults = new Faults()
  faults.add({ when: { node: 2, partition: 1 }, times: 2, fault: { do: 'close' } })
  expect(faults.next({ api: 'Produce', node: 1, topic: 't', partition: 1 })).toBeUndefined()
  const struck = Array.from({ length: 3 }, () => faults.next({ api: 'Produce', node: 2, topic: 't', partition: 1 })?.do)
  expect(struck).toEqual(['close', 'close', undefined])
})
