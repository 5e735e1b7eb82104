import { randomUUID } from 'node:crypto'
import { isPostriderError } from '@postrider/schema'
import { publish } from './channels.ts'
import { claimPage, type Page } from './claim.ts'
import { openDatabase, type Database } from './database.ts'
import { deliver, type Carriage } from './deliver.ts'
import type { Carried, Lane, Route } from './lane.ts'
import { beat, claimLanes, laneName, pruneCheckpoints, releaseLane, shareOf, signOff } from './leases.ts'
import { settingsOf, type RelayOptions, type Settings } from './options.ts'
import { untilDone } from './retry.ts'
import { settle, settlementOf } from './settle.ts'
import { checkDatabase, openRoute } from './start.ts'
import { claimTrouble, knownTrouble, type Trouble } from './trouble.ts'
import { version } from './version.ts'
import { Bell, waitFor } from './wait.ts'
import { Wake } from './wake.ts'

/** How a relay is, without asking anything. */
export interface RelayHealth {
  /** It carries, or waits for something to carry. */
  readonly ready: boolean
  readonly database: { readonly up: boolean; readonly lastOkAt: Date | null; readonly error: string | null }
  /** `polling`: notifications do not arrive, the relay looks every `pollMs`. */
  readonly listener: 'listening' | 'polling'
  /** The heartbeat loop ran last, also when the database was away. */
  readonly lastTickAt: Date
  readonly lanes: readonly { readonly sink: string; readonly lane: number }[]
  readonly stopping: boolean
}

export interface Relay {
  /** UUID of this run, as in `postrider.relays` and `attempts`. */
  readonly id: string
  /**
   * Carries events until `signal` aborts; resolves when everything in hand is settled and the lanes are given back.
   * `hard` aborts deliveries in flight too; what was interrupted does not count as an attempt.
   * Also ends the sinks. Call it once.
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
  readonly #lanes = new Map<string, { readonly lane: Lane; readonly carrying: Promise<void> }>()
  readonly #wake: Wake
  /** Rung when leases should be looked at before their time. */
  readonly #leaseBell = new Bell()
  readonly #hard = new AbortController()
  /** A while after `#hard`: not even results are settled any more. */
  readonly #giveUp = new AbortController()
  #stopping = false
  #lastTickAt = new Date()
  #lastOkAt: Date | null = null
  #databaseError: string | null = null

