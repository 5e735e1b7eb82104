/**
 * What one bad endpoint costs the others. Run: node --conditions=@postrider/source test/bench/endpoints.ts
 *
 * 1. A backlog for 21 endpoints is drained; a tenth of it is for one that accepts connections and never answers. Measured:
 *    the rate of the other 20, as a share of their rate in a round where nobody takes those events.
 * 2. One endpoint gets 100 events a second, beside eight whose name servers keep silent and which get 10 each. Measured: the
 *    p99 from commit to receipt, against a round without the eight.
 *
 * Rounds alternate with their control on the same server, after one of each that does not count; medians.
 * POSTRIDER_BENCH_EVENTS: events of each endpoint (default 1,000). POSTRIDER_BENCH_ROUNDS: default 3.
 */
import { createSocket } from 'node:dgram'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@postrider/migrations'
import { generateSecret } from '@postrider/webhook'
import pg from 'pg'
import { addEndpoint, carryHooks, hooks, startDead } from '../hooks.ts'
import { startPostgres } from '../postgres/embedded.ts'
import { until } from '../until.ts'
import { startDestinations, type Destinations } from './destinations.ts'

const rounds = Number(process.env['POSTRIDER_BENCH_ROUNDS'] ?? 3)
const healthyCount = 20
const eventsEach = Number(process.env['POSTRIDER_BENCH_EVENTS'] ?? 1_000)
const deadShare = 0.1
const silentCount = 8
const settings = { concurrency: 8, totalMs: 3_000, dnsMs: 2_000 }
const secret = generateSecret()

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? NaN

const shown = ({ rate, cpuMs }: Drained): string => `${Math.round(rate)}/s (${cpuMs.toFixed(0)} ms CPU per 1,000)`
const url = (port: number, host = '127.0.0.1'): string => `http://${host}:${port}/`

/** A database of its own for each round, on one server. */
async function withDatabase<T>(server: string, name: string, work: (client: pg.Client, url: string) => Promise<T>): Promise<T> {
  const admin = new pg.Client(server)
  await admin.connect()
  await admin.query(`create database ${name}`)
  const at = new URL(server)
  at.pathname = `/${name}`
  const client = new pg.Client(at.href)
  await client.connect()
  try {
    await migrate(client)
    return await work(client, at.href)
  } finally {
    await client.end()
    await admin.query(`drop database ${name} with (force)`)
    await admin.end()
  }
}

interface Drained {
  /** Deliveries a second to the healthy ones. */
  readonly rate: number
  /** CPU of this process (the relay, and the destinations) for a thousand of them: what it takes on a machine that others use too. */
  readonly cpuMs: number
}

/** Drains a backlog. */
async function drain(client: pg.Client, database: string, destinations: Destinations, dead: string | null): Promise<Drained> {
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
    database,
    hooks({ timeouts: { totalMs: settings.totalMs } }, { concurrency: settings.concurrency, lanes: 1 }),
  )
  const options = { starts: 'beginning' as const }
  await client.query('begin') // so that all of them begin at once
  for (let n = 0; n < healthyCount; n++) {
    await addEndpoint(client, `e${n}`, { url: url(destinations.ports[n] ?? 0), secret }, { ...options, types: [`e${n}.made`] })
  }
  if (dead !== null) await addEndpoint(client, 'dead', { url: dead, secret }, { ...options, types: ['dead.made'] })
  await client.query('commit')
  await until('the first arrive', () => sum(destinations) > before)
  const begun = performance.now()
  const used = process.cpuUsage()
  const first = sum(destinations)
  const all = before + healthyCount * eventsEach
  await until('all have arrived', () => sum(destinations) >= all, 120_000)
  const { user, system } = process.cpuUsage(used)
  return { rate: ((all - first) / (performance.now() - begun)) * 1000, cpuMs: (user + system) / (all - first) }
}

function sum(destinations: Destinations): number {
  return destinations.ports.reduce((total, _, destination) => total + destinations.taken(destination), 0)
}

