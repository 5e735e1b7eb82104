/**
 * Graduation of a full log: how fast is it brought to a real Kafka while writers go on, and is everything there?
 *
 * The log is filled first. Then writers write as fast as they can on connections of their own, and a relay in a process of its own
 * starts a sink from the beginning. When it has come up with the writers, they stop, and log and topic are compared: counts,
 * checksums, the order of every key.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaAdmin } from '@postrider/kafka'
import { startKafka } from '../kafka/index.ts'
import { startRelay } from '../relay-process.ts'
import { startWriters } from '../writers.ts'
import type { Bench, Row } from './bench.ts'
import { compareTopic } from './compare-topic.ts'
import { rounded } from './rounds.ts'
import { startServer } from './server.ts'

const topic = 'account'
/** How near to the newest event is "come up": what is in flight while writers go on. */
const nearEvents = 2_000

export const bench: Bench = {
  name: 'backfill',
  about: 'a full log brought to a real Kafka from its beginning while writers go on; log and topic are compared at the end',
  options: {
    rounds: { type: 'string', default: '1', quick: '1', about: 'one run; repeat it for more' },
    events: { type: 'string', default: '1000000', quick: '5000', about: 'in the log before' },
    writers: { type: 'string', default: '4', about: 'connections that write meanwhile' },
    keys: { type: 'string', default: '10000', about: 'ordering keys of the old events' },
    partitions: { type: 'string', default: '12', about: 'of the topic' },
    seconds: { type: 'string', default: '240', quick: '20', about: 'the backfill is given up after this time' },
  },
  async run(given, say) {
    const [events, connections, keys] = [given.number('events'), given.number('writers'), given.number('keys')]
    const [partitions, mostSeconds] = [given.number('partitions'), given.number('seconds')]
    const aloneSeconds = given.quick ? 1 : 5
    await using server = await startServer({ checkpoint_timeout: '1min' })
    await using database = await server.database()
    const { client } = database
    await using kafka = await startKafka()
    await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
    await admin.createTopic({ name: topic, partitions })

    const filling = performance.now()
    for (let from = 0; from < events; from += 1_000) {
      await client.query(
        `select count(*) from postrider.emit((
           select jsonb_agg(jsonb_build_object('type', 'account.opened', 'key', 'old-' || n % $3,
             'payload', jsonb_build_object('key', 'old-' || n % $3, 'n', n / $3 + 1, 'note', repeat('x', 200))) order by n)
           from generate_series($1::int, $2::int) as n))`,
        [from, Math.min(events, from + 1_000) - 1, keys],
      )
    }
    say(`filled in ${Math.round((performance.now() - filling) / 1_000)} s`)

    await using writers = await startWriters(database.url, { connections, keys: 1_000, pauseMs: 0, slow: 0 })
    await sleep(600 * aloneSeconds)
    const aloneFrom = writers.committed.length
    await sleep(1_000 * aloneSeconds)
    const alone = (writers.committed.length - aloneFrom) / aloneSeconds

    const began = performance.now()
    const writtenBefore = writers.committed.length
    await using relay = await startRelay(database.url, null, {
      leaseMs: 10_000,
      kafka: [{ lanes: 4, concurrency: 4_000, options: { name: 'stream', brokers: kafka.bootstrap, source: 'bench' } }],
    })
    const inTopic = async (): Promise<number> =>
      Number((await client.query(`select coalesce(sum(cardinality(positions)), 0) as n from postrider.appends`)).rows[0].n)
    const lookMs = given.quick ? 200 : 2_000
    let carried = 0
    for (;;) {
      await sleep(lookMs)
      const before = carried
      carried = await inTopic()
      const at = (performance.now() - began) / 1_000
      say(
        `${at.toFixed(0).padStart(4)} s ${String(carried).padStart(9)} in the topic, ${Math.round((1_000 * (carried - before)) / lookMs)}/s; ${writers.committed.length - writtenBefore} written meanwhile`,
      )
      if (carried >= events + writers.committed.length - nearEvents || at > mostSeconds) break
    }
    const seconds = (performance.now() - began) / 1_000
    const written = writers.committed.length - writtenBefore
    const cpuMs = await relay.cpuMs()
    await writers.stop()
    const until = performance.now() + 60_000
    while ((await client.query('select from postrider.pending limit 1')).rowCount !== 0 && performance.now() < until)
      await sleep(200)
    await relay.stop()
    const { equal, ...parity } = await compareTopic(client, kafka.bootstrap, topic)
    if (!equal) throw new Error(`log and topic are not equal: ${JSON.stringify(parity)}`)
    const row: Row = {
      events,
      'events/s': Math.round(carried / seconds),
      seconds: rounded(seconds),
      'relay µs CPU': rounded((1_000 * cpuMs) / carried),
      'relay % CPU': rounded((100 * cpuMs) / 1_000 / seconds),
      'writers/s alone': Math.round(alone),
      'writers/s beside it': Math.round(written / seconds),
      ...parity,
    }
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { writers: connections, keys, partitions, lanes: 4, concurrency: 4_000, acks: 'all', compression: 'gzip' },
      rows: [row],
      notes: ['log and topic are equal: every event is there, with the same bytes, and those of a key in order'],
    }
  },
}
