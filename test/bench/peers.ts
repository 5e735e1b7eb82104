import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Bench, Row, Say } from './bench.ts'
import { makeShop, transact, type Beside } from './business.ts'
import { delaysOf } from './delays.ts'
import type { Given } from './given.ts'
import { openPacedWriters } from './pace.ts'
import { keyOf, payloadOf } from './payload.ts'
import { installPeers } from './peers/install.ts'
import type { Job, System } from './peers/system.ts'
import { systemNames, systems, type SystemName } from './peers/systems.ts'
import { startPeerWorker, untilDone, type PeerWorker } from './peers/worker.ts'
import { percentilesOf } from './percentiles.ts'
import { startReceiver, type Receiver } from './receiver.ts'
import { median, rounded, takeTurns, type Figures, type Rounds } from './rounds.ts'
import { startServer, type BenchServer } from './server.ts'

const bytes = 300
const keys = 10_000
const fillBatch = 1_000
const latencyWriters = 8
/** Relays that have just started need so long to share the lanes. */
const sharingSeconds = 12
const warmUp = { jobs: 20_000, seconds: 1, limitSeconds: 10 }
/** Transactions of the shop without a queue behind them, for comparison. */
const controls = ['nothing', 'plain insert'] as const

const measures = ['drain', 'post', 'latency', 'business'] as const

type Measure =
  | { readonly kind: 'drain' | 'post'; readonly jobs: number }
  | { readonly kind: 'latency'; readonly perSecond: number }
  | { readonly kind: 'business'; readonly writers: number }

/** What is measured: a system, or a transaction with no system behind it. */
type Subject = SystemName | (typeof controls)[number]

/** A system that takes part, with its worker. */
interface Entrant {
  readonly name: SystemName
  readonly system: System
  readonly worker: PeerWorker
  /** Beside it, where several share the POSTs. */
  readonly helpers: readonly PeerWorker[]
}

export const bench: Bench = {
  name: 'peers',
  about: 'Postrider beside other queues in PostgreSQL, in turns on one server: drain, POSTs, latency, business transactions',
  options: {
    systems: { type: 'string', default: systemNames.join(','), about: 'who takes part; Postrider always does' },
    measures: { type: 'string', default: measures.join(','), about: 'what is measured' },
    ordered: {
      type: 'boolean',
      default: false,
      about: 'each peer with its own order per key, where it has one, and not at its best speed',
    },
    drain: {
      type: 'string',
      default: '50000,200000',
      quick: '2000',
      about: 'sizes of the backlog for a handler that does nothing',
    },
    posts: { type: 'string', default: '20000', quick: '1000', about: 'sizes of the backlog that is posted to a receiver' },
    concurrency: { type: 'string', default: '64', about: 'POSTs in flight at once' },
    processes: {
      type: 'string',
      default: '1',
      about: 'workers of each system that share its POSTs; with more than one, they wait for a backlog that comes by one commit',
    },
    rate: { type: 'string', default: '200', about: 'jobs a second for the latency' },
    writers: { type: 'string', default: '4,16', quick: '4', about: 'connections that make business transactions' },
    seconds: { type: 'string', default: '10', quick: '1', about: 'of each measurement of latency and of business transactions' },
    limit: {
      type: 'string',
      default: '30',
      quick: '10',
      about: 'seconds after which a backlog is given up, and rated by what was done',
    },
  },
  async run(given, say) {
    const asked = [...new Set<SystemName>(['postrider', ...given.words('systems', systemNames)])]
    const missing = await installPeers(asked, say)
    const ordered = given.flag('ordered')
    const wanted = asked.filter((name) => !missing.has(name))
    await using stack = new AsyncDisposableStack()
    const server = stack.use(await startServer())
    const receiver = stack.use(await startReceiver())
    const entrants = new Map<Subject, Entrant>()
    for (const name of wanted) {
      const worker = stack.use(await startPeerWorker(name, ordered))
      const helpers: PeerWorker[] = []
      while (helpers.length + 1 < given.number('processes')) helpers.push(stack.use(await startPeerWorker(name, ordered)))
      entrants.set(name, { name, system: await systems[name](ordered), worker, helpers })
    }
    const all = listMeasures(given)
    const rig = new Rig(server, receiver, given)
    await rig.prepare([...entrants.values()], all, say)
    const variants = all.flatMap((measure) => subjectsOf(measure, wanted).map((subject) => ({ measure, subject })))
    const results = await takeTurns(variants, given.rounds, say, async ({ measure, subject }) => ({
      labels: labelsOf(measure, subject),
      figures: await rig.measure(measure, subject, entrants.get(subject)).catch(async (error: unknown) => {
        if (subject === 'postrider') throw error
        rig.notes.push(`${titleOf(measure)}, ${subject}: no figure, ${error instanceof Error ? error.message : String(error)}`)
        await entrants.get(subject)?.worker.kill()
        return {}
      }),
    }))
    const versions = Object.fromEntries([...entrants.values()].map(({ name, system }) => [name, system.version]))
    const settings = Object.fromEntries([...entrants.values()].map(({ name, system }) => [name, `(${system.settings})`]))
    return {
      versions: { ...server.versions, ...versions },
      postgres: server.postgres,
      settings: { bytes, keys, concurrency: given.number('concurrency'), processes: given.number('processes'), ...settings },
      rows: all.flatMap((measure) => rowsOf(measure, subjectsOf(measure, wanted), results)),
      notes: [
        ...[...missing].map(([name, why]) => `${name} is missing: ${why}`),
        ...rig.notes,
        'ratio: Postrider by that system, round by round; of rates more than 1 is ahead, of times less than 1',
        `Postrider signs its POSTs, checks addresses, keeps order per key and records every attempt; of the others ${ordered ? 'some keep order here, and none does the rest' : 'none does any of it here'}`,
        'pg-transactional-outbox runs its polling listener; its other one needs wal_level = logical, at a cost to everybody on the server',
        'each worker is a process of its own; rates are from the first job that a handler gets to the last',
        'latency is from the return of COMMIT to the receipt of the POST; business transactions run while the worker takes their jobs',
      ],
    }
  },
}