/** From commit to receipt at a healthy endpoint, p99 in ms. */
async function latency(
  client: pg.Client,
  database: string,
  destinations: Destinations,
  nameServer: string,
  silent: number,
): Promise<number> {
  await using _relay = await carryHooks(
    database,
    hooks({ dnsServers: [nameServer], timeouts: { dnsMs: settings.dnsMs } }, { concurrency: settings.concurrency }),
  )
  const [port = 0] = destinations.ports
  // A name of this machine, which needs no name server.
  await addEndpoint(client, 'healthy', { url: url(port, 'localhost'), secret }, { types: ['healthy.made'] })
  for (let n = 0; n < silent; n++)
    await addEndpoint(client, `silent${n}`, { url: url(port, `silent${n}.test`), secret }, { types: [`silent${n}.made`] })
  await sleep(500)
  destinations.latencies()
  const total = 500
  const before = destinations.taken(0)
  const begun = performance.now()
  for (let i = 0; i < total; i++) {
    await sleep(Math.max(0, begun + i * 10 - performance.now()))
    const events = [{ type: 'healthy.made', payload: { sentAt: performance.timeOrigin + performance.now() } as object }]
    if (i % 10 === 0) events.push(...Array.from({ length: silentCount }, (_, n) => ({ type: `silent${n}.made`, payload: {} })))
    await client.query('select count(*) from postrider.emit($1::text::jsonb)', [JSON.stringify(events)])
  }
  await until('all have arrived', () => destinations.taken(0) >= before + total, 60_000)
  return percentile(destinations.latencies(), 0.99)
}

async function silentNameServer(): Promise<{ readonly address: string } & AsyncDisposable> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${socket.address().port}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}

const postgres = await startPostgres({ settings: { fsync: true, synchronous_commit: true } })
await using stack = new AsyncDisposableStack()
stack.use(postgres)
const destinations = stack.use(await startDestinations(healthyCount))
const nameServer = stack.use(await silentNameServer())
const results = { alone: [] as Drained[], besideDead: [] as Drained[], p99Alone: [] as number[], p99BesideSilent: [] as number[] }
const machine = `${cpus().length} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, PostgreSQL ${postgres.version} (fsync on)`
console.log(machine)
console.log(
  `${healthyCount} healthy endpoints, ${eventsEach} events each; the dead one gets ${deadShare * 100} % of all; ${JSON.stringify(settings)}`,
)

for (let round = 0; round <= rounds; round++) {
  const run = <T>(name: string, work: (client: pg.Client, database: string) => Promise<T>): Promise<T> =>
    withDatabase(postgres.url, `bench_${name}_${round}`, work)
  const alone = await run('alone', (client, database) => drain(client, database, destinations, null))
  await using dead = await startDead()
  const besideDead = await run('dead', (client, database) => drain(client, database, destinations, dead.url))
  if (dead.connections === 0) throw new Error('the dead endpoint was never tried')
  const p99Alone = await run('dns_alone', (client, database) => latency(client, database, destinations, nameServer.address, 0))
  const p99BesideSilent = await run('dns_silent', (client, database) =>
    latency(client, database, destinations, nameServer.address, silentCount),
  )
  console.log(
    `${round === 0 ? 'warm-up' : `round ${round}`}: ${shown(alone)} alone, ${shown(besideDead)} beside a dead one; ` +
      `p99 ${p99Alone.toFixed(1)} ms alone, ${p99BesideSilent.toFixed(1)} ms beside ${silentCount} silent ones`,
  )
  if (round === 0) continue
  results.alone.push(alone)
  results.besideDead.push(besideDead)
  results.p99Alone.push(p99Alone)
  results.p99BesideSilent.push(p99BesideSilent)
}
const medians = (all: readonly Drained[]): Drained => ({
  rate: median(all.map(({ rate }) => rate)),
  cpuMs: median(all.map(({ cpuMs }) => cpuMs)),
})
const [alone, besideDead] = [medians(results.alone), medians(results.besideDead)]
console.log(
  JSON.stringify({
    bench: 'endpoints',
    machine,
    settings: { ...settings, healthyCount, eventsEach, deadShare, silentCount, rounds },
    deliveriesPerSecond: { alone: Math.round(alone.rate), besideDead: Math.round(besideDead.rate) },
    share: Number((besideDead.rate / alone.rate).toFixed(3)),
    cpuMsPer1000: { alone: Math.round(alone.cpuMs), besideDead: Math.round(besideDead.cpuMs) },
    p99Ms: {
      alone: Number(median(results.p99Alone).toFixed(1)),
      besideSilent: Number(median(results.p99BesideSilent).toFixed(1)),
    },
  }),
)
