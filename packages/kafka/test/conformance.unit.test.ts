import { createKafkaSink, openKafkaDriver, type KafkaOptions, type KafkaSink, type StreamRecord } from '@postrider/kafka'
import { seeded, startFakeKafka, type FakeKafka, type Fault } from '@postrider/test/kafka'
import { describe, expect, it } from 'vitest'
import { carry } from './carry.ts'
import { nth } from './event.ts'

const never = new AbortController().signal
const partitions = 4

/** What can go wrong between a producer and a broker, each as often as the others. */
const faults: Fault[] = [
  { do: 'drop-ack' },
  { do: 'write-then-error', error: 'REQUEST_TIMED_OUT' },
  { do: 'write-then-error', error: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND' },
  { do: 'error', error: 'NOT_LEADER_OR_FOLLOWER' },
  { do: 'error', error: 'NOT_ENOUGH_REPLICAS' },
  { do: 'move-leader' },
  { do: 'close' },
  { do: 'delay', ms: 20 },
]

const record = (text: string): StreamRecord => ({
  key: null,
  value: Buffer.from(text),
  headers: [],
  timestampMs: 1_700_000_000_000,
})

/** Events that are stored, by key, in the order of the log. */
function storedOf(kafka: FakeKafka, topic: string): Map<string, number[]> {
  const byKey = new Map<string, number[]>()
  for (let partition = 0; partition < partitions; partition++) {
    for (const { key, value } of kafka.log(topic, partition)) {
      const { n } = JSON.parse(String(value)) as { n: number }
      byKey.set(String(key), [...(byKey.get(String(key)) ?? []), n])
    }
  }
  return byKey
}

function expectInOrder(stored: Map<string, number[]>, events: number): { duplicates: number } {
  let duplicates = 0
  const all = new Set<number>()
  for (const numbers of stored.values()) {
    const first = [...new Set(numbers)]
    expect(first).toEqual(first.toSorted((a, b) => a - b))
    duplicates += numbers.length - first.length
    for (const n of first) all.add(n)
  }
  expect(all.size).toBe(events)
  return { duplicates }
}

describe.each(['kafkajs', 'platformatic'] as const)('with %s', (client) => {
  const sinkAt = async (kafka: FakeKafka, change: Partial<KafkaOptions> = {}): Promise<KafkaSink> =>
    await createKafkaSink({
      name: 'main',
      brokers: kafka.bootstrap,
      client,
      timeouts: { requestMs: 1_000, connectMs: 1_000, deadlineMs: 10_000 },
      ...change,
    })

  it.each([1, 2, 3])(
    'random faults lose nothing, double nothing and keep the order of each key (seed %i)',
    async (seed) => {
      await using kafka = await startFakeKafka({ nodes: 3 })
      kafka.createTopic('order', partitions)
      kafka.faults.addRandom(seed, 0.3, faults)
      await using sink = await sinkAt(kafka, { batch: { records: 7 } })
      const random = seeded(seed + 100)
      const events = Array.from({ length: 600 }, (_, index) => nth(index, { key: `k${Math.floor(random() * 23)}` }))
      const troubles = await carry(sink, events)
      // No fault of a broker is the fault of an event.
      for (const trouble of troubles) expect(trouble.kind === 'behind' || (trouble.kind === 'retry' && trouble.free)).toBe(true)
      expect(expectInOrder(storedOf(kafka, 'order'), 600).duplicates).toBe(0)
    },
    40_000,
  )

  it('brokers that go down one after the other lose nothing', async () => {
    await using kafka = await startFakeKafka({ nodes: 3 })
    kafka.createTopic('order', partitions)
    await using sink = await sinkAt(kafka)
    let done = false
    let carried = 0
    const carrying = (async () => {
      for (; !done; carried += 50)
        await carry(
          sink,
          Array.from({ length: 50 }, (_, i) => nth(carried + i, { key: `k${i % 17}` })),
        )
    })()
    for (const node of [1, 2, 3]) {
      const before = carried
      await kafka.down(node)
      for (let partition = 0; partition < partitions; partition++) kafka.moveLeader('order', partition, (node % 3) + 1)
      await expect.poll(() => carried, { timeout: 10_000 }).toBeGreaterThan(before + 100)
      await kafka.up(node)
    }
    done = true
    await carrying
    expectInOrder(storedOf(kafka, 'order'), carried)
  }, 40_000)

  it('after a lost answer another batch of the same size is stored, not taken for the first', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('t')
    await using driver = await openKafkaDriver({ brokers: kafka.bootstrap, client, timeouts: { requestMs: 300 } })
    const at = { topic: 't', partition: 0 }
    expect(await driver.append({ ...at, records: [record('a')] }, never, 2_000)).toMatchObject({ ok: true, baseOffset: 0n })
    kafka.faults.add({ times: 1_000, fault: { do: 'drop-ack' } })
    const lost = { ...at, records: [record('b')] }
    expect(await driver.append(lost, never, 300)).toMatchObject({ ok: false, written: 'unknown' })
    kafka.faults.clear()
    expect(await driver.append({ ...at, records: [record('c')] }, never, 2_000)).toMatchObject({ ok: true, baseOffset: 2n })
    expect(kafka.log('t', 0).map(({ value }) => String(value))).toEqual(['a', 'b', 'c'])
  })

  it('the same batch after a lost answer is found, not stored again', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('t')
    await using driver = await openKafkaDriver({ brokers: kafka.bootstrap, client, timeouts: { requestMs: 300 } })
    kafka.faults.add({ times: 1_000, fault: { do: 'drop-ack' } })
    const batch = { topic: 't', partition: 0, records: [record('a'), record('b')] }
    expect(await driver.append(batch, never, 300)).toMatchObject({ ok: false, written: 'unknown' })
    kafka.faults.clear()
    expect(await driver.append(batch, never, 2_000)).toEqual({ ok: true, baseOffset: 0n })
    expect(kafka.log('t', 0)).toHaveLength(2)
  })

  it('a broker that has forgotten the producer gets the batch by another one', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('t')
    await using driver = await openKafkaDriver({ brokers: kafka.bootstrap, client })
    const at = { topic: 't', partition: 0 }
    await driver.append({ ...at, records: [record('a')] }, never, 2_000)
    kafka.faults.add({ fault: { do: 'error', error: 'OUT_OF_ORDER_SEQUENCE_NUMBER' } })
    expect(await driver.append({ ...at, records: [record('b')] }, never, 2_000)).toEqual({ ok: true, baseOffset: 1n })
  })

  it('a broker that never answers is given up in time, and what is not known is not called unwritten', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('t')
    await using driver = await openKafkaDriver({ brokers: kafka.bootstrap, client, timeouts: { requestMs: 200 } })
    kafka.faults.add({ times: 1_000, fault: { do: 'hang' } })
    const before = performance.now()
    const result = await driver.append({ topic: 't', partition: 0, records: [record('a')] }, never, 700)
    expect(result).toMatchObject({ ok: false, written: 'unknown' })
    expect(performance.now() - before).toBeLessThan(1_500)
  })

  it('a topic that is deleted stops only itself, with no attempt spent', async () => {
    await using kafka = await startFakeKafka({ nodes: 3 })
    for (const topic of ['order', 'user', 'bill']) kafka.createTopic(topic, partitions)
    await using sink = await sinkAt(kafka)
    const round = (from: number, types: string[]) =>
      Promise.all(
        types.flatMap((type, t) =>
          Array.from({ length: 30 }, (_, i) => sink.deliver(nth(from + 100 * t + i, { type, key: `${type}${i}` }), never)),
        ),
      )
    await round(0, ['order.made', 'user.made', 'bill.made'])
    kafka.deleteTopic('user')
    // A leader that moves makes metadata be asked for again.
    for (let partition = 0; partition < partitions; partition++) kafka.moveLeader('order', partition)
    const gone = round(1_000, ['user.made'])
    const others = await round(2_000, ['order.made', 'bill.made'])
    expect(new Set(others.map(({ kind }) => kind))).toEqual(new Set(['delivered']))
    for (const outcome of await gone) {
      expect(outcome).toMatchObject({ kind: 'retry', scope: 'event', free: true, error: { code: 'topic_unavailable' } })
    }
    kafka.createTopic('user', partitions)
    await carry(
      sink,
      Array.from({ length: 30 }, (_, i) => nth(3_000 + i, { type: 'user.made', key: `u${i}` })),
    )
  }, 30_000)

  it('a record that is too large is found among the others, which all go, and what follows it of its key does not', async () => {
    await using kafka = await startFakeKafka({ maxBatchBytes: 20_000 })
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka, { compression: 'none' })
    const events = Array.from({ length: 20 }, (_, i) =>
      nth(i, { key: `k${i % 5}`, ...(i === 7 ? { payloadText: JSON.stringify({ n: 7, x: 'x'.repeat(30_000) }) } : {}) }),
    )
    const outcomes = await Promise.all(events.map((event) => sink.deliver(event, never)))
    expect(
      outcomes
        .map(({ kind }) => kind)
        .map((kind, i) => (kind === 'delivered' ? null : `${i} ${kind}`))
        .filter(Boolean),
    ).toEqual(['7 reject', '12 behind', '17 behind'])
    expect(outcomes.at(7)).toMatchObject({
      error: { code: 'record_too_large', message: expect.stringMatching(/30\d\d\d bytes/) },
    })
    expect(kafka.log('order', 0)).toHaveLength(17)
  })

  it('no cluster at all is trouble of the destination, found out soon', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka)
    await kafka.down(1)
    const before = performance.now()
    expect(await sink.deliver(nth(1), never)).toMatchObject({
      kind: 'retry',
      scope: 'destination',
      free: true,
      error: { code: 'connect' },
    })
    expect(performance.now() - before).toBeLessThan(3_000)
    await kafka.up(1)
    expect(await sink.deliver(nth(1), never)).toMatchObject({
      kind: 'delivered',
      appended: { topic: 'order', partition: 0, offset: '0' },
    })
  })

  it('what may have been sent before is looked for in the topic, and not sent again', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka, { exactlyOnce: { lookBack: 100 } })
    await Promise.all([1, 2, 3].map((n) => sink.deliver(nth(n), never)))
    await using another = await sinkAt(kafka, { exactlyOnce: true })
    const outcomes = await Promise.all([2, 3, 4].map((n) => another.deliver({ ...nth(n), doubtful: true }, never)))
    expect(outcomes.map((outcome) => (outcome.kind === 'delivered' ? outcome.appended?.offset : outcome))).toEqual([
      '1',
      '2',
      '3',
    ])
    expect(kafka.log('order', 0)).toHaveLength(4)
  })

  it('a batch whose answer and producer are lost is looked for before it is sent again', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka, { exactlyOnce: true })
    await sink.deliver(nth(1), never)
    kafka.faults.add({ fault: { do: 'drop-ack' } })
    kafka.faults.add({ fault: { do: 'error', error: 'OUT_OF_ORDER_SEQUENCE_NUMBER' } })
    expect(await sink.deliver(nth(2), never)).toMatchObject({ kind: 'delivered', appended: { offset: '1' } })
    expect(kafka.log('order', 0)).toHaveLength(2)
  })

  it('a topic that gets more partitions is stopped until that is accepted', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 4)
    const learned: [string, number][] = []
    await using sink = await sinkAt(kafka, {
      partitionCounts: { order: 2 },
      onPartitions: (topic, count) => learned.push([topic, count]),
    })
    expect(await sink.deliver(nth(1), never)).toMatchObject({
      kind: 'retry',
      scope: 'event',
      free: true,
      error: { code: 'repartitioned', message: expect.stringContaining('4 partitions now, and had 2') },
    })
    expect(learned).toEqual([])
    sink.acceptRepartition('order')
    expect(await sink.deliver(nth(1), never)).toMatchObject({ kind: 'delivered' })
    expect(learned).toEqual([['order', 4]])
    expect(sink.partitionCounts()).toEqual(new Map([['order', 4]]))
  })

  it('an event of which no legal topic comes is refused, and holds up no other', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('acme', 1)
    await using sink = await sinkAt(kafka, { topic: '{tenant}' })
    const [none, good] = await Promise.all([
      sink.deliver(nth(1, { key: 'a' }), never),
      sink.deliver(nth(2, { key: 'b', tenant: 'acme' }), never),
    ])
    expect(none).toMatchObject({ kind: 'reject', error: { code: 'cannot_encode' } })
    expect(good).toMatchObject({ kind: 'delivered' })
  })

  it.each(['none', 'gzip', 'zstd'] as const)(
    'what is written with compression %s is read back, every byte',
    async (compression) => {
      await using kafka = await startFakeKafka()
      kafka.createTopic('t')
      await using driver = await openKafkaDriver({ brokers: kafka.bootstrap, client, compression })
      const every = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256))
      const records: StreamRecord[] = [
        {
          key: every,
          value: every,
          headers: [
            ['a', every],
            ['b', Buffer.alloc(0)],
          ],
          timestampMs: 1_700_000_000_123,
        },
        {
          key: null,
          value: null,
          headers: [
            ['a', Buffer.from('1')],
            ['a', Buffer.from('2')],
          ],
          timestampMs: 1_700_000_000_001,
        },
      ]
      expect(await driver.append({ topic: 't', partition: 0, records }, never, 2_000)).toMatchObject({ ok: true })
      const read = []
      for await (const one of driver.read('t', 0, 0n, 2n, never)) read.push(one)
      expect(read).toEqual([
        {
          offset: 0n,
          timestampMs: 1_700_000_000_123,
          key: every,
          value: every,
          headers: new Map([
            ['a', every],
            ['b', Buffer.alloc(0)],
          ]),
        },
        { offset: 1n, timestampMs: 1_700_000_000_001, key: null, value: null, headers: new Map([['a', Buffer.from('2')]]) },
      ])
      expect(await driver.bounds('t', never)).toEqual(new Map([[0, { first: 0n, next: 2n }]]))
    },
  )

  it('a tail that cannot be read is no fault of the event that may stand there', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka, { topic: 'order', exactlyOnce: true })
    await sink.deliver(nth(1, { key: 'k' }), never)
    kafka.faults.add({ when: { api: 'Fetch' }, times: 100, fault: { do: 'error', error: 'CORRUPT_MESSAGE' } })
    expect(await sink.deliver({ ...nth(2, { key: 'k' }), doubtful: true }, never)).toMatchObject({
      kind: 'retry',
      scope: 'event',
      free: true,
    })
    kafka.faults.clear()
  })

  it('an event that is sent once more by an operator is not taken for the one that is there', async () => {
    await using kafka = await startFakeKafka()
    kafka.createTopic('order', 1)
    await using sink = await sinkAt(kafka, { topic: 'order', exactlyOnce: true })
    await sink.deliver(nth(1, { key: 'k' }), never)
    await sink.deliver(nth(2, { key: 'k' }), never)
    kafka.faults.add({ fault: { do: 'close' } })
    kafka.faults.add({ fault: { do: 'error', error: 'OUT_OF_ORDER_SEQUENCE_NUMBER' } })
    const replay = { ...nth(1, { key: 'k' }), replay: { operation: '7', originalId: null } }
    for (let tries = 0; tries < 5; tries++) if ((await sink.deliver(replay, never)).kind === 'delivered') break
    expect(kafka.log('order', 0).length).toBeGreaterThanOrEqual(3)
  })
})
