import { inspect } from 'node:util'
import { createKafkaSink, openKafkaDriver, type KafkaOptions } from '@postrider/kafka'
import { isPostriderError } from '@postrider/schema'
import { expect, it } from 'vitest'
import { checkOptions } from '../src/check-options.ts'

const good: KafkaOptions = { name: 'main', brokers: ['127.0.0.1:9092'] }

const problemsOf = (change: object): readonly string[] => {
  try {
    checkOptions({ ...good, ...change })
    return []
  } catch (error) {
    if (!isPostriderError(error) || error.code !== 'invalid_options') throw error
    return error.details.problems ?? []
  }
}

it.each([
  [{ brokers: [] }, 'brokers'],
  [{ brokers: ['kafka'] }, 'brokers[0]'],
  [{ brokers: ['a:0'] }, 'brokers[0]'],
  [{ client: 'rdkafka' }, 'client'],
  [{ clientId: 'a b' }, 'clientId'],
  [{ compression: 'lz4' }, 'compression'],
  [{ idempotent: 1 }, 'idempotent'],
  [{ tls: { cert: 'x' } }, 'tls: cert and key'],
  [{ tls: { ca: 'not a certificate' } }, 'tls.ca'],
  [{ tls: { rejectUnauthorized: false } }, 'tls.rejectUnauthorized: unknown option'],
  [{ sasl: { mechanism: 'gssapi', username: 'a', password: 'b' } }, 'sasl.mechanism'],
  [{ sasl: { mechanism: 'plain', username: '', password: 'b' } }, 'sasl.username'],
  [{ sasl: { mechanism: 'plain', username: 'a', password: '' } }, 'sasl.password'],
  [{ topic: '{nope}' }, 'topic'],
  [{ prefix: 'a b' }, 'prefix'],
  [{ profile: 'avro' }, 'profile'],
  [{ batch: { records: 0 } }, 'batch.records'],
  [{ batch: { bytes: 1 } }, 'batch.bytes'],
  [{ lingerMs: -1 }, 'lingerMs'],
  [{ timeouts: { deadlineMs: 1 } }, 'timeouts.deadlineMs'],
  [{ exactlyOnce: { lookBack: 0 } }, 'exactlyOnce.lookBack'],
  [{ partitionCounts: { order: 0 } }, 'partitionCounts.order'],
  [{ broker: 'x' }, 'broker: unknown option'],
])('%j is refused, and the problem named', (change, expected) => {
  expect(problemsOf(change).join('\n')).toContain(expected)
})

it('all problems are told together', () => {
  expect(problemsOf({ brokers: [], compression: 'lz4', name: '' })).toHaveLength(3)
})

it('a password is in no error and in no inspection', async () => {
  const sasl = { mechanism: 'plain', username: 'u', password: 'hunter2' } as const
  expect(inspect(checkOptions({ ...good, sasl }), { depth: 10, showHidden: true })).not.toContain('hunter2')
  await expect(createKafkaSink({ ...good, brokers: ['u:hunter2@host:9092'], sasl })).rejects.toThrow(
    expect.objectContaining({ code: 'invalid_options', message: expect.not.stringContaining('hunter2') }),
  )
})

it('certificates are checked unless the option with the frightening name says no', () => {
  expect(checkOptions({ ...good, tls: true }).connection.tls).toEqual({})
  expect(problemsOf({ tls: { dangerouslyAcceptAnyCertificate: true } })).toEqual([])
})

it.each(['kafkajs', 'platformatic'] as const)('a driver of %s opens without a cluster, and closes', async (client) => {
  const driver = await openKafkaDriver({ brokers: ['127.0.0.1:1'], client })
  expect(driver.name).toBe(client)
  await driver[Symbol.asyncDispose]()
})
