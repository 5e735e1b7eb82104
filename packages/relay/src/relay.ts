import { randomUUID } from 'node:crypto'
import { publish } from './channels.ts'
import { openDatabase, type Database } from './database.ts'
import type { Route } from './lane.ts'
import { Lanes } from './lanes.ts'
import { signOff } from './leases.ts'
import { settingsOf, type RelayOptions, type Settings } from './options.ts'
import { meaningOf, untilDone } from './retry.ts'
import { checkDatabase, openRoute } from './start.ts'
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

class RunningRelay implements Relay {
  readonly id: string = randomUUID()
  readonly #settings: Settings
  readonly #database: Database
  readonly #routes: Route[] = []
  readonly #lanes: Lanes
  readonly #wake: Wake
  readonly #hard = new AbortController()
  readonly #giveUp = new AbortController()
  #stopping = false
  #lastTickAt = new Date()
  #lastOkAt: Date | null = null
  #databaseError: string | null = null

  constructor(settings: Settings) {
    this.#settings = settings
    this.#database = openDatabase(settings.connectionString, settings.schema, settings.name, settings.connections)
    const lanes = new Lanes(
      {
        relay: this.id,
        settings,
        database: this.#database,
        hard: this.#hard.signal,
        giveUp: this.#giveUp.signal,
        untilDone: (signal, work) => this.#untilDone(signal, work),
      },
      this.#routes,
    )
    this.#lanes = lanes
    this.#wake = new Wake(settings, this.id, {
      news: (buckets) => lanes.wake(buckets),
      due: () => lanes.lookAtTrouble(null),
      lanes: () => lanes.bell.ring(),
    })
  }

  async run(signal: AbortSignal, hard?: AbortSignal): Promise<void> {
    const stopHard = (): void => this.#stopHard()
    hard?.addEventListener('abort', stopHard)
    const stop = AbortSignal.any([signal, this.#hard.signal])
    try {
      await this.#open(stop)
      publish('postrider:relay', { relay: this.id, state: 'started' })
      const watching = this.#wake.run(stop)
      await this.#lanes.keep(stop)
      await this.#drain()
      await watching
    } finally {
      hard?.removeEventListener('abort', stopHard)
      this.#stopHard()
      for (const { sink } of this.#settings.sinks) await sink[Symbol.asyncDispose]()
      await this.#database.close()
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

  async #open(stop: AbortSignal): Promise<void> {
    await this.#untilDone(stop, () => checkDatabase(this.#database))
    for (const sink of this.#settings.sinks) {
      const route = await this.#untilDone(stop, () => openRoute(this.#database, sink))
      if (route !== undefined) this.#routes.push(route)
    }
  }

  async #drain(): Promise<void> {
    this.#stopping = true
    publish('postrider:relay', { relay: this.id, state: 'stopping' })
    const timer = setTimeout(() => this.#stopHard(), this.#settings.drainMs)
    try {
      // First, so that the others count our lanes as theirs, and take each as soon as it is free.
      await this.#untilDone(AbortSignal.timeout(2_000), () => signOff(this.#database, this.id))
      await this.#lanes.drain()
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends attempts in flight; what has ended by then may still be settled for a while. */
  #stopHard(): void {
    if (this.#hard.signal.aborted) return
    this.#hard.abort()
    setTimeout(() => this.#giveUp.abort(), 5_000).unref()
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
