import type pg from 'pg'
import type { Bench } from './bench.ts'
import { makeShop, transact, type Beside } from './business.ts'
import { startCarrier, untilSettled } from './carrier.ts'
import { relayName } from './drain-log.ts'
import { percentilesOf } from './percentiles.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { median, takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const warmUpSeconds = 1

interface Way {
  readonly name: string
  readonly beside: Beside
  readonly relay: boolean
}

const plain = '+ plain insert'
const plainBesideRelay = '+ plain insert into the log, relay at work'
const ways: readonly Way[] = [
  { name: 'business alone', beside: 'nothing', relay: false },
  { name: plain, beside: 'plain insert', relay: false },
  { name: '+ emit, no relay', beside: 'emit', relay: false },
  { name: plainBesideRelay, beside: 'insert into the log', relay: true },
  { name: '+ emit, relay at work', beside: 'emit', relay: true },
]

export const bench: Bench = {
  name: 'producer',
  about: 'a business transaction alone, with a plain insert of the same event, and with emit, while a relay delivers all of it',
  options: {
    writers: { type: 'string', default: '1,4,16,32', quick: '1,4', about: 'connections that write as fast as they can' },
    seconds: { type: 'string', default: '5', quick: '0.5', about: 'of each measurement, after a second that does not count' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    ...relayOptions,
  },
  async run(given, say) {
    const [seconds, bytes] = [given.number('seconds'), given.number('bytes')]
    await using server = await startServer()
    await using carrier = await startCarrier()
    await server.template('shop', (_url, client) => makeShop(client))

    const measure = async (writers: number, way: Way) => {
      await using database = await server.database('shop')
      const clients = await Promise.all(Array.from({ length: writers }, () => database.connect()))
      if (way.relay) {
        await carrier.start({
          relay: { name: relayName, ...relayOf(given), connectionString: database.url },
          sinks: [{ to: { taking: 'mill' }, ...sinkOf(given) }],
          receiptsTo: 0,
        })
        await transact(clients[0]!, 0, bytes, 'emit')
        await untilSettled([carrier], ['mill'], 1)
      }
      const times: number[] = []
      let n = 0
      const begun = performance.now()
      const from = begun + 1_000 * (given.quick ? 0 : warmUpSeconds)
      const until = from + 1_000 * seconds
      const write = async (client: pg.Client): Promise<void> => {
        for (let at = performance.now(); at < until;) {
          await transact(client, ++n, bytes, way.beside)
          const ended = performance.now()
          if (at >= from && ended <= until) times.push(ended - at)
          at = ended
        }
      }
      const cpuBefore = await server.cpuMs()
      await Promise.all(clients.map(write))
      const cpu = await server.cpuMs()
      let behind: number | null = null
      if (way.relay) {
        behind = 1 + n - ((await carrier.report()).settled['mill'] ?? 0)
        await carrier.stop()
      }
      const { p50, p99 } = percentilesOf(times)
      return {
        labels: { writers, transaction: way.name },
        figures: {
          'tx/s': times.length / seconds,
          'p50 ms': p50,
          'p99 ms': p99,
          'server µs CPU': cpu === null || cpuBefore === null ? null : (1_000 * (cpu - cpuBefore)) / n,
          'events behind': behind,
        },
      }
    }
    if (!given.quick) for (const way of ways) await measure(4, way)
    const variants = given.numbers('writers').flatMap((writers) => ways.map((way) => ({ writers, way })))
    const results = await takeTurns(variants, given.rounds, say, ({ writers, way }) => measure(writers, way))
    const rows = results.rows().map((row) => {
      // Round by round, because the machine is not equally fast in all of them.
      const shareOf = (transaction: string): number => {
        const bases = results.values({ writers: row['writers'] ?? 0, transaction }, 'tx/s')
        const rates = results.values({ writers: row['writers'] ?? 0, transaction: row['transaction'] ?? '' }, 'tx/s')
        return Math.round(1_000 * median(rates.map((rate, round) => rate / bases[round]!))) / 10
      }
      const besideRelay = String(row['transaction']).endsWith('relay at work')
      return {
        ...row,
        'share of plain %': shareOf(plain),
        ...(besideRelay && { 'of plain beside the relay %': shareOf(plainBesideRelay) }),
      }
    })
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { seconds, bytes, accounts: 10_000, ...relayOf(given), ...sinkOf(given), audit: 'all', synchronous_commit: 'on' },
      rows,
      notes: [
        'the plain table has the columns and the indexes of the log, without its partitions; nobody carries anything of it',
        'a plain insert into the log tells no relay: one that is at work finds it as it looks',
        'all connections are of one Node process, which is a part of what is measured; CPU of the server is that of one transaction, with what its relay needs',
      ],
    }
  },
}
