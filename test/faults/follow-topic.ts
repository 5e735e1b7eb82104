import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaDriver } from '@postrider/kafka'
import type { Receipt } from './history.ts'
import { digest } from './payload.ts'

const everyMs = 100

/** Writes down what comes to stand in a topic, each partition in its order, until it is disposed of. A cluster that is away is waited for. */
export function followTopic(bootstrap: readonly string[], topic: string, journal: string): AsyncDisposable {
  const stopping = new AbortController()
  const read = new Map<number, bigint>()
  const look = async (): Promise<void> => {
    await using driver = await openKafkaDriver({ brokers: bootstrap, warn: () => {} })
    while (!stopping.signal.aborted) {
      const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(5_000)])
      for (const [partition, { first, next }] of await driver.bounds(topic, signal)) {
        const from = read.get(partition) ?? first
        if (from >= next) continue
        for await (const { offset, headers, value } of driver.read(topic, partition, from, next, signal)) {
          const payload = value?.toString() ?? ''
          const receipt: Receipt = {
            id: headers.get('ce_id')?.toString() ?? '',
            writtenId: (JSON.parse(payload) as { id: string }).id,
            at: Date.now(),
            payload: digest(payload),
            body: digest([...headers].map(([name, text]) => `${name}: ${text.toString()}`).join('\n') + payload),
            harmed: false,
          }
          appendFileSync(journal, `${JSON.stringify(receipt)}\n`)
          read.set(partition, offset + 1n)
        }
      }
      await sleep(everyMs)
    }
  }
  const following = (async () => {
    while (!stopping.signal.aborted) {
      await look().catch(() => undefined)
      await sleep(everyMs)
    }
  })()
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort()
      await following
    },
  }
}
