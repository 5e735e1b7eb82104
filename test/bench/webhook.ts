import { encode } from '@postrider/webhook'
import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { drainLog } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { madeEvent } from './made-event.ts'
import { postRaw } from './post-raw.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { median, takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

const warmUp = 20_000
const ways = ['relay, signed', 'raw undici'] as const

export const bench: Bench = {
  name: 'webhook',
  about: 'a backlog posted, signed, to a receiver in another process; beside raw POSTs of the same bodies',
  options: {
    events: { type: 'string', default: '100000', quick: '2000', about: 'size of the backlog' },
    audit: { type: 'string', default: 'all', about: 'which attempts are recorded' },
    ordering: { type: 'string', default: 'key', about: 'key or none' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    concurrency: { type: 'string', default: '64', about: 'requests in flight at once' },
  },
  async run(given, say) {
    const [events, bytes, keys] = [given.number('events'), given.number('bytes'), given.number('keys')]
    const audit = given.word('audit', ['all', 'failures', 'none'])
    const ordering = given.word('ordering', ['key', 'none'])
    const concurrency = given.number('concurrency')
    await using server = await startServer()
    await using carrier = await startCarrier()
    await using receiver = await startReceiver()
    const bodies = Array.from({ length: events }, (_, index) => encode(madeEvent(index + 1, bytes, keys), 'standard').body)
    const templates = { full: 'filled', warm: 'filled_warm' }
    await server.template(templates.full, (url) => fillLog(url, { events, bytes, keys }))
    await server.template(templates.warm, (url) => fillLog(url, { events: Math.min(warmUp, events), bytes, keys }))

    const measure = async (way: (typeof ways)[number], template: string, count: number) => {
      await receiver.forget(0)
      const before = await receiver.report()
      let figures
      if (way === 'raw undici') figures = await postRaw(receiver.url, bodies.slice(0, count), concurrency)
      else {
        await using database = await server.database(template)
        const sinks = [{ to: { webhook: receiver.hook('hook', concurrency) }, audit, ordering, ...sinkOf(given) }]
        figures = await drainLog(server, database.url, carrier, { sinks, relay: relayOf(given), events: count })
      }
      const after = await receiver.report()
      if (after.taken !== count) throw new Error(`${after.taken} requests came for ${count} events`)
      return { labels: { way }, figures: { ...figures, 'receiver µs CPU': (1_000 * (after.cpuMs - before.cpuMs)) / count } }
    }
    if (!given.quick) for (const way of ways) await measure(way, templates.warm, Math.min(warmUp, events))
    const results = await takeTurns(ways, given.rounds, say, (way) => measure(way, templates.full, events))
    const of = (way: (typeof ways)[number]): number => median(results.values({ way }, 'deliveries/s'))
    const share = of('relay, signed') / of('raw undici')
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { events, bytes, keys, audit, ordering, ...relayOf(given), ...sinkOf(given), guard: 'on', capture: 'failures' },
      rows: results.rows().map((row) => (row['way'] === 'raw undici' ? row : { ...row, 'share of raw %': percent(share) })),
      notes: [
        'of raw undici, "relay" is the process that posts: no database, no signature, no order',
        'the receiver is a node:http server in a process of its own, and takes its share of the cores',
      ],
    }
  },
}

function percent(share: number): number {
  return Math.round(share * 1_000) / 10
}
