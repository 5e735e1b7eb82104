import { randomUUID } from 'node:crypto'
import { isPostriderError, PostriderError } from '@postrider/schema'
import { publish } from './channels.ts'
import { runChores } from './chores.ts'
import { openDatabase, ServerLife, type Database } from './database.ts'
import { Lanes } from './lanes.ts'
import { signOff } from './leases.ts'
import { runOperations } from './operations.ts'
import { settingsOf, type RelayOptions, type Settings } from './options.ts'
import { Solo } from './poison.ts'
import { meaningOf, untilDone } from './retry.ts'
import { Routes } from './routes.ts'
import { checkDatabase } from './start.ts'
import { Bell, within } from './wait.ts'
import { Wake } from './wake.ts'

/** How a relay is, without asking anything. */
export interface RelayHealth {
  /** It carries, or waits for something to carry. */
  readonly ready: boolean
  readonly database: { readonly up: boolean; readonly lastOkAt: Date | null; readonly error: string | null }
  /** `polling`: notifications do not arrive, the relay looks every `pollMs`. */
  readonly listener: 'listening' | 'polling'
  /** When a loop last turned, also while the database is away. */
  readonly lastTickAt: Date
  readonly lanes: readonly { readonly sink: string; readonly lane: number }[]
  readonly stopping: boolean
}

export interface Relay {
  /** UUID of this run, as in `postrider.relays` and `attempts`. */
  readonly id: string
  /**
   * Carries events until `signal` aborts; resolves when everything in hand is settled and the lanes are given back.
   * `hard` ends deliveries in flight too; what was interrupted does not count as an attempt.
   * Closes the sinks at the end. To be called once.
   *
   * @throws PostriderError `schema_missing`, `cluster_changed`, `sequence_cache` at the start.
   *   While the database is away it keeps trying.
   */
  run(signal: AbortSignal, hard?: AbortSignal): Promise<void>
  health(): RelayHealth
}

/**
 * A relay for the given sinks. Opens nothing before `run`.
 * @throws PostriderError `invalid_options` with every problem at once.
 */
export function createRelay(options: RelayOptions): Relay {
  return new RunningRelay(settingsOf(options))
}

/** How long one statement of the start may take. */
const openTimeoutMs = 15 * 60_000
/** After a hard stop, results are settled for this long. */
const giveUpMs = 5_000

class RunningRelay implements Relay {
  readonly id: string = randomUUID()
  readonly #settings: Settings
  readonly #database: Database
  readonly #leaseDatabase: Database
  readonly #routes: Routes
  readonly #lanes: Lanes
  readonly #wake: Wake
  /** Rung when there is a new operation. */
  readonly #operations = new Bell()
  #hard = false
  #drainTimer: NodeJS.Timeout | undefined
  readonly #giveUp = new AbortController()
  #stopping = false
  #lastTickAt = new Date()
  #lastOkAt: Date | null = null
  #databaseError: string | null = null

