import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { delaysOf, partsOf } from './delays.ts'
import { relayName } from './drain-log.ts'
import { openPacedWriters } from './pace.ts'
import { percentilesOf } from './percentiles.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { median, Rounds, rounded } from './rounds.ts'
import { startServer } from './server.ts'
import { watchUsage } from './usage.ts'

const writers = 8
const parts = 10
const ways = ['nothing held', 'snapshot held'] as const

export const bench: Bench = {
  name: 'held',
  about: 'what a snapshot costs that somebody holds open all the time, as a backup does; beside a run without it',
  options: {
    seconds: { type: 'string', default: '300', quick: '3', about: 'of each run' },
    rate: { type: 'string', default: '2000', quick: '300', about: 'events a second' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
  },
  async run(given, say) {
    const [seconds, rate] = [given.number('seconds'), given.number('rate')]
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    await using server = await startServer()
    await using carrier = await startCarrier()
    const results = new Rounds()

    const measure = async (way: (typeof ways)[number], forSeconds: number, isWarmUp: boolean): Promise<void> => {
      await using database = await server.database()
      await using producers = await openPacedWriters(database.url, { connections: writers, ...log })
      await carrier.start({
        relay: { name: relayName, ...relayOf(given), connectionString: database.url },
        sinks: [{ to: { taking: 'mill' }, ...sinkOf(given) }],
        receiptsTo: Math.ceil(rate * (forSeconds + 1)) + 10,
      })
      const receipts = (from: number, to: number): Promise<Float64Array> => carrier.receipts('mill', from, to)
      const first = await producers.write({ perSecond: rate, seconds: Math.min(1, forSeconds), from: 1 })
      await delaysOf(first, receipts)
      const holder = await database.connect()
      if (way === 'snapshot held') {
        await holder.query('begin isolation level repeatable read')
        await holder.query('select count(*) from postrider.events')
      }
      const [written, usage] = await Promise.all([
        producers.write({ perSecond: rate, seconds: forSeconds, from: first.to }),
        watchUsage(server, database, carrier, forSeconds, parts),
      ])
      const delays = await delaysOf(written, receipts)
      if (way === 'snapshot held') await holder.query('commit')
      await carrier.stop()
      if (isWarmUp) return
      for (const [part, some] of partsOf(written, delays, forSeconds, parts).entries()) {
        const { p50, p99 } = percentilesOf(some)
        const labels = { way, '% of the time': `${10 * part}–${10 * (part + 1)}` }
        results.add(labels, { 'p50 ms': p50, 'p99 ms': p99, ...usage[part], 'reached/s': written.perSecond })
      }
    }

    await measure('nothing held', given.quick ? 0.5 : 5, true)
    for (let round = 1; round <= given.rounds; round++) {
      for (const way of round % 2 === 1 ? ways : ways.toReversed()) {
        await measure(way, seconds, false)
        say(`round ${round} of ${given.rounds}: ${way}, ${changeOf(results, way)}`)
      }
    }
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { ...log, rate, seconds, writers, ...relayOf(given), ...sinkOf(given), audit: 'all' },
      rows: results.rows(),
      notes: [
        ...ways.map((way) => `${way}: ${changeOf(results, way)}`),
        'backends are those of the relay alone; the server is all of it, with those of the writers',
      ],
    }
  },
}

/** How the first part of the time and the last compare. */
function changeOf(results: Rounds, way: string): string {
  const of = (figure: string, part: string): number => median(results.values({ way, '% of the time': part }, figure))
  return ['p50 ms', 'p99 ms', 'its backends % CPU']
    .filter((figure) => results.values({ way, '% of the time': '0–10' }, figure).length > 0)
    .map((figure) => {
      const [start, end] = [of(figure, '0–10'), of(figure, '90–100')]
      return `${figure} ${rounded(start)} at the start, ${rounded(end)} at the end (${rounded(end / start)}x)`
    })
    .join(', ')
}
