import { sinkContract, type SinkHarness } from '@postrider/relay/testing'
import { createKafkaSink } from '@postrider/kafka'
import { startFakeKafka, type Fault } from '@postrider/test/kafka'
import { describe, expect, it } from 'vitest'

const failures: Readonly<Record<string, Fault>> = {
  fail: { do: 'error', error: 'NOT_ENOUGH_REPLICAS' },
  refuse: { do: 'error', error: 'INVALID_RECORD' },
  stall: { do: 'hang' },
  break: { do: 'close' },
}

async function kafkaHarness(client: 'kafkajs' | 'platformatic'): Promise<SinkHarness> {
  const kafka = await startFakeKafka()
  kafka.createTopic('test')
  const sink = await createKafkaSink({
    name: 'contract',
    client,
    brokers: kafka.bootstrap,
    timeouts: { requestMs: 300, connectMs: 500, deadlineMs: 1_500 },
  })
  return {
    sink,
    cannot: { throttle: 'a broker delays its answers instead' },
    behave(behaviour) {
      kafka.faults.clear()
      const fault = failures[behaviour]
      if (fault !== undefined) kafka.faults.add({ times: Infinity, fault })
    },
    received: () =>
      kafka.log('test', 0).map(({ value, headers }) => ({
        id: String(headers.find(([name]) => name === 'ce_id')?.[1]),
        payload: String(value),
      })),
    async [Symbol.asyncDispose]() {
      await sink[Symbol.asyncDispose]()
      await kafka[Symbol.asyncDispose]()
    },
  }
}

describe.each(['kafkajs', 'platformatic'] as const)('the Kafka sink with %s keeps the contract of sinks', (client) => {
  it.each(sinkContract(() => kafkaHarness(client)))('$promise', async ({ check }) => {
    await expect(check()).resolves.toBeUndefined()
  })
})
