import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Bench } from './bench.ts'
import type * as carriersModule from './carrier.ts'
import type * as drainingModule from './drain-log.ts'
import type * as fillingModule from './fill.ts'
import { UsageError } from './given.ts'
import { startReceiver } from './receiver.ts'
import { relayOf, relayOptions, sinkOf } from './relay-options.ts'
import { median, rounded, takeTurns, type Figures } from './rounds.ts'
import type * as serverModule from './server.ts'

const root = resolve(import.meta.dirname, '../..')
const ways = ['taking', 'webhook'] as const
/** Drained by each before anything counts, so that the code is compiled. */
const warmUps = 2

/** A checkout, with a server and a relay of its own. */
interface Side extends AsyncDisposable {
  readonly checkout: 'this' | 'base'
  drain(): Promise<Figures>
}

export const bench: Bench = {
  name: 'versus',
  about: 'this checkout and another one by turns, on short backlogs: what a change has brought, on a machine whose speed varies',
  options: {
    base: { type: 'string', default: '', about: 'directory of the other checkout, with what it needs installed' },
    to: { type: 'string', default: 'taking', about: 'taking: a sink that takes everything at once; webhook: signed POSTs' },
    events: { type: 'string', default: '50000', quick: '1000', about: 'size of the backlog' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
    keys: { type: 'string', default: '10000', about: 'ordering keys' },
    ...relayOptions,
    concurrency: { type: 'string', default: '64', about: 'deliveries in flight at once' },
    rounds: { type: 'string', default: '11', quick: '1', about: 'how often each is measured; figures are medians' },
  },
  async run(given, say) {
    const base = resolve(given.text('base'))
    if (given.text('base') === '' || !existsSync(join(base, 'test/bench/drain-log.ts'))) {
      throw new UsageError('--base: expected the directory of another checkout')
    }
    const to = given.word('to', ways)
    const [events, bytes, keys] = [given.number('events'), given.number('bytes'), given.number('keys')]
    const concurrency = given.number('concurrency')
    await using stack = new AsyncDisposableStack()
    const receiver = stack.use(await startReceiver())
    const destination = to === 'webhook' ? { webhook: receiver.hook('hook', concurrency) } : { taking: 'mill' }
    const draining = {
      sinks: [{ to: destination, audit: 'all', ordering: 'key', ...sinkOf(given) }],
      relay: relayOf(given),
      events,
    } as const

    const open = async (checkout: Side['checkout'], directory: string): Promise<Side> => {
      // Of that checkout, with its own migrations and its own relay; the types are those of this one.
      const load = async (name: string): Promise<unknown> =>
        await import(pathToFileURL(join(directory, 'test/bench', `${name}.ts`)).href)
      const { startServer } = (await load('server')) as typeof serverModule
      const { startCarrier } = (await load('carrier')) as typeof carriersModule
      const { fillLog } = (await load('fill')) as typeof fillingModule
      const { drainLog } = (await load('drain-log')) as typeof drainingModule
      await using opening = new AsyncDisposableStack()
      const server = opening.use(await startServer())
      const carrier = opening.use(await startCarrier())
      await server.template('filled', async (url, client) => {
        await fillLog(url, { events, bytes, keys })
        await client.query('select count(payload) from postrider.events')
      })
      const opened = opening.move()
      return {
        checkout,
        async drain() {
          await receiver.forget(0)
          await using database = await server.database('filled')
          return await drainLog(server, database.url, carrier, draining)
        },
        [Symbol.asyncDispose]: () => opened.disposeAsync(),
      }
    }
    const sides = [stack.use(await open('base', base)), stack.use(await open('this', root))] as const
    if (!given.quick) for (let time = 0; time < warmUps; time++) for (const side of sides) await side.drain()
    const results = await takeTurns(sides, given.rounds, say, async (side) => ({
      labels: { checkout: side.checkout },
      figures: await side.drain(),
    }))
    // Of the same round, so that the speed of the machine is in both.
    const ratio = (figure: string): number => {
      const beside = results.values({ checkout: 'base' }, figure)
      return rounded(
        median(results.values({ checkout: 'this' }, figure).map((value, round) => value / (beside[round] ?? Number.NaN))),
      )
    }
    return {
      versions: {},
      settings: { base, to, events, bytes, keys, concurrency, ...relayOf(given), ...sinkOf(given), audit: 'all', log: 'read' },
      rows: results.rows().map((row) =>
        row['checkout'] === 'base'
          ? row
          : {
              ...row,
              'rate by base': ratio('deliveries/s'),
              'relay CPU by base': ratio('relay µs CPU'),
              'server CPU by base': ratio('server µs CPU'),
            },
      ),
      notes: ['ratios are medians of those of each round; each checkout has a server of its own'],
    }
  },
}
