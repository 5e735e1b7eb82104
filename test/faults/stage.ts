import { join } from 'node:path'
import pg from 'pg'
import { startRelay, type RelayProcessOptions } from '../relay-process.ts'
import { Crew } from './crew.ts'
import type { Fault } from './fault.ts'
import { Journal } from './journal.ts'
import { randomOf, type Plan } from './plan.ts'
import { FaultyReceiver } from './receiver.ts'
import { relayRole, type Server } from './server.ts'
import { onShared, type Place, type Theatre } from './theatre.ts'
import { startWriters, type Writers } from './write.ts'

/** Leases are as short as they can be, so that many changes of hands fit into a run. */
export const leaseMs = 1_000

/** Everything that takes part in a run: what faults strike at. */
export class Stage implements AsyncDisposable {
  readonly plan: Plan
  readonly theatre: Theatre
  /** Of this run alone; servers may enter it. */
  readonly directory: string
  /** The server that has the database now; a fault may put another in its place. */
  server: Server
  readonly database: string
  readonly receiver: FaultyReceiver
  readonly journal: Journal
  readonly crew: Crew
  /** Where writers connect to; a fault may lead them another way. */
  writersUrl: () => string = () => this.url()
  /** Port of a pooler in transaction mode that relays go through; they listen directly. */
  pooledBy: number | null = null
  /** Relays post to the receiver; else they have only what a fault gives them. */
  posts = true
  /** Repeats that a fault may cause beyond a page of each lane that is taken over. */
  allowed = 0
  /** Closed at the end, the last one first. */
  readonly leftovers: AsyncDisposableStack
  #writers: Writers | undefined

  private constructor(
    theatre: Theatre,
    plan: Plan,
    directory: string,
    { server, database }: Place,
    receiver: FaultyReceiver,
    journal: Journal,
    leftovers: AsyncDisposableStack,
  ) {
    this.theatre = theatre
    this.plan = plan
    this.directory = directory
    this.server = server
    this.database = database
    this.receiver = receiver
    this.journal = journal
    this.leftovers = leftovers
    this.crew = leftovers.use(
      new Crew(
        () => this.server.port,
        (way, more) => {
          const direct = this.url(relayRole, way.port)
          const url = this.pooledBy === null ? direct : this.url(relayRole, this.pooledBy)
          return startRelay(url, this.posts ? receiver : null, { ...optionsOf(plan, more), directConnectionString: direct })
        },
      ),
    )
  }

  /** Builds everything, relays and writers at work. */
  static async open(theatre: Theatre, plan: Plan, fault: Fault): Promise<Stage> {
    const leftovers = new AsyncDisposableStack()
    try {
      const { name, directory } = leftovers.use(await theatre.newRun())
      const place = leftovers.use(await (fault.ground ?? onShared)(theatre, name))
      const journal = leftovers.use(new Journal(join(directory, 'receipts')))
      const receiver = leftovers.use(await FaultyReceiver.start(journal.path, `${plan.seed}`))
      const stage = new Stage(theatre, plan, directory, place, receiver, journal, leftovers)
      const random = randomOf(plan.seed, plan.fault)
      await fault.arrange?.(stage, random.stream('arrange'))
      stage.#writers = leftovers.use(await startWriters(() => stage.writersUrl(), plan, random.stream('writers')))
      await Promise.all(Array.from({ length: plan.relays }, () => stage.crew.add()))
      return stage
    } catch (error) {
      await leftovers.disposeAsync()
      throw error
    }
  }

  get writers(): Writers {
    if (this.#writers === undefined) throw new Error('the writers have not begun yet')
    return this.#writers
  }

  /** The database of the run, directly or by a proxy. */
  url(role = 'postgres', port: number = this.server.port): string {
    return `postgres://${role}@127.0.0.1:${port}/${this.database}`
  }

  /** Does something with the database as a superuser. */
  async withClient<T>(work: (client: pg.Client) => Promise<T>, port?: number): Promise<T> {
    const client = new pg.Client({
      connectionString: this.url('postgres', port),
      connectionTimeoutMillis: 5_000,
      application_name: 'fault',
    })
    client.on('error', () => {}) // the statement that was running rejects
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leftovers[Symbol.asyncDispose]()
  }
}

function optionsOf(plan: Plan, { sink, ...more }: RelayProcessOptions): RelayProcessOptions {
  const { lanes, pageSize, pageMs, slowMs, concurrency } = plan
  return {
    leaseMs,
    pageSize,
    pageMs,
    slowMs,
    drainMs: 4_000,
    connections: 4,
    ...more,
    sink: {
      lanes,
      concurrency,
      timeouts: { totalMs: 3_000, firstByteMs: 2_500, connectMs: 1_000 },
      // Of a destination that is back it is known within a second.
      circuit: { failures: 10, openMs: 200, mostMs: 1_000 },
      ...sink,
    },
  }
}