  constructor(settings: Settings) {
    this.#settings = settings
    const { connectionString, schema, name, connections, leaseMs } = settings
    const server = new ServerLife()
    this.#database = openDatabase(connectionString, schema, name, connections, undefined, server)
    // A beat that takes half a lease has failed: there must be time for another.
    this.#leaseDatabase = openDatabase(connectionString, schema, `${name} leases`, 2, Math.max(1_000, leaseMs / 2), server)
    this.#routes = new Routes(settings.sinks, () => this.#lanes.bell.ring())
    const lanes = new Lanes(
      {
        relay: this.id,
        settings,
        solo: new Solo(),
        database: this.#database,
        leaseDatabase: this.#leaseDatabase,
        giveUp: this.#giveUp.signal,
        untilDone: (signal, work) => this.#untilDone(signal, work),
        open: (signal) => this.#open(signal, true),
      },
      this.#routes,
      { claimed: () => this.#wake.ring(), operations: () => this.#operations.ring() },
    )
    this.#lanes = lanes
    this.#wake = new Wake(settings, this.id, {
      news: (buckets, snapshot) => lanes.wake(buckets, snapshot),
      hint: (bucket) => lanes.hint(bucket),
      due: () => lanes.lookAtTrouble(null),
      lanes: () => lanes.bell.ring(),
      operations: () => this.#operations.ring(),
    })
  }

  async run(signal: AbortSignal, hard?: AbortSignal): Promise<void> {
    const stop = new AbortController()
    const stopSoft = (): void => {
      stop.abort()
      this.#stop()
    }
    const stopHard = (): void => {
      stopSoft()
      this.#stopHard()
    }
    signal.addEventListener('abort', stopSoft)
    hard?.addEventListener('abort', stopHard)
    if (signal.aborted) stopSoft()
    if (hard?.aborted === true) stopHard()
    try {
      await this.#open(stop.signal, false)
      publish('postrider:relay', { relay: this.id, state: 'started' })
      const watching = this.#wake.run(stop.signal)
      const keeping = this.#lanes.keep(stop.signal)
      const serving = this.#serve(stop.signal)
      await Promise.race([keeping, aborted(stop.signal)])
      // After the last beat and before the lanes are free, so that the others count them as theirs and take each at once.
      await within(2_000, keeping)
      await within(2_000, signOff(this.#leaseDatabase, this.id))
      await Promise.race([this.#lanes.drained(), aborted(this.#giveUp.signal)])
      await within(2_000, Promise.all([watching, serving]))
    } finally {
      signal.removeEventListener('abort', stopSoft)
      hard?.removeEventListener('abort', stopHard)
      stopHard()
      clearTimeout(this.#drainTimer)
      await this.#routes.close()
      await Promise.all([this.#database.close(), this.#leaseDatabase.close()])
      publish('postrider:relay', { relay: this.id, state: 'stopped' })
    }
  }

  health(): RelayHealth {
    return {
      ready: this.#lastOkAt !== null && this.#databaseError === null && !this.#stopping,
      database: {
        up: this.#lastOkAt !== null && this.#databaseError === null,
        lastOkAt: this.#lastOkAt,
        error: this.#databaseError,
      },
      listener: this.#wake.state,
      lastTickAt: this.#lastTickAt,
      lanes: this.#lanes.held.map(({ sink, number }) => ({ sink, lane: number })),
      stopping: this.#stopping,
    }
  }

  /**
   * Makes sure of the database and of the sinks in it. In one that was restored this may take longer than any other statement.
   * @param again while it runs: then tables that are not there are waited for, because a restore brings them back
   */
  async #open(stop: AbortSignal, again: boolean): Promise<void> {
    const { connectionString, schema, name, onRestore, sinks } = this.#settings
    const patient = openDatabase(connectionString, schema, `${name} start`, 1, openTimeoutMs)
    try {
      await this.#untilDone(stop, () =>
        checkDatabase(patient, onRestore).catch((error: unknown) => {
          if (!again || !isPostriderError(error) || error.code !== 'schema_missing') throw error
          throw new PostriderError('database_unavailable', error.message, {}, { cause: error })
        }),
      )
      for (const sink of sinks) await this.#untilDone(stop, () => this.#routes.put(patient, sink))
    } finally {
      await patient.close()
    }
  }

  /** What is done for the whole cluster, by whichever relay comes first: operations and chores. */
  async #serve(stop: AbortSignal): Promise<void> {
    const database = this.#database
    const untilDone = this.#untilDone.bind(this)
    const bell = this.#operations
    await Promise.all([
      runOperations({ database, untilDone, bell }, stop),
      runChores({ relay: this.id, database, everyMs: this.#settings.choreMs }, stop),
    ]).catch((error: unknown) => publish('postrider:fault', { error }))
  }

  /** Nothing new is begun; what is in flight has `drainMs` to end. */
  #stop(): void {
    if (this.#stopping) return
    this.#stopping = true
    publish('postrider:relay', { relay: this.id, state: 'stopping' })
    this.#lanes.release()
    this.#drainTimer = setTimeout(() => this.#stopHard(), this.#settings.drainMs)
  }

  /** Ends attempts in flight; what has ended by then may still be settled for a while. */
  #stopHard(): void {
    if (this.#hard) return
    this.#hard = true
    this.#lanes.end()
    setTimeout(() => this.#giveUp.abort(), giveUpMs).unref()
  }

  /** Does something with the database, as long as it takes, and remembers how the database is. */
  #untilDone<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    return untilDone(
      signal,
      async () => {
        this.#lastTickAt = new Date()
        const result = await work()
        if (this.#databaseError !== null || this.#lastOkAt === null) publish('postrider:database', { up: true, error: null })
        this.#databaseError = null
        this.#lastOkAt = new Date()
        return result
      },
      (error) => {
        const meaning = meaningOf(error)
        if (meaning === 'fault') publish('postrider:fault', { error })
        if (meaning !== 'away') return
        const reason = error instanceof Error ? error.message : String(error)
        if (this.#databaseError === null) publish('postrider:database', { up: false, error: reason })
        this.#databaseError = reason
      },
    )
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Bell().wait(Infinity, signal)
}