  constructor(settings: Settings) {
    this.#settings = settings
    this.#database = openDatabase(settings.connectionString, settings.schema, settings.name, settings.connections)
    this.#wake = new Wake(settings, this.id, {
      news: (buckets) => this.#wakeLanes(buckets),
      due: () => this.#lookAtTrouble(null),
      lanes: () => this.#leaseBell.ring(),
    })
  }

  async run(signal: AbortSignal, hard?: AbortSignal): Promise<void> {
    const harder = (): void => this.#stopHard()
    hard?.addEventListener('abort', harder)
    const stop = AbortSignal.any([signal, this.#hard.signal])
    try {
      await this.#open(stop)
      publish('postrider:relay', { relay: this.id, state: 'started' })
      const watching = this.#wake.run(stop)
      await this.#keepLanes(stop)
      this.#stopping = true
      publish('postrider:relay', { relay: this.id, state: 'stopping' })
      await this.#drain()
      await watching
    } finally {
      hard?.removeEventListener('abort', harder)
      this.#stopHard()
      for (const { sink } of this.#settings.sinks) await sink[Symbol.asyncDispose]()
      await this.#database.close()
      publish('postrider:relay', { relay: this.id, state: 'stopped' })
    }
  }

  health(): RelayHealth {
    return {
      ready: this.#lastOkAt !== null && this.#databaseError === null && !this.#stopping,
      database: { up: this.#databaseError === null && this.#lastOkAt !== null, lastOkAt: this.#lastOkAt, error: this.#databaseError },
      listener: this.#wake.state,
      lastTickAt: this.#lastTickAt,
      lanes: [...this.#lanes.values()].map(({ lane }) => ({ sink: lane.sink, lane: lane.number })),
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

  /** The road of a lane, until it is given back or lost: claim, deliver, settle. */
  async #carry(lane: Lane): Promise<void> {
    const { slots } = lane.route
    const nothing: Carriage = { finished: [], parked: [], blocked: [], unstarted: [] }
    while (!lane.released.aborted) {
      await slots.vacancy(lane.released)
      lane.bell.hush()
      const claimed = await this.#claim(lane)
      if (claimed === undefined) break
      const { page, trouble, known } = claimed
      const fresh = page.events.filter((carried) => !lane.ahead.has(carried.position) && !known.positions.has(carried.event.position))
      const troubledKeys = new Set([...known.keys, ...trouble.due.flatMap(({ event }) => event.key ?? [])])
      const behind = lane.route.ordering === 'key' ? fresh.filter(({ event }) => event.key !== null && troubledKeys.has(event.key)) : []
      const free = behind.length === 0 ? fresh : fresh.filter((carried) => !behind.includes(carried))

      const inHand = [...trouble.due, ...free]
      const carriage = inHand.length === 0 ? nothing : await deliver(lane, this.id, inHand, this.#settings, this.#hard.signal)
      await this.#settle(lane, page, { ...carriage, blocked: [...carriage.blocked, ...behind] }, trouble.overtaken)

      if (!lane.held) await waitFor(null, 50, lane.released)
      else if (!page.more && carriage.unstarted.length === 0) await lane.rest()
    }
    await this.#finish(lane)
  }

  /** What a lane has to do next: trouble that is due, and a page of the log. */
  #claim(lane: Lane): Promise<{ page: Page; trouble: Trouble; known: Awaited<ReturnType<typeof knownTrouble>> } | undefined> {
    const none = { keys: new Set<string>(), positions: new Set<string>() }
    return this.#untilDone(lane.released, async () => {
      const { pageSize } = this.#settings
      const trouble = lane.dueAt <= performance.now() ? await claimTrouble(this.#database, lane, pageSize) : { due: [], overtaken: [] }
      const page = await claimPage(this.#database, lane, pageSize)
      const known = page.troubled && page.events.length > 0 ? await knownTrouble(this.#database, lane, page.events) : none
      if (page.events.length + trouble.due.length > 0) {
        publish('postrider:claimed', { sink: lane.sink, lane: lane.number, events: page.events.length, trouble: trouble.due.length })
      }
      return { page, trouble, known }
    })
  }

  /** Settles what was carried, however long the database is away; a lane with a stale fence is lost. */
  async #settle(lane: Lane, page: Page | null, carriage: Carriage, overtaken: readonly Carried[], closing = false): Promise<void> {
    const parkedNow = new Set(carriage.parked.map(({ position }) => position))
    const late = lane.late.filter(({ carried }) => !parkedNow.has(carried.position))
    lane.late = lane.late.filter(({ carried }) => parkedNow.has(carried.position))
    if (lane.late.length > 0) lane.bell.ring()

    const settlement = settlementOf(lane, page, carriage, overtaken, late, closing || lane.released.aborted)
    const { results, rows, keys, gone } = settlement
    if (results.length + rows.length + keys.length + gone.length === 0 && !this.#worthStoring(lane, page, settlement.ahead)) {
      lane.cursor = settlement.cursor
      return
    }
    try {
      const settled = await this.#untilDone(this.#giveUp.signal, () => settle(this.#database, this.id, lane, settlement))
      if (settled === undefined) this.#lose(lane)
    } catch (error) {
      if (!isPostriderError(error)) throw error
      this.#lose(lane)
    }
    if (lane.fence % 100n === 0n) await this.#untilDone(lane.released, () => pruneCheckpoints(this.#database, lane))
  }

  /** An empty page moves the cursor in memory; it is written now and then, so that the next owner has less to skip. */
  #worthStoring(lane: Lane, page: Page | null, ahead: readonly bigint[]): boolean {
    if (page === null) return false
    if (page.events.length > 0 || ahead.length > 0) return true
    // A window that is opened later starts from what is stored, so the end of one is never left unwritten.
    if (page.after.target !== lane.stored.target) return true
    return page.after.done !== lane.stored.done && performance.now() - lane.storedAt > this.#settings.leaseMs
  }

  /** Waits for what is still in flight, settles it, and gives the lane back. */
  async #finish(lane: Lane): Promise<void> {
    const nothing: Carriage = { finished: [], parked: [], blocked: [], unstarted: [] }
    const until = performance.now() + this.#settings.drainMs
    while (!lane.lost && (lane.parked.size > 0 || lane.late.length > 0)) {
      lane.bell.hush()
      if (lane.late.length > 0) await this.#settle(lane, null, nothing, [], true)
      if (lane.parked.size === 0 && lane.late.length === 0) break
      if (this.#hard.signal.aborted || performance.now() >= until) break
      await lane.bell.wait(until - performance.now(), this.#hard.signal)
    }
    if (lane.lost) return
    await this.#untilDone(AbortSignal.timeout(5_000), () => releaseLane(this.#database, this.id, lane.sink, lane.number))
    this.#lanes.delete(laneName(lane.sink, lane.number))
  }

  /** Keeps the leases of our lanes, takes our share of the free ones, and gives back what is above it. */
  async #keepLanes(stop: AbortSignal): Promise<void> {
    const { leaseMs, name } = this.#settings
    while (!stop.aborted) {
      this.#leaseBell.hush()
      const sleepMs = await this.#untilDone(stop, async () => {
        const asked = performance.now()
        const now = await beat(this.#database, this.id, name, version, leaseMs)
        const mine = new Set(now.mine.map(({ sink, lane }) => laneName(sink, lane)))
        for (const [key, { lane }] of this.#lanes) {
          if (mine.has(key)) lane.leasedUntil = asked + leaseMs
          else this.#lose(lane)
        }
        for (const { sink, lane } of now.mine) {
          // Ours by name, but nobody here carries it any more.
          if (!this.#lanes.has(laneName(sink, lane))) await releaseLane(this.#database, this.id, sink, lane)
        }
        this.#lookAtTrouble(now.due)
        for (const [index, route] of this.#routes.entries()) {
          const share = shareOf(route.laneCount, now.relays, now.rank, index)
          const held = [...this.#lanes.values()].filter(({ lane }) => lane.route === route)
          for (const { lane } of held.slice(share)) lane.release()
          if (held.length < share) {
            for (const lane of await claimLanes(this.#database, this.id, route, share - held.length, leaseMs)) this.#begin(lane)
          }
        }
        return Math.min(leaseMs / 5, (now.nextExpiryMs ?? Infinity) + 10)
      })
      await this.#leaseBell.wait(sleepMs ?? 0, stop)
    }
  }

  #begin(lane: Lane): void {
    const carrying = this.#carry(lane).catch((error: unknown) => {
      // A fault of our own: this lane's memory is not to be trusted any more, its rows and its cursor are.
      publish('postrider:fault', { error })
      this.#lose(lane)
    })
    this.#lanes.set(laneName(lane.sink, lane.number), { lane, carrying })
  }

  #lose(lane: Lane): void {
    const key = laneName(lane.sink, lane.number)
    if (this.#lanes.get(key)?.lane === lane) this.#lanes.delete(key)
    if (lane.lost) return
    lane.lose()
    publish('postrider:lane', { sink: lane.sink, lane: lane.number, relay: this.id, change: 'lost' })
  }

  async #drain(): Promise<void> {
    const carrying = [...this.#lanes.values()]
    for (const { lane } of carrying) lane.release()
    const timer = setTimeout(() => this.#stopHard(), this.#settings.drainMs)
    try {
      await Promise.all(carrying.map((one) => one.carrying))
    } finally {
      clearTimeout(timer)
    }
    await this.#untilDone(AbortSignal.timeout(5_000), () => signOff(this.#database, this.id))
  }

  #wakeLanes(buckets: readonly number[] | null): boolean {
    let woken = 0
    for (const { lane } of this.#lanes.values()) {
      const { first, last } = lane.buckets
      if (buckets !== null && !buckets.some((bucket) => bucket >= first && bucket <= last)) continue
      lane.bell.ring()
      woken++
    }
    const wanted = this.#routes.reduce((sum, { laneCount }) => sum + (buckets === null ? laneCount : lanesOf(buckets, laneCount)), 0)
    return woken < wanted
  }

  #lookAtTrouble(due: ReadonlySet<string> | null): void {
    for (const [key, { lane }] of this.#lanes) {
      if (due !== null && !due.has(key)) continue
      lane.dueAt = 0
      lane.bell.ring()
    }
  }

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
      (reason) => {
        if (this.#databaseError === null) publish('postrider:database', { up: false, error: reason })
        this.#databaseError = reason
      },
    )
  }
}

function lanesOf(buckets: readonly number[], laneCount: number): number {
  return new Set(buckets.map((bucket) => Math.floor((bucket * laneCount) / 256))).size
}
