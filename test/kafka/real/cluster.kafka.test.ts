import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, Kafka as Client, logLevel, ResourcePatternTypes } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { ownKafka, startKafka, type Kafka, type KafkaUser } from '../index.ts'
import { askBrokers } from './probe.ts'
import { until } from '../../until.ts'

const { available, reason } = ownKafka()
const quick = { retries: 1, initialRetryTime: 50, maxRetryTime: 100 }

function clientOf(
  kafka: Kafka,
  user = kafka.admin,
  mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512' = 'plain',
  retry = {},
): Client {
  return new Client({
    brokers: [...kafka.bootstrap],
    logLevel: logLevel.NOTHING,
    requestTimeout: 3000,
    retry,
    ...(kafka.ca !== undefined && { ssl: { ca: [kafka.ca] } }),
    ...(user !== undefined && { sasl: { ...user, mechanism: mechanism as 'plain' } }),
  })
}

async function createTopic(client: Client, topic: string, numPartitions = 1): Promise<void> {
  const admin = client.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions }], timeout: 15_000 })
  await admin.disconnect()
}

async function send(client: Client, topic: string, ...values: string[]): Promise<void> {
  const producer = client.producer()
  try {
    await producer.connect()
    await producer.send({ topic, acks: -1, messages: values.map((value) => ({ value, partition: 0 })) })
  } finally {
    await producer.disconnect()
  }
}

async function read(client: Client, topic: string, count: number): Promise<string[]> {
  const consumer = client.consumer({ groupId: `${topic}-${Date.now()}` })
  const values: string[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => void values.push(String(message.value)) })
  await until('all records', () => values.length >= count, 30_000)
  await consumer.disconnect()
  return values
}

async function leaderOf(client: Client, topic: string): Promise<number> {
  const admin = client.admin()
  await admin.connect()
  try {
    return (await admin.fetchTopicMetadata({ topics: [topic] })).topics.at(0)!.partitions.at(0)!.leader
  } finally {
    await admin.disconnect()
  }
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe.skipIf(!available)(`a Kafka of one's own (${reason})`, { timeout: 90_000 }, () => {
  test('one broker keeps its data and its port over a stop and over kill -9', async () => {
    await using kafka = await startKafka()
    const client = clientOf(kafka)
    const [broker] = [kafka.brokers.at(0)!]
    await createTopic(client, 'orders')
    await send(client, 'orders', 'a')
    await broker.stop()
    expect(() => broker.pid).toThrow('does not run')
    await broker.start()
    await send(client, 'orders', 'b')
    await broker.kill('SIGKILL')
    await broker.start()
    await send(client, 'orders', 'c')
    expect(await read(client, 'orders', 3)).toEqual(['a', 'b', 'c'])
  })

  test('a paused broker answers nothing, and goes on when it may', async () => {
    await using kafka = await startKafka()
    const broker = kafka.brokers.at(0)!
    expect(await askBrokers(broker.port, 5000)).toEqual([1])
    await broker.kill('SIGSTOP')
    await expect(askBrokers(broker.port, 500)).rejects.toThrow('no answer within 500 ms')
    await broker.kill('SIGCONT')
    const client = clientOf(kafka)
    await createTopic(client, 'orders')
    await send(client, 'orders', 'a')
    expect(await read(client, 'orders', 1)).toEqual(['a'])
  })

  test('with three brokers another leads when the leader is killed, and nothing acknowledged is lost', async () => {
    await using kafka = await startKafka({ brokers: 3 })
    const client = clientOf(kafka)
    await createTopic(client, 'orders')
    await send(client, 'orders', 'a')
    const leader = await leaderOf(client, 'orders')
    await kafka.brokers.at(leader - 1)!.kill('SIGKILL')
    await until('another leader', async () => ![leader, -1].includes(await leaderOf(client, 'orders')), 30_000)
    await send(client, 'orders', 'b')
    await kafka.brokers.at(leader - 1)!.start()
    expect(await read(client, 'orders', 2)).toEqual(['a', 'b'])
  })

  test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'TLS, %s and ACLs: each is refused without, and works with what it asks for',
    async (sasl) => {
      await using kafka = await startKafka({ sasl, tls: true, authorizer: true, users: { bob: 'builder' } })
      const bob: KafkaUser = { username: 'bob', password: 'builder' }
      const admin = clientOf(kafka, kafka.admin, sasl)
      await createTopic(admin, 'orders')
      await send(admin, 'orders', 'a')

      await expect(send(clientOf({ ...kafka, ca: undefined }, kafka.admin, sasl, quick), 'orders', 'no TLS')).rejects.toThrow(
        /[Cc]losed|timeout|disconnected|Connection/,
      )
      await expect(send(clientOf(kafka, { ...bob, password: 'wrong' }, sasl, quick), 'orders', 'no log-in')).rejects.toThrow(
        /[Aa]uthentication/,
      )
      await expect(send(clientOf(kafka, bob, sasl, quick), 'orders', 'no ACL')).rejects.toThrow(/[Aa]uthoriz/)

      const administration = admin.admin()
      await administration.connect()
      const acl = { principal: 'User:bob', host: '*', permissionType: AclPermissionTypes.ALLOW }
      const resource = {
        resourceType: AclResourceTypes.TOPIC,
        resourceName: 'orders',
        resourcePatternType: ResourcePatternTypes.LITERAL,
      }
      await administration.createAcls({ acl: [{ ...resource, ...acl, operation: AclOperationTypes.WRITE }] })
      await administration.disconnect()
      await until('an ACL that holds', () =>
        send(clientOf(kafka, bob, sasl, quick), 'orders', 'b').then(
          () => true,
          () => false,
        ),
      )
      expect(await read(admin, 'orders', 2)).toEqual(['a', 'b'])
    },
  )

  test('a broker that cannot start says why', async () => {
    await expect(startKafka({ properties: { 'num.io.threads': 'none' } })).rejects.toThrow('num.io.threads')
  })

  test('no broker and no file outlives a process that is killed', async () => {
    const program = `
      import { startKafka } from ${JSON.stringify(join(import.meta.dirname, 'start.ts'))}
      const { brokers: [broker] } = await startKafka()
      console.log(JSON.stringify({ pid: broker.pid, output: broker.output }))
      setTimeout(() => {}, 60_000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
    const { pid, output } = JSON.parse(line) as { pid: number; output: string }
    expect(runs(pid)).toBe(true)
    child.kill('SIGKILL')
    await until('the end of the broker', () => !runs(pid) && !existsSync(dirname(dirname(output))))
    expect(existsSync(output)).toBe(false)
  })
})
