import { openKafkaAdmin } from '@postrider/kafka'
import { startKafka } from '../kafka/index.ts'
import type { Bench } from './bench.ts'
import { startCarrier, untilSettled, type Carrier, type Destination } from './carrier.ts'
import { paceOf, relayName } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { until } from '../until.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const warmUp = 30_000
const ways = ['taking', 'webhook', 'kafka'] as const

export const bench: Bench = {
  name: 'relays',
  about: 'a backlog carried by several relay processes that share its lanes',
  options: {
    relays: { type: 'string', default: '1,2,4', quick: '1,2', about: 'processes' },
    to: {
      type: 'string',
      default: 'taking',
      about: 'taking: a sink that takes everything at once; webhook: signed POSTs; kafka: a topic of a real broker',
    },
    events: { type: 'string', default: '200000', quick: '5000', about: 'size of the backlog, which comes by one commit' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    lanes: { type: 'string', default: '8', about: 'ordered shares of the stream' },
  },
  async run(given, say) {
    const [events, counts, lanes] = [given.number('events'), given.numbers('relays'), given.number('lanes')]
    const to = given.word('to', ways)
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    await using server = await startServer()
    await using stack = new AsyncDisposableStack()
    const receiver = stack.use(await startReceiver())
    const kafka = to === 'kafka' ? stack.use(await startKafka()) : null
    const admin = kafka === null ? null : stack.use(await openKafkaAdmin({ brokers: kafka.bootstrap }))
    let topics = 0
    const destination = async (): Promise<Destination> => {
      if (to === 'webhook') return { webhook: receiver.hook('mill', given.number('concurrency')) }
      if (kafka === null || admin === null) return { taking: 'mill' }
      const topic = `bench-${++topics}`
      await admin.createTopic({ name: topic, partitions: 4 })
      return { kafka: { name: 'mill', brokers: kafka.bootstrap, source: 'bench', topic } }
    }
    const all: Carrier[] = []
    for (let nr = 0; nr < Math.max(...counts); nr++) all.push(stack.use(await startCarrier()))

    const measure = async (count: number, ofEvents: number) => {
      await using database = await server.database()
      const carriers = all.slice(0, count)
      const sinks = [{ to: await destination(), ...sinkOf(given) }]
      await Promise.all(
        carriers.map((carrier, nr) =>
          carrier.start({
            relay: { ...relayOf(given), name: `${relayName} ${nr + 1}`, leaseMs: 3_000, connectionString: database.url },
            sinks,
            receiptsTo: 0,
          }),
        ),
      )
      await until(
        'the relays share the lanes evenly',
        async () => {
          const { rows } = await database.client.query<{ lanes: number }>(
            `select count(*)::int as lanes from postrider.lanes where relay is not null group by relay`,
          )
          const held = rows.map((row) => row.lanes)
          return (
            held.length === count &&
            held.reduce((sum, one) => sum + one, 0) === lanes &&
            Math.min(...held) >= Math.floor(lanes / count)
          )
        },
        60_000,
      )
      await fillLog(database.url, { ...log, events: ofEvents, atOnce: true })
      const reports = await untilSettled(carriers, ['mill'], ofEvents)
      await Promise.all(carriers.map((carrier) => carrier.stop()))
      const shares = reports.map(({ settled }) => (settled['mill'] ?? 0) / ofEvents)
      return {
        labels: { relays: count },
        figures: { ...paceOf(reports, ofEvents), 'smallest share %': 100 * Math.min(...shares) },
      }
    }
    if (!given.quick) await measure(all.length, warmUp)
    const results = await takeTurns(counts, given.rounds, say, (count) => measure(count, events))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { to, ...log, events, ...relayOf(given), ...sinkOf(given), audit: 'all', leaseMs: 3_000 },
      rows: results.rows(),
      notes: [
        'the relays run and have shared the lanes before the backlog appears',
        'the server needs cores too: on two, more relays than one can only show that they do not hinder one another',
      ],
    }
  },
}
