import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { delaysOf, figuresOfDelays } from './delays.ts'
import { relayName } from './drain-log.ts'
import { openPacedWriters } from './pace.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const writers = 8
const warmUp = { perSecond: 1_000, seconds: 3 }

export const bench: Bench = {
  name: 'latency',
  about: 'from commit to receipt by signed webhook in another process, at several rates',
  options: {
    rates: { type: 'string', default: '10,200,2000', about: 'events a second, one in each transaction' },
    seconds: { type: 'string', default: '30', quick: '2', about: 'of each measurement' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    concurrency: { type: 'string', default: '64', about: 'requests in flight at once' },
  },
  async run(given, say) {
    const [rates, seconds] = [given.numbers('rates'), given.number('seconds')]
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    const most = given.rounds * rates.reduce((sum, rate) => sum + Math.max(1, rate * seconds), 0) + 4_000
    await using server = await startServer()
    await using carrier = await startCarrier()
    await using receiver = await startReceiver()
    await using database = await server.database()
    await using producers = await openPacedWriters(database.url, { connections: writers, ...log })
    await receiver.forget(Math.ceil(most))
    await carrier.start({
      relay: { name: relayName, ...relayOf(given), connectionString: database.url },
      sinks: [{ to: { webhook: receiver.hook('hook', given.number('concurrency')) }, ...sinkOf(given) }],
      receiptsTo: 0,
    })
    let next = 1
    const measure = async (perSecond: number, forSeconds: number) => {
      const written = await producers.write({ perSecond, seconds: forSeconds, from: next })
      next = written.to
      const delays = await delaysOf(written, (from, to) => receiver.receipts(from, to))
      await carrier.report() // throws when there were faults
      return { ...figuresOfDelays(delays), events: delays.length, 'reached/s': written.perSecond }
    }
    await measure(warmUp.perSecond, given.quick ? 0.5 : warmUp.seconds)
    const results = await takeTurns(rates, given.rounds, say, async (perSecond) => ({
      labels: { 'events/s': perSecond },
      figures: await measure(perSecond, seconds),
    }))
    await carrier.stop()
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { ...log, seconds, writers, ...relayOf(given), ...sinkOf(given), audit: 'all', ordering: 'key' },
      rows: results.rows(),
      notes: ['an event that came before the writer had heard of its commit has a delay below 0; all by one monotonic clock'],
    }
  },
}
