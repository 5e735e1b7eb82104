/**
 * What one bad endpoint costs the others.
 *
 * 1. A backlog for 21 endpoints is drained; a tenth of it is for one that accepts connections and never answers. Measured:
 *    the rate of the other 20, as a share of their rate when nobody takes those events.
 * 2. One endpoint gets 100 events a second, beside eight whose name servers keep silent and which get 10 each. Measured: the
 *    p99 from commit to receipt, against that without the eight.
 */
import { createSocket } from 'node:dgram'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateSecret } from '@postrider/webhook'
import type pg from 'pg'
import { addEndpoint, carryHooks, hooks, startDead } from '../hooks.ts'
import { until } from '../until.ts'
import type { Bench } from './bench.ts'
import { startDestinations, type Destinations } from './destinations.ts'
import { percentilesOf } from './percentiles.ts'
import { median, takeTurns, type Figures } from './rounds.ts'
import { startServer } from './server.ts'

const healthyCount = 20
const deadShare = 0.1
const silentCount = 8
const pacedEvents = 500
const settings = { concurrency: 8, totalMs: 3_000, dnsMs: 2_000 }
const secret = generateSecret()
const ways = ['alone', 'beside a dead one', 'paced, alone', 'paced, beside silent name servers'] as const

export const bench: Bench = {
  name: 'endpoints',
  about: 'what one bad endpoint of a sink costs the others: one that is dead, and some whose names nobody resolves',
  options: {
    events: { type: 'string', default: '1000', quick: '50', about: 'of each of 20 healthy endpoints' },
  },
  async run(given, say) {
    const eventsEach = given.number('events')
    await using server = await startServer()
    await using destinations = await startDestinations(healthyCount)
    await using nameServer = await silentNameServer()
    const measure = async (way: (typeof ways)[number]): Promise<Figures> => {
      await using database = await server.database()
      const at: Place = { client: database.client, url: database.url, destinations }
      switch (way) {
        case 'alone':
          return await drain(at, eventsEach, null)
        case 'beside a dead one': {
          await using dead = await startDead()
          const figures = await drain(at, eventsEach, dead.url)
          if (dead.connections === 0) throw new Error('the dead endpoint was never tried')
          return figures
        }
        case 'paced, alone':
          return await follow(at, nameServer.address, 0)
        case 'paced, beside silent name servers':
          return await follow(at, nameServer.address, silentCount)
      }
    }
    // One of each does not count.
    if (!given.quick) for (const way of ways) await measure(way)
    const results = await takeTurns(ways, given.rounds, say, async (way) => ({
      labels: { endpoints: way },
      figures: await measure(way),
    }))
    const rate = (way: (typeof ways)[number]): number => median(results.values({ endpoints: way }, 'deliveries/s'))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { ...settings, healthyCount, eventsEach, deadShare, silentCount, pacedPerSecond: 100 },
      rows: results.rows(),
      notes: [
        `beside a dead endpoint the others have ${Math.round((1_000 * rate('beside a dead one')) / rate('alone')) / 10} % of their rate alone`,
        'CPU is that of one process with the relay and the destinations',
      ],
    }
  },
}

interface Place {
  readonly client: pg.Client
  readonly url: string
  readonly destinations: Destinations
}

/** Drains a backlog: the rate of the healthy ones. */
async function drain({ client, url, destinations }: Place, eventsEach: number, dead: string | null): Promise<Figures> {
  const deadEvents = Math.round((healthyCount * eventsEach * deadShare) / (1 - deadShare))
  await client.query(
    `select count(*) from postrider.emit((
       select jsonb_agg(jsonb_build_object('type', e.type, 'key', 'k' || e.i % 100, 'payload', jsonb_build_object('i', e.i)) order by random())
       from (
         select 'e' || n || '.made' as type, i from generate_series(0, ${healthyCount - 1}) as n cross join generate_series(1, ${eventsEach}) as i
         union all select 'dead.made', i from generate_series(1, ${deadEvents}) as i
       ) as e))`,
  )
  const before = sum(destinations)
  await using _relay = await carryHooks(
    url,
    hooks({ timeouts: { totalMs: settings.totalMs } }, { concurrency: settings.concurrency, lanes: 1 }),
  )
  const options = { starts: 'beginning' as const }
  await client.query('begin') // so that all of them begin at once
  for (let n = 0; n < healthyCount; n++) {
    const destination = { url: urlOf(destinations.ports[n] ?? 0), secret }
    await addEndpoint(client, `e${n}`, destination, { ...options, types: [`e${n}.made`] })
  }
  if (dead !== null) await addEndpoint(client, 'dead', { url: dead, secret }, { ...options, types: ['dead.made'] })
  await client.query('commit')
  await until('the first arrive', () => sum(destinations) > before)
  const begun = performance.now()
  const used = process.cpuUsage()
  const first = sum(destinations)
  const all = before + healthyCount * eventsEach
  await until('all of them arrive', () => sum(destinations) >= all, 120_000)
  const seconds = (performance.now() - begun) / 1_000
  const { user, system } = process.cpuUsage(used)
  return { 'deliveries/s': (all - first) / seconds, 'µs CPU': (user + system) / (all - first) }
}

/** From commit to receipt at a healthy endpoint, at 100 events a second. */
async function follow({ client, url, destinations }: Place, nameServer: string, silent: number): Promise<Figures> {
  await using _relay = await carryHooks(
    url,
    hooks({ dnsServers: [nameServer], timeouts: { dnsMs: settings.dnsMs } }, { concurrency: settings.concurrency }),
  )
  const [port = 0] = destinations.ports
  // A name of this machine, which needs no name server.
  await addEndpoint(client, 'healthy', { url: urlOf(port, 'localhost'), secret }, { types: ['healthy.made'] })
  for (let n = 0; n < silent; n++)
    await addEndpoint(client, `silent${n}`, { url: urlOf(port, `silent${n}.test`), secret }, { types: [`silent${n}.made`] })
  await sleep(500)
  destinations.latencies()
  const before = destinations.taken(0)
  const begun = performance.now()
  for (let i = 0; i < pacedEvents; i++) {
    await sleep(Math.max(0, begun + i * 10 - performance.now()))
    const events = [{ type: 'healthy.made', payload: { sentAt: performance.timeOrigin + performance.now() } as object }]
    if (i % 10 === 0) events.push(...Array.from({ length: silentCount }, (_, n) => ({ type: `silent${n}.made`, payload: {} })))
    await client.query('select count(*) from postrider.emit($1::text::jsonb)', [JSON.stringify(events)])
  }
  await until('all have arrived', () => destinations.taken(0) >= before + pacedEvents, 60_000)
  const { p50, p99 } = percentilesOf(destinations.latencies())
  return { 'p50 ms': p50, 'p99 ms': p99 }
}

function urlOf(port: number, host = '127.0.0.1'): string {
  return `http://${host}:${port}/`
}

function sum(destinations: Destinations): number {
  return destinations.ports.reduce((total, _, destination) => total + destinations.taken(destination), 0)
}

async function silentNameServer(): Promise<{ readonly address: string } & AsyncDisposable> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${socket.address().port}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}
