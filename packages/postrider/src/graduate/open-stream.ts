import type { Driver, KafkaAdmin } from '@postrider/kafka'
import type { KafkaTarget } from '../kafka/target.ts'
import type { Offsets, Stream } from './stream.ts'

/** One question to the cluster, all of its retries included. */
const questionMs = 30_000
/** Of one partition: then it is told that it took too long, instead of for ever. */
const readMs = 1_800_000

/** The cluster of a sink, as graduation sees it. It connects when it is first used; dispose of it. */
export async function openStream({
  connection,
  driver: options,
  profile,
}: Pick<KafkaTarget, 'connection' | 'driver' | 'profile'>): Promise<Stream & AsyncDisposable> {
  const { openKafkaAdmin, openKafkaDriver, idHeader } = await import('@postrider/kafka')
  await using opened = new AsyncDisposableStack()
  const admin: KafkaAdmin = opened.use(await openKafkaAdmin(connection))
  const driver: Driver = opened.use(await openKafkaDriver(options))
  const owned = opened.move()
  const header = idHeader(profile)
  const soon = (): AbortSignal => AbortSignal.timeout(questionMs)
  return {
    async bounds(topic) {
      return (await driver.partitions(topic, soon())) === null ? null : await driver.bounds(topic, soon())
    },
    async group(name) {
      const { state, members } = await admin.groupState(name, soon())
      if (state === 'absent') return null
      return { idle: state === 'empty', state: state === 'empty' ? 'Empty' : `active, with ${members} members` }
    },
    async committed(group, topics) {
      const offsets: Record<string, Record<string, string>> = {}
      for (const topic of topics) {
        if ((await driver.partitions(topic, soon())) === null) continue
        const found = await admin.groupOffsets(group, topic, soon())
        offsets[topic] = Object.fromEntries([...found].map(([partition, offset]) => [partition, String(offset)]))
      }
      return offsets
    },
    async commit(group, offsets) {
      await admin.setGroupOffsets(group, listed(offsets), soon())
    },
    async *read(topic, partition, from, until) {
      for await (const { offset, key, value, headers } of driver.read(
        topic,
        partition,
        from,
        until,
        AbortSignal.timeout(readMs),
      )) {
        const id = headers.get(header)?.toString() ?? null
        yield { offset, id, key: key?.toString() ?? null, value, replay: headers.has('postrider-replay') }
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

function listed(offsets: Offsets): { topic: string; partition: number; offset: bigint }[] {
  return Object.entries(offsets).flatMap(([topic, partitions]) =>
    Object.entries(partitions).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: BigInt(offset) })),
  )
}
