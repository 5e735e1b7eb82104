import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { relayName } from './drain-log.ts'
import { openPacedWriters } from './pace.ts'
import { delaysOf } from './delays.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'
import { watchUsage } from './usage.ts'

/** Until what the last event has set in motion is done. */
const settleSeconds = 3

interface Statement {
  readonly query: string
  readonly calls: number
}

export const bench: Bench = {
  name: 'idle',
  about: 'what a relay costs that has nothing to do: CPU, and statements by kind',
  options: {
    seconds: { type: 'string', default: '60', quick: '3', about: 'of each measurement' },
    sinks: { type: 'string', default: '1,16', quick: '1', about: 'sinks that wait' },
    ...relayOptions,
  },
  async run(given, say) {
    const seconds = given.number('seconds')
    await using server = await startServer({ shared_preload_libraries: 'pg_stat_statements' })
    await using carrier = await startCarrier()
    const statements = new Map<number, readonly Statement[]>()

    const measure = async (sinks: number) => {
      await using database = await server.database()
      await database.client.query('create extension pg_stat_statements')
      await using producers = await openPacedWriters(database.url, { connections: 1, bytes: 300, keys: 10 })
      const names = Array.from({ length: sinks }, (_, nr) => `mill-${nr + 1}`)
      await carrier.start({
        relay: { name: relayName, ...relayOf(given), connectionString: database.url },
        sinks: names.map((taking) => ({ to: { taking }, ...sinkOf(given) })),
        receiptsTo: 100,
      })
      const written = await producers.write({ perSecond: 10, seconds: 1, from: 1 })
      for (const name of names) await delaysOf(written, (from, to) => carrier.receipts(name, from, to))
      await new Promise((resolve) => setTimeout(resolve, 1_000 * settleSeconds))
      await database.client.query('select pg_stat_statements_reset()')
      const [usage] = await watchUsage(server, database, carrier, seconds, 1)
      const { rows } = await database.client.query<Statement>(
        `select query, calls::int from pg_stat_statements
         where dbid = (select oid from pg_database where datname = current_database()) and toplevel
           and query not like '%pg_stat_%' order by calls desc`,
      )
      statements.set(sinks, rows)
      await carrier.stop()
      return {
        labels: { sinks },
        figures: {
          ...usage,
          'statements/s': rows.reduce((sum, { calls }) => sum + calls, 0) / seconds,
          'most frequent/s': (rows[0]?.calls ?? 0) / seconds,
        },
      }
    }
    const results = await takeTurns(given.numbers('sinks'), given.rounds, say, measure)
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { seconds, ...relayOf(given), ...sinkOf(given), pollMs: 1_000, leaseMs: 10_000 },
      rows: results.rows(),
      notes: [
        ...[...statements].flatMap(([sinks, rows]) =>
          rows.slice(0, 5).map(({ query, calls }) => `${sinks} sinks: ${calls} in ${seconds} s of ${shortly(query)}`),
        ),
        'the CPU of the server also holds its own chores, and that of this benchmark asking',
      ],
    }
  },
}

function shortly(query: string): string {
  const line = query.replaceAll(/\s+/g, ' ').trim()
  return line.length <= 140 ? line : `${line.slice(0, 139)}…`
}
