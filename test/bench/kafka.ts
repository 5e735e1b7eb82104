import { encode, openKafkaAdmin, partitionOf, type StreamRecord } from '@postrider/kafka'
import { startKafka } from '../kafka/index.ts'
import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { drainLog } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { madeEvent } from './made-event.ts'
import { produceRaw } from './produce-raw.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { median, takeTurns } from './rounds.ts'
import { startServer } from './server.ts'
import { batchesOf } from './topic-batches.ts'

const warmUp = 30_000
type Way = 'relay' | 'raw kafkajs'
type Compression = 'none' | 'gzip'

export const bench: Bench = {
  name: 'kafka',
  about: 'a backlog appended to a real Kafka with acks=all; beside kafkajs alone with batches of the same size',
  options: {
    events: { type: 'string', default: '200000', quick: '5000', about: 'size of the backlog' },
    compression: { type: 'string', default: 'none,gzip', about: 'of the batches' },
    partitions: { type: 'string', default: '4', about: 'of each topic' },
    client: { type: 'string', default: 'kafkajs', about: 'of the sink: kafkajs or platformatic' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    concurrency: { type: 'string', default: '4000', about: 'records in flight at once' },
  },
  async run(given, say) {
    const [events, bytes, keys] = [given.number('events'), given.number('bytes'), given.number('keys')]
    const partitions = given.number('partitions')
    const client = given.word('client', ['kafkajs', 'platformatic'])
    const compressions = given.words('compression', ['none', 'gzip'])
    await using server = await startServer()
    await using kafka = await startKafka()
    await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
    await using carrier = await startCarrier()
    const records = recordsOf(events, bytes, keys, partitions)
    await server.template('filled', (url) => fillLog(url, { events, bytes, keys }))
    await server.template('filled_warm', (url) => fillLog(url, { events: Math.min(warmUp, events), bytes, keys }))

    /** Records of a batch, as the relay has made them last: what the raw client is given too. */
    const batches = new Map<Compression, number>()
    let topics = 0
    const measure = async (way: Way, compression: Compression, isWarmUp: boolean) => {
      const topic = `bench-${++topics}`
      await admin.createTopic({ name: topic, partitions })
      let figures
      if (way === 'relay') {
        await using database = await server.database(isWarmUp ? 'filled_warm' : 'filled')
        const to = { kafka: { name: 'stream', brokers: kafka.bootstrap, client, source: 'bench', topic, compression } }
        const draining = { sinks: [{ to, ...sinkOf(given) }], relay: relayOf(given) }
        figures = await drainLog(server, database.url, carrier, {
          ...draining,
          events: isWarmUp ? Math.min(warmUp, events) : events,
        })
      } else {
        const batch = batches.get(compression) ?? 500
        figures = await produceRaw({ brokers: kafka.bootstrap, topic, partitions: records, batch, compression })
      }
      const stored = await batchesOf(kafka, topic)
      if (!isWarmUp && stored.records !== events) throw new Error(`${stored.records} records came of ${events} events`)
      const inBatch = stored.records / stored.batches
      if (way === 'relay') batches.set(compression, Math.max(1, Math.round(inBatch)))
      await admin.deleteTopic(topic)
      return {
        labels: { way, compression },
        figures: { ...figures, 'records/batch': inBatch, 'bytes/record': stored.bytes / stored.records },
      }
    }
    const ways: readonly Way[] = ['relay', 'raw kafkajs']
    const variants = compressions.flatMap((compression) => ways.map((way) => ({ way, compression })))
    for (const { way, compression } of variants) await measure(way, compression, true)
    const results = await takeTurns(variants, given.rounds, say, ({ way, compression }) => measure(way, compression, false))
    const rateOf = (way: Way, compression: string | number | undefined): number =>
      median(results.values({ way, compression: String(compression) }, 'deliveries/s'))
    const shareOf = (compression: string | number | undefined): number =>
      Math.round((1_000 * rateOf('relay', compression)) / rateOf('raw kafkajs', compression)) / 10
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: {
        events,
        bytes,
        keys,
        partitions,
        client,
        acks: 'all',
        idempotent: true,
        ...relayOf(given),
        ...sinkOf(given),
        audit: 'all',
      },
      rows: results
        .rows()
        .map((row) => (row['way'] === 'relay' ? { ...row, 'share of raw %': shareOf(row['compression']) } : row)),
      notes: [
        'one broker, without fsync of its own as Kafka is run, its JVM set for quick starts (-Xmx384m, C1 only): the same for both ways',
        'of raw kafkajs, "relay" is the process that produces: no database, and records that were made before',
      ],
    }
  },
}

/** The records that the sink makes of the events, by partition. */
export function recordsOf(events: number, bytes: number, keys: number, partitions: number): StreamRecord[][] {
  const records: StreamRecord[][] = Array.from({ length: partitions }, () => [])
  for (let n = 1; n <= events; n++) {
    const event = madeEvent(n, bytes, keys)
    records[partitionOf(Buffer.from(event.key), partitions)]?.push(encode({ event, number: 1 }, 'cloudevents', 'bench'))
  }
  return records
}
