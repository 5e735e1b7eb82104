import { openKafkaDriver } from '@postrider/kafka'
import type { Written } from './history.ts'

/** An event as it stands in a topic. */
export interface Placed extends Written {
  readonly partition: number
  readonly offset: bigint
}

/** Everything that stands in a topic, each partition in its order. */
export async function readTopic(bootstrap: readonly string[], topic: string): Promise<Placed[]> {
  await using driver = await openKafkaDriver({ brokers: bootstrap })
  const signal = AbortSignal.timeout(30_000)
  const placed: Placed[] = []
  for (const [partition, { first, next }] of await driver.bounds(topic, signal)) {
    for await (const { offset, headers, value } of driver.read(topic, partition, first, next, signal)) {
      const { key, n } = JSON.parse(value?.toString() ?? '{}') as { key: string; n: number }
      placed.push({ id: headers.get('ce_id')?.toString() ?? '', key, n, partition, offset })
    }
  }
  return placed
}
