import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createKafkaSink, openKafkaAdmin, openKafkaDriver, type KafkaConnectionOptions } from '@postrider/kafka'
import { ownKafka, startKafka } from '@postrider/test/kafka'
import { describe, expect, it } from 'vitest'
import { carry } from './carry.ts'
import { nth } from './event.ts'

const { available, reason } = ownKafka()
const never = new AbortController().signal
const clients = ['kafkajs', 'platformatic'] as const

describe.skipIf(!available)(`on a cluster of its own (${reason})`, () => {
  it('leaders that are killed and started again lose nothing and keep the order of each key', async () => {
    await using kafka = await startKafka({ brokers: 3 })
    await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
    await admin.createTopic({ name: 'idle', partitions: 6, replication: 3 })
    for (const client of clients) {
      await admin.createTopic({ name: client, partitions: 4, replication: 3 })
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ['--conditions=@postrider/source', join(import.meta.dirname, 'idle-child.ts'), client, ...kafka.bootstrap],
        { timeout: 30_000 },
      )
      const { msPerSecond, warnings } = JSON.parse(stdout) as { msPerSecond: number; warnings: string[] }
      console.log(`${client}, idle, 3 brokers: ${msPerSecond.toFixed(2)} ms of CPU a second`)
      expect(msPerSecond).toBeLessThan(10)
      expect(warnings).toEqual([])
    }
    await Promise.all(
      clients.map(async (client, index) => {
        await using sink = await createKafkaSink({
          name: 'main',
          client,
          brokers: kafka.bootstrap,
          topic: client,
          timeouts: { requestMs: 3_000 },
        })
        let done = false
        let carried = 0
        const carrying = (async () => {
          for (; !done; carried += 50)
            await carry(
              sink,
              Array.from({ length: 50 }, (_, i) => nth(carried + i, { key: `k${i % 17}` })),
              60_000,
            )
        })()
        if (index === 0) {
          for (const broker of kafka.brokers.slice(1)) {
            const before = carried
            await broker.kill('SIGKILL')
            await expect.poll(() => carried, { timeout: 40_000 }).toBeGreaterThan(before + 100)
            await broker.start()
          }
        } else await expect.poll(() => carried, { timeout: 60_000 }).toBeGreaterThan(1_000)
        done = true
        await carrying
        await using driver = await openKafkaDriver({ client, brokers: kafka.bootstrap })
        const last = new Map<string, number>()
        const seen = new Set<number>()
        for (const [partition, { first, next }] of await driver.bounds(client, never)) {
          // Else the broker itself has deleted something.
          expect(first).toBe(0n)
          for await (const { key, value } of driver.read(client, partition, first, next, never)) {
            const { n } = JSON.parse(String(value)) as { n: number }
            if (!seen.has(n)) expect(n).toBeGreaterThan(last.get(String(key)) ?? -1)
            last.set(String(key), Math.max(n, last.get(String(key)) ?? -1))
            seen.add(n)
          }
        }
        const missing = Array.from({ length: carried }, (_, n) => n).filter((n) => !seen.has(n))
        expect({ client, missing: missing.length, from: missing.at(0), to: missing.at(-1) }).toEqual({ client, missing: 0 })
      }),
    )
  }, 200_000)

  it('a client comes in by TLS and SCRAM, and is refused with a wrong password or an unknown authority', async () => {
    await using kafka = await startKafka({ sasl: 'scram-sha-512', tls: true })
    const { username, password } = kafka.admin!
    for (const client of clients) {
      const good: KafkaConnectionOptions = {
        client,
        brokers: kafka.bootstrap,
        tls: { ca: kafka.ca! },
        sasl: { mechanism: 'scram-sha-512', username, password: () => password },
      }
      await using admin = await openKafkaAdmin(good)
      await admin.createTopic({ name: client, partitions: 1 })
      await using sink = await createKafkaSink({ ...good, name: 'main', topic: client })
      expect(await sink.deliver(nth(1), never)).toMatchObject({ kind: 'delivered' })

      const sasl = { mechanism: 'scram-sha-512', username, password: 'wrong-hunter2' } as const
      await using stranger = await createKafkaSink({ ...good, name: 'main', topic: client, sasl })
      const refused = await stranger.deliver(nth(1), never)
      expect(refused).toMatchObject({ kind: 'retry', scope: 'destination', free: true, error: { code: 'authentication' } })
      expect(JSON.stringify(refused)).not.toContain('hunter2')

      await using trusting = await createKafkaSink({ ...good, name: 'main', topic: client, tls: true })
      expect(await trusting.deliver(nth(1), never)).toMatchObject({ kind: 'retry', scope: 'destination', error: { code: 'tls' } })
    }
  }, 90_000)

  it('a topic that may not be written stops only itself', async () => {
    await using kafka = await startKafka({ sasl: 'plain', authorizer: true, users: { app: 'secret' } })
    const brokers = kafka.bootstrap
    const admin = await openKafkaAdmin({ brokers, sasl: { mechanism: 'plain', ...kafka.admin! } })
    await admin.createTopic({ name: 'order', partitions: 1 })
    for (const client of clients) {
      await using sink = await createKafkaSink({
        name: 'main',
        client,
        brokers,
        sasl: { mechanism: 'plain', username: 'app', password: 'secret' },
      })
      expect(await sink.deliver(nth(1), never)).toMatchObject({
        kind: 'retry',
        scope: 'event',
        free: true,
        error: { code: 'topic_unavailable' },
      })
    }
    await admin[Symbol.asyncDispose]()
  }, 60_000)
})