function listMeasures(given: Given): Measure[] {
  return given.words('measures', measures).flatMap((kind): Measure[] => {
    switch (kind) {
      case 'drain':
        return given.numbers('drain').map((jobs) => ({ kind, jobs }))
      case 'post':
        return given.numbers('posts').map((jobs) => ({ kind, jobs }))
      case 'latency':
        return [{ kind, perSecond: given.number('rate') }]
      case 'business':
        return given.numbers('writers').map((writers) => ({ kind, writers }))
    }
  })
}

function subjectsOf({ kind }: Measure, systems: readonly SystemName[]): readonly Subject[] {
  return kind === 'business' ? [...systems, ...controls] : systems
}

function labelsOf(measure: Measure, system: Subject): { readonly measure: string; readonly system: Subject } {
  return { measure: titleOf(measure), system }
}

function titleOf(measure: Measure): string {
  switch (measure.kind) {
    case 'drain':
      return `drain ${measure.jobs}`
    case 'post':
      return `post ${measure.jobs}`
    case 'latency':
      return `latency at ${measure.perSecond}/s`
    case 'business':
      return `business on ${measure.writers} connections`
  }
}

const figuresOf: Readonly<Record<Measure['kind'], readonly string[]>> = {
  drain: ['jobs/s'],
  post: ['jobs/s'],
  latency: ['p50 ms', 'p99 ms'],
  business: ['tx/s'],
}

/** A row for each system and figure. */
function rowsOf(measure: Measure, subjects: readonly Subject[], results: Rounds): Row[] {
  return figuresOf[measure.kind].flatMap((figure) => {
    const ours = results.values(labelsOf(measure, 'postrider'), figure)
    return subjects.map((system): Row => {
      const values = results.values(labelsOf(measure, system), figure)
      if (values.length === 0) return { measure: `${titleOf(measure)}, ${figure}`, system }
      // Round by round, because the machine is not equally fast in all of them.
      const ratios =
        values.length === ours.length ? values.map((value, round) => ours[round]! / value) : [median(ours) / median(values)]
      return {
        measure: `${titleOf(measure)}, ${figure}`,
        system,
        ...spread('median', values),
        ...(system === 'postrider' ? {} : spread('ratio', ratios)),
      }
    })
  })
}

