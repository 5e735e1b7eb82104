import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { delaysOf } from './delays.ts'
import { drainLog, relayName } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { openPacedWriters } from './pace.ts'
import { percentilesOf } from './percentiles.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const writers = 4

export const bench: Bench = {
  name: 'fanout',
  about: 'one log and several sinks: what a producer pays for each, and how each keeps pace',
  options: {
    sinks: { type: 'string', default: '1,4,16', quick: '1,4', about: 'sinks that follow the log, each taking all of it' },
    events: { type: 'string', default: '20000', quick: '2000', about: 'backlog that is drained first' },
    rate: { type: 'string', default: '500', quick: '100', about: 'events a second while delays are measured' },
    seconds: { type: 'string', default: '10', quick: '1', about: 'how long delays are measured' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
  },
  async run(given, say) {
    const [events, rate, seconds] = [given.number('events'), given.number('rate'), given.number('seconds')]
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    await using server = await startServer()
    await using carrier = await startCarrier()
    await server.template('filled', (url) => fillLog(url, { ...log, events }))

    const drain = async (names: readonly string[]) => {
      await using database = await server.database('filled')
      const sinks = names.map((taking) => ({ to: { taking }, ...sinkOf(given) }))
      return await drainLog(server, database.url, carrier, { sinks, relay: relayOf(given), events })
    }
    /** What a writer and each sink notice at a steady rate. */
    const follow = async (names: readonly string[], forSeconds: number) => {
      await using database = await server.database()
      await using producers = await openPacedWriters(database.url, { connections: writers, ...log })
      await carrier.start({
        relay: { name: relayName, ...relayOf(given), connectionString: database.url },
        sinks: names.map((taking) => ({ to: { taking }, ...sinkOf(given) })),
        receiptsTo: Math.ceil(rate * (forSeconds + 1)) + 10,
      })
      const first = await producers.write({ perSecond: rate, seconds: Math.min(1, forSeconds), from: 1 })
      for (const name of names) await delaysOf(first, (from, to) => carrier.receipts(name, from, to))
      const before = await carrier.report()
      const written = await producers.write({ perSecond: rate, seconds: forSeconds, from: first.to })
      const delays = await Promise.all(
        names.map(async (name) => percentilesOf(await delaysOf(written, (from, to) => carrier.receipts(name, from, to)))),
      )
      const after = await carrier.report()
      await carrier.stop()
      const took = percentilesOf(written.tookMs)
      return {
        'writer p50 ms': took.p50,
        'writer p99 ms': took.p99,
        'slowest sink p50 ms': Math.max(...delays.map(({ p50 }) => p50)),
        'slowest sink p99 ms': Math.max(...delays.map(({ p99 }) => p99)),
        'relay µs CPU at rate': (1_000 * (after.cpuMs - before.cpuMs)) / (written.tookMs.length * names.length),
        'reached/s': written.perSecond,
      }
    }
    const namesOf = (count: number): string[] => Array.from({ length: count }, (_, nr) => `mill-${nr + 1}`)
    if (!given.quick) {
      await drain(namesOf(1))
      await follow(namesOf(1), 2)
    }
    const results = await takeTurns(given.numbers('sinks'), given.rounds, say, async (sinks) => ({
      labels: { sinks },
      figures: { ...(await drain(namesOf(sinks))), ...(await follow(namesOf(sinks), seconds)) },
    }))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { ...log, events, rate, seconds, writers, ...relayOf(given), ...sinkOf(given), audit: 'all' },
      rows: results.rows(),
      notes: [
        'deliveries/s, CPU and WAL are of the drain, for one delivery to one sink; the rest is at the steady rate',
        'all sinks are in one relay process',
      ],
    }
  },
}
