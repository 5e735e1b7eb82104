/**
 * Graduation of a full log: how fast is a million events brought to a real Kafka while writers go on, and is everything there?
 *
 *   node --conditions=@postrider/source test/bench/backfill.ts [--events 1000000] [--writers 4] [--keys 10000] [--partitions 12] [--seconds 240]
 *
 * The log is filled first. Then writers write as fast as they can on connections of their own, and a relay in a process of its own starts a
 * sink from the beginning. When it has come up with the writers, they stop, and log and topic are compared: counts, checksums,
 * the order of every key.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openKafkaAdmin } from '@postrider/kafka'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { startKafka } from '../kafka/index.ts'
import { startPostgres } from '../postgres/embedded.ts'
import { startRelay } from '../relay-process.ts'
import { startWriters } from '../writers.ts'
import { compareTopic } from './compare-topic.ts'
import { describeMachine } from './machine.ts'

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    writers: { type: 'string', default: '4' },
    keys: { type: 'string', default: '10000' },
    partitions: { type: 'string', default: '12' },
    /** The backfill is given up after this time. */
    seconds: { type: 'string', default: '240' },
  },
})
const [events, connections, keys, partitions, seconds] = [
  values.events,
  values.writers,
  values.keys,
  values.partitions,
  values.seconds,
].map(Number) as [number, number, number, number, number]

await using server = await startPostgres({
  settings: { fsync: true, full_page_writes: true, shared_buffers: '256MB', max_wal_size: '2GB', checkpoint_timeout: '1min' },
})
const client = new pg.Client(server.url)
client.on('error', () => {})
await client.connect()
await migrate(client)
await using kafka = await startKafka()
await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
await admin.createTopic({ name: 'account', partitions })
const machine = await describeMachine(client)
console.log(
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, load before ${machine.loadBefore}`,
)
console.log(
  `Node ${machine.node}, PostgreSQL ${machine.postgres}, ${JSON.stringify(machine.settings)}, Apache Kafka with one broker, acks=all`,
)
console.log(`${events} events of ${keys} keys, ${connections} writers, ${partitions} partitions\n`)

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
console.log(`filled in ${Math.round((performance.now() - filling) / 1_000)} s`)

await using writers = await startWriters(server.url, { connections, keys: 1_000, pauseMs: 0, slow: 0 })
await sleep(3_000)
const aloneFrom = writers.committed.length
await sleep(5_000)
const alone = (writers.committed.length - aloneFrom) / 5

const began = performance.now()
const writtenBefore = writers.committed.length
await using relay = await startRelay(server.url, null, {
  leaseMs: 10_000,
  kafka: [{ lanes: 4, concurrency: 4_000, options: { name: 'stream', brokers: kafka.bootstrap, source: 'bench' } }],
})
const positionOf = async (): Promise<number> =>
  Number((await client.query(`select coalesce(sum(cardinality(positions)), 0) as n from postrider.appends`)).rows[0].n)
let carried = 0
for (;;) {
  await sleep(2_000)
  const before = carried
  carried = await positionOf()
  const at = (performance.now() - began) / 1_000
  console.log(
    `${at.toFixed(0).padStart(4)} s ${String(carried).padStart(9)} in the topic, ${Math.round((carried - before) / 2)}/s; ${writers.committed.length - writtenBefore} written meanwhile`,
  )
  if (carried >= events + writers.committed.length - 2_000 || at > seconds) break
}
const took = (performance.now() - began) / 1_000
const written = writers.committed.length - writtenBefore
const cpuMs = await relay.cpuMs()
await writers.stop()
const until = performance.now() + 60_000
while ((await client.query('select from postrider.pending limit 1')).rowCount !== 0 && performance.now() < until) await sleep(200)
await relay.stop()
const parity = await compareTopic(client, kafka.bootstrap, 'account')
const result = {
  bench: 'backfill',
  events,
  keys,
  partitions,
  seconds: Number(took.toFixed(1)),
  perSecond: Math.round(carried / took),
  relayCpuMsPerEvent: Number((cpuMs / carried).toFixed(4)),
  relayCores: Number((cpuMs / 1_000 / took).toFixed(2)),
  writersPerSecond: { alone: Math.round(alone), beside: Math.round(written / took) },
  ...parity,
  machine,
}
console.log(
  `\n${result.perSecond} events/s to the topic, ${result.relayCores} cores of the relay (${result.relayCpuMsPerEvent} ms for an event); writers ${result.writersPerSecond.alone}/s alone, ${result.writersPerSecond.beside}/s beside it`,
)
console.log(JSON.stringify(result))
process.exitCode = parity.equal ? 0 : 1
await client.end()
