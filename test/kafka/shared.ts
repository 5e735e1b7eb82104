import { randomBytes } from 'node:crypto'
import { Kafka, logLevel } from 'kafkajs'
import { inject } from 'vitest'
import type { Offer } from './source.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    kafka: Offer
  }
}

export interface SharedKafka {
  /** `host:port` of each broker: no TLS, no log-in. Topics are not made by themselves. */
  readonly bootstrap: readonly string[]
}

/**
 * The broker that all files `*.kafka.test.ts` share; null, with the reason, where there is none. A suite that needs it says so:
 * `const { kafka, reason } = sharedKafka()` and ``describe.skipIf(kafka === null)(`… (${reason})`, …)``.
 */
export function sharedKafka(): { readonly kafka: SharedKafka | null; readonly reason: string } {
  const { bootstrap, reason } = inject('kafka')
  return { kafka: bootstrap === null ? null : { bootstrap }, reason }
}

/** Whether `startKafka` works here, for suites that break brokers; and what it starts, or why it does not. */
export function ownKafka(): { readonly available: boolean; readonly reason: string } {
  const { canStart, startReason } = inject('kafka')
  return { available: canStart, reason: startReason }
}

export interface TestTopic extends AsyncDisposable {
  readonly name: string
}

export interface TestTopicOptions {
  /** Default 1. */
  readonly partitions?: number
  /** Settings of the topic. */
  readonly settings?: Readonly<Record<string, string>>
}

/** A new topic with a random name; `await using` deletes it at the end. */
export async function testTopic(bootstrap: readonly string[], options: TestTopicOptions = {}): Promise<TestTopic> {
  const name = `test-${randomBytes(6).toString('hex')}`
  const { partitions = 1, settings = {} } = options
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
  await administer(bootstrap, async (admin) => {
    await admin.createTopics({ topics: [{ topic: name, numPartitions: partitions, configEntries }], timeout: 10_000 })
  })
  return {
    name,
    [Symbol.asyncDispose]: () =>
      administer(bootstrap, async (admin) => {
        if ((await admin.listTopics()).includes(name)) await admin.deleteTopics({ topics: [name], timeout: 10_000 })
      }),
  }
}

async function administer(
  bootstrap: readonly string[],
  work: (admin: ReturnType<Kafka['admin']>) => Promise<void>,
): Promise<void> {
  const admin = new Kafka({ brokers: [...bootstrap], clientId: 'postrider/test', logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    await work(admin)
  } finally {
    await admin.disconnect()
  }
}
