import { createKafkaSink } from '@postrider/kafka'
import type { Reach } from '@postrider/relay'
import { startFakeKafka } from '@postrider/test/kafka'
import { describe, expect, it } from 'vitest'

async function reach(brokers: readonly string[], client: 'kafkajs' | 'platformatic'): Promise<Reach> {
  const timeouts = { connectMs: 500, deadlineMs: 3_000 }
  await using sink = await createKafkaSink({ name: 'stream', client, brokers, topic: 'orders', source: 'shop', timeouts })
  return await sink.reach!(AbortSignal.timeout(5_000))
}

describe.each(['kafkajs', 'platformatic'] as const)('whether a cluster can be reached, by %s', (client) => {
  it('all brokers are asked where they say that they are: one that is silent there is named', async () => {
    await using kafka = await startFakeKafka({ nodes: 2 })
    kafka.createTopic('orders')
    const [first = ''] = kafka.bootstrap
    expect(await reach([first], client)).toEqual({ reached: true, certificateEnds: null })
    kafka.faults.add({ when: { api: 'ApiVersions', node: 2 }, times: 100, fault: { do: 'close' } })
    expect(await reach([first], client)).toEqual({
      reached: false,
      error: { code: 'connect', message: 'broker 2 does not answer at its advertised address' },
    })
    expect(kafka.log('orders', 0)).toEqual([])
  })

  it('a cluster that is not there is not', async () => {
    const kafka = await startFakeKafka()
    await kafka[Symbol.asyncDispose]()
    expect(await reach(kafka.bootstrap, client)).toMatchObject({ reached: false })
  })
})
