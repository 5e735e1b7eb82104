import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Bench, Row } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { delaysOf, partsOf } from './delays.ts'
import { relayName } from './drain-log.ts'
import { openPacedWriters } from './pace.ts'
import { percentilesOf } from './percentiles.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { rounded } from './rounds.ts'
import { startServer } from './server.ts'
import { watchUsage } from './usage.ts'

const writers = 8
const parts = 10
const slots = 4
/** How often the ring goes round in a run. */
const turns = 6
/** As the ring allows. */
const leastWidthSeconds = 10
const megabyte = 1_000_000

interface Sample {
  readonly logMb: number
  readonly attemptsMb: number
  readonly otherMb: number
  readonly rssMb: number
  readonly heapMb: number
}

export const bench: Bench = {
  name: 'soak',
  about: 'a steady load for long, with retention at work: sizes of tables, memory of the relay, delays at start and end',
  options: {
    rounds: { type: 'string', default: '1', quick: '1', about: 'one long run is compared with itself' },
    minutes: { type: 'string', default: '30', quick: '0.1', about: 'how long' },
    rate: { type: 'string', default: '2000', quick: '200', about: 'events a second, by signed webhook' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    concurrency: { type: 'string', default: '64', about: 'requests in flight at once' },
  },
  async run(given, say) {
    const [rate, seconds] = [given.number('rate'), 60 * given.number('minutes')]
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    const widthSeconds = Math.max(leastWidthSeconds, Math.round(seconds / (turns * slots)))
    await using server = await startServer()
    await using carrier = await startCarrier()
    await using receiver = await startReceiver()
    await using database = await server.database()
    await database.client.query('call postrider.set_segments($1, $2, $3)', [
      slots,
      `${widthSeconds} seconds`,
      `${widthSeconds} seconds`,
    ])
    await using producers = await openPacedWriters(database.url, { connections: writers, ...log })
    await receiver.forget(Math.ceil(rate * (seconds + 10)) + 10)
    await carrier.start({
      relay: { name: relayName, ...relayOf(given), connectionString: database.url },
      sinks: [{ to: { webhook: receiver.hook('hook', given.number('concurrency')) }, ...sinkOf(given) }],
      receiptsTo: 0,
    })
    const receipts = (from: number, to: number): Promise<Float64Array> => receiver.receipts(from, to)
    const first = await producers.write({ perSecond: rate, seconds: given.quick ? 0.5 : 5, from: 1 })
    await delaysOf(first, receipts)

    const sampler = await database.connect()
    const samples: Sample[] = []
    const sampling = async (): Promise<void> => {
      const begun = performance.now()
      for (let part = 1; part <= parts; part++) {
        await sleep(Math.max(0, begun + (1_000 * seconds * part) / parts - performance.now()))
        const { rssBytes, heapBytes } = await carrier.report()
        const sample = { ...(await sizesOf(sampler)), rssMb: rssBytes / megabyte, heapMb: heapBytes / megabyte }
        samples.push(sample)
        say(
          `${10 * part} %: ${Object.entries(sample)
            .map(([name, value]) => `${name} ${rounded(value)}`)
            .join(', ')}`,
        )
      }
    }
    const [written, usage] = await Promise.all([
      producers.write({ perSecond: rate, seconds, from: first.to }),
      watchUsage(server, database, carrier, seconds, parts),
      sampling(),
    ])
    const delays = await delaysOf(written, receipts)
    await carrier.stop()

    const parted = partsOf(written, delays, seconds, parts)
    const rows = samples.map((sample, part): Row => {
      const { p50, p99 } = percentilesOf(parted[part] ?? [])
      const shares = Object.entries(usage[part] ?? {}).flatMap(([name, value]) =>
        value === null ? [] : [[name, rounded(value)]],
      )
      return {
        '% of the time': `${10 * part}–${10 * (part + 1)}`,
        'p50 ms': p50,
        'p99 ms': p99,
        'log MB': rounded(sample.logMb),
        'attempts MB': rounded(sample.attemptsMb),
        'other tables MB': rounded(sample.otherMb),
        'relay RSS MB': rounded(sample.rssMb),
        'relay heap MB': rounded(sample.heapMb),
        ...(Object.fromEntries(shares) as Row),
      }
    })
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: {
        ...log,
        rate,
        seconds,
        writers,
        ...relayOf(given),
        ...sinkOf(given),
        audit: 'all',
        segments: slots,
        segmentSeconds: widthSeconds,
        keepSeconds: widthSeconds,
      },
      rows,
      notes: [
        `${delays.length} events at ${rounded(written.perSecond)}/s; the ring of segments has gone round about ${Math.floor(seconds / (widthSeconds * slots))} times`,
        'sizes and memory are those at the end of each part; the first parts fill the ring',
      ],
    }
  },
}

/** Of tables with their indexes. */
async function sizesOf(client: pg.Client): Promise<Pick<Sample, 'logMb' | 'attemptsMb' | 'otherMb'>> {
  const { rows } = await client.query<{ log: number; attempts: number; other: number }>(
    `select coalesce(sum(bytes) filter (where parent = 'events'), 0)::float8 as log,
       coalesce(sum(bytes) filter (where parent = 'attempts'), 0)::float8 as attempts,
       coalesce(sum(bytes) filter (where parent not in ('events', 'attempts')), 0)::float8 as other
     from (
       select coalesce(p.relname, c.relname) as parent, pg_total_relation_size(c.oid) as bytes
       from pg_class as c left join pg_inherits as i on i.inhrelid = c.oid left join pg_class as p on p.oid = i.inhparent
       where c.relnamespace = 'postrider'::regnamespace and c.relkind = 'r'
     ) as tables`,
  )
  const { log, attempts, other } = rows[0]!
  return { logMb: log / megabyte, attemptsMb: attempts / megabyte, otherMb: other / megabyte }
}