function spread(name: string, values: readonly number[]): Row {
  return {
    [name]: rounded(median(values)),
    [`${name} min`]: rounded(Math.min(...values)),
    [`${name} max`]: rounded(Math.max(...values)),
  }
}

/** What all measurements share. */
class Rig {
  readonly notes: string[] = []
  readonly #server: BenchServer
  readonly #receiver: Receiver
  readonly #given: Given

  constructor(server: BenchServer, receiver: Receiver, given: Given) {
    this.#server = server
    this.#receiver = receiver
    this.#given = given
  }

  /** Databases to copy, and warm workers. */
  async prepare(entrants: readonly Entrant[], all: readonly Measure[], say: Say): Promise<void> {
    const sizes = new Set(all.flatMap((measure) => ('jobs' in measure ? [measure.jobs] : [])))
    await this.#server.template('shop', (_url, client) => makeShop(client))
    for (const entrant of entrants) {
      const { name, system } = entrant
      await this.#server.template(templateOf(name, 0), async (url, client) => {
        await makeShop(client)
        await system.prepare(url)
      })
      for (const jobs of new Set([...sizes, ...(this.#given.quick ? [] : [warmUp.jobs])])) {
        const began = performance.now()
        await this.#server.template(templateOf(name, jobs), (url, client) => fill(url, client, system, jobs))
        say(`${name}: ${jobs} jobs written in ${Math.round((performance.now() - began) / 100) / 10} s`)
      }
      if (this.#given.quick) continue
      for (const kind of ['drain', 'post'] as const) await this.#carry({ kind, jobs: warmUp.jobs }, entrant, warmUp.limitSeconds)
      await this.#transact(4, entrant, warmUp.seconds)
    }
    this.notes.length = 0
  }

  async measure(measure: Measure, subject: Subject, entrant: Entrant | undefined): Promise<Figures> {
    const seconds = this.#given.number('seconds')
    if (entrant === undefined) {
      if (measure.kind !== 'business' || subject === 'postrider') throw new TypeError(`nobody measures ${subject}`)
      return await this.#transact(measure.writers, subject === 'nothing' ? 'nothing' : 'plain insert', seconds)
    }
    switch (measure.kind) {
      case 'drain':
      case 'post':
        return await this.#carry(measure, entrant, this.#given.number('limit'))
      case 'latency':
        return await this.#delay(measure.perSecond, entrant)
      case 'business':
        return await this.#transact(measure.writers, entrant, seconds)
    }
  }

  /** How fast a backlog goes. */
  async #carry(
    { kind, jobs }: { readonly kind: 'drain' | 'post'; readonly jobs: number },
    { name, system, worker, helpers }: Entrant,
    limitSeconds: number,
  ): Promise<Figures> {
    const workers = kind === 'post' ? [worker, ...helpers] : [worker]
    const isShared = workers.length > 1
    await using database = await this.#server.database(templateOf(name, isShared ? 0 : jobs))
    const receiver = this.#receiver
    await receiver.forget(jobs + 1)
    const target = kind === 'post' ? receiver.url : null
    const start = { url: database.url, target, concurrency: this.#given.number('concurrency'), most: jobs }
    await Promise.all(workers.map((one) => one.start(start)))
    if (isShared) {
      await sleep(1_000 * sharingSeconds)
      await write(database.url, database.client, system, jobs, true)
    }
    const report = async (): Promise<{ done: number; firstAt: number; lastAt: number; repeats: number }> => {
      if (kind === 'drain') return await worker.report()
      const came = (await receiver.receipts(1, jobs + 1)).filter((at) => at > 0)
      const { taken } = await receiver.report()
      return { done: came.length, firstAt: least(came), lastAt: greatest(came), repeats: taken - came.length }
    }
    const soFar = async (): Promise<number> =>
      kind === 'drain' ? (await worker.report()).done : (await receiver.report()).taken >= jobs ? (await report()).done : 0
    await untilDone(soFar, jobs, 1_000 * limitSeconds)
    const { done, firstAt, lastAt, repeats } = await report()
    await Promise.all(workers.map((one) => one.stop()))
    const title = `${titleOf({ kind, jobs })}, ${name}`
    if (done < jobs) this.notes.push(`${title}: given up after ${limitSeconds} s with ${done} of ${jobs} done`)
    if (repeats > 0) this.notes.push(`${title}: ${repeats} jobs came more than once`)
    return { 'jobs/s': (1_000 * (done - 1)) / (lastAt - firstAt) }
  }

  /** From commit to receipt. */
  async #delay(perSecond: number, { name, system, worker }: Entrant): Promise<Figures> {
    const seconds = this.#given.number('seconds')
    const settle = this.#given.quick ? 0.5 : 2 * warmUp.seconds
    await using database = await this.#server.database(templateOf(name, 0))
    await using producer = await system.produce(database.url)
    await using writers = await openPacedWriters(database.url, {
      connections: latencyWriters,
      bytes,
      keys,
      enqueue: (client, key, payload) => producer.enqueue(client, { key, payload }),
    })
    const most = Math.ceil(perSecond * (seconds + settle)) + 10
    await this.#receiver.forget(most)
    const target = this.#receiver.url
    await worker.start({ url: database.url, target, concurrency: this.#given.number('concurrency'), most })
    const { to: from } = await writers.write({ perSecond, seconds: settle, from: 1 })
    const written = await writers.write({ perSecond, seconds, from })
    const delays = await delaysOf(written, (first, last) => this.#receiver.receipts(first, last))
    await worker.stop()
    const { p50, p99 } = percentilesOf(delays)
    return { 'p50 ms': p50, 'p99 ms': p99 }
  }

  /** Business transactions a second, with a job in each, and a worker that takes them. */
  async #transact(count: number, subject: Entrant | 'nothing' | 'plain insert', seconds: number): Promise<Figures> {
    await using stack = new AsyncDisposableStack()
    const entrant = typeof subject === 'string' ? undefined : subject
    const database = stack.use(await this.#server.database(entrant === undefined ? 'shop' : templateOf(entrant.name, 0)))
    let beside: Beside = typeof subject === 'string' ? subject : 'nothing'
    if (entrant !== undefined) {
      const producer = stack.use(await entrant.system.produce(database.url))
      beside = (client, key, payload) => producer.enqueue(client, { key, payload })
      const concurrency = this.#given.number('concurrency')
      await entrant.worker.start({ url: database.url, target: null, concurrency, most: 10_000_000 })
    }
    const clients = await Promise.all(Array.from({ length: count }, () => database.connect()))
    const from = performance.now() + 1_000 * (this.#given.quick ? 0 : warmUp.seconds)
    const until = from + 1_000 * seconds
    let [n, counted] = [0, 0]
    const write = async (client: pg.Client): Promise<void> => {
      for (let at = performance.now(); at < until;) {
        const began = at
        await transact(client, ++n, bytes, beside)
        at = performance.now()
        if (began >= from && at <= until) counted++
      }
    }
    await Promise.all(clients.map(write))
    await entrant?.worker.stop()
    return { 'tx/s': counted / seconds }
  }
}

function templateOf(name: SystemName, jobs: number): string {
  return `peer_${name.replaceAll(/\W/g, '_')}_${jobs}`
}

/** Writes a backlog, and leaves its tables as a server that had time would have them. */
async function fill(url: string, client: pg.Client, system: System, count: number): Promise<void> {
  await system.prepare(url)
  await write(url, client, system, count, false)
  await client.query('vacuum analyze')
}

/** @param atOnce by one transaction, and not by one for each batch */
async function write(url: string, client: pg.Client, system: System, count: number, atOnce: boolean): Promise<void> {
  await using producer = await system.produce(url)
  if (atOnce) await client.query('begin')
  for (let from = 1; from <= count; from += fillBatch) {
    const jobs = Array.from({ length: Math.min(fillBatch, count + 1 - from) }, (_, index): Job => {
      const n = from + index
      return { key: keyOf(n, keys), payload: payloadOf(n, bytes) }
    })
    if (!atOnce) await client.query('begin')
    await producer.enqueueMany(client, jobs)
    if (!atOnce) await client.query('commit')
  }
  if (atOnce) await client.query('commit')
}

function least(values: Float64Array): number {
  return values.reduce((low, value) => Math.min(low, value), Infinity)
}

function greatest(values: Float64Array): number {
  return values.reduce((high, value) => Math.max(high, value), -Infinity)
}
