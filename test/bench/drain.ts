import type { Bench } from './bench.ts'
import { startCarrier } from './carrier.ts'
import { drainLog } from './drain-log.ts'
import { fillLog } from './fill.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { takeTurns } from './rounds.ts'
import { startServer } from './server.ts'

/** Carried before anything counts, so that the code is compiled. */
const warmUp = 30_000

export const bench: Bench = {
  name: 'drain',
  about: 'a backlog carried to a sink that takes everything at once, with and without the audit trail',
  options: {
    events: { type: 'string', default: '50000,1000000', quick: '2000', about: 'sizes of the backlog' },
    log: { type: 'string', default: 'fresh', about: 'fresh: nobody has read it since a checkpoint; read: somebody has' },
    audit: { type: 'string', default: 'all,none', about: 'which attempts are recorded' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
  },
  async run(given, say) {
    const sizes = given.numbers('events')
    const audits = given.words('audit', ['all', 'failures', 'none'])
    const states = given.words('log', ['fresh', 'read'])
    const log = { bytes: given.number('bytes'), keys: given.number('keys') }
    await using server = await startServer()
    await using carrier = await startCarrier()
    const carry = async (template: string, events: number, audit: (typeof audits)[number]) => {
      await using database = await server.database(template)
      const sinks = [{ to: { taking: 'mill' }, ordering: 'key', audit, ...sinkOf(given) }] as const
      return await drainLog(server, database.url, carrier, { sinks, relay: relayOf(given), events })
    }
    for (const events of given.quick ? sizes : [...sizes, warmUp]) {
      const began = performance.now()
      for (const state of states) {
        await server.template(templateOf(events, state), async (url, client) => {
          await fillLog(url, { ...log, events })
          if (state === 'read') await client.query('select count(payload) from postrider.events')
        })
      }
      say(`${events} events written in ${Math.round((performance.now() - began) / 100) / 10} s`)
    }
    if (!given.quick) await carry(templateOf(warmUp, states[0]), warmUp, 'all')
    const variants = sizes.flatMap((events) => states.flatMap((state) => audits.map((audit) => ({ events, state, audit }))))
    const results = await takeTurns(variants, given.rounds, say, async ({ events, state, audit }) => ({
      labels: { events, log: state, audit },
      figures: await carry(templateOf(events, state), events, audit),
    }))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { ...log, ...relayOf(given), ...sinkOf(given), ordering: 'key', warmUp: given.quick ? 0 : warmUp },
      rows: results.rows(),
      notes: [
        'CPU and WAL are of one delivery; those of the server count everything that it does',
        'who reads a fresh log first sets its hint bits: with data checksums each page then goes to WAL whole, once after a checkpoint',
      ],
    }
  },
}

function templateOf(events: number, state: string | undefined): string {
  return `filled_${events}_${state}`
}
