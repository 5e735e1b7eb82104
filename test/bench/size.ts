import type { Bench } from './bench.ts'
import { startCarrier, type Destination } from './carrier.ts'
import { drainLog } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { openPacedWriters } from './pace.ts'
import { percentilesOf } from './percentiles.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const mostEvents = 100_000
const megabyte = 1_000_000
const emitsPerSecond = 50

export const bench: Bench = {
  name: 'size',
  about: 'how cost grows with the payload: emit, a sink that takes everything, and signed webhooks',
  options: {
    sizes: { type: 'string', default: '300,2048,16384,262144', about: 'bytes of a payload, up to 262144' },
    to: { type: 'string', default: 'taking,webhook', about: 'kinds of sink' },
    megabytes: { type: 'string', default: '128', quick: '1', about: 'of a backlog, of 100,000 events at the most' },
    seconds: { type: 'string', default: '3', quick: '1', about: 'how long single emits are timed' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
  },
  async run(given, say) {
    const [sizes, keys, seconds] = [given.numbers('sizes'), given.number('keys'), given.number('seconds')]
    const kinds = given.words('to', ['taking', 'webhook'])
    const eventsOf = (bytes: number): number =>
      Math.max(1, Math.min(mostEvents, Math.floor((given.number('megabytes') * megabyte) / bytes)))
    await using server = await startServer()
    await using carrier = await startCarrier()
    await using receiver = await startReceiver()
    for (const bytes of sizes) {
      await server.template(`filled_${bytes}`, (url) => fillLog(url, { events: eventsOf(bytes), bytes, keys }))
      say(`${eventsOf(bytes)} events of ${bytes} bytes written`)
    }

    const measure = async (bytes: number, kind: (typeof kinds)[number]) => {
      await using database = await server.database(`filled_${bytes}`)
      const events = eventsOf(bytes)
      const to: Destination =
        kind === 'taking' ? { taking: 'mill' } : { webhook: receiver.hook('hook', Math.min(256, given.number('concurrency'))) }
      const figures = await drainLog(server, database.url, carrier, {
        sinks: [{ to, ...sinkOf(given) }],
        relay: relayOf(given),
        events,
      })
      const { rssBytes } = await carrier.report()
      await using producers = await openPacedWriters(database.url, { connections: 1, bytes, keys })
      const { tookMs } = await producers.write({ perSecond: emitsPerSecond, seconds, from: events + 1 })
      return {
        labels: { bytes, to: kind, events },
        figures: {
          ...figures,
          'MB/s': ((figures['deliveries/s'] ?? 0) * bytes) / megabyte,
          'relay RSS MB': rssBytes / megabyte,
          'emit p50 ms': percentilesOf(tookMs).p50,
        },
      }
    }
    if (!given.quick) for (const kind of kinds) await measure(sizes[0] ?? 300, kind)
    const variants = sizes.flatMap((bytes) => kinds.map((kind) => ({ bytes, kind })))
    const results = await takeTurns(variants, given.rounds, say, ({ bytes, kind }) => measure(bytes, kind))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { keys, ...relayOf(given), ...sinkOf(given), audit: 'all', emitsPerSecond },
      rows: results.rows(),
      notes: [
        'payloads are random text, which hardly compresses',
        'emit is timed alone, with begin and commit; the memory of the relay process is what it had grown to in the run so far',
      ],
    }
  },
}
