import { sql } from 'kysely'
import { publish } from './channels.ts'
import { Circuit, type CircuitRow } from './circuit.ts'
import type { Database } from './database.ts'
import type { Route } from './lane.ts'
import { isFamily, type SinkSettings } from './options.ts'
import { meaningOf } from './retry.ts'
import type { Endpoint, Sink, SinkFamily } from './sink.ts'
import { Slots } from './slots.ts'

/** How a sink is to be carried now, as the database has it. */
export interface SinkState {
  readonly name: string
  readonly state: 'pending' | 'active' | 'paused' | 'disabled' | 'gone'
  /** A pause ends by itself after this time. */
  readonly resumes_in_ms: number | null
  readonly concurrency: number
  /** Null without a limit. */
  readonly per_second: number | null
  readonly quiet_ms: number | null
  readonly circuit: CircuitRow | null
  /** There are cutovers of it. */
  readonly cut_over: boolean
}

/** States in which an endpoint may be carried again at any moment. */
const open: ReadonlySet<SinkState['state']> = new Set(['active', 'paused'])

interface Opened {
  readonly route: Route
  /** The row that it was opened from, as text. */
  readonly from: string
}

/**
 * The sinks that this relay carries: those of its configuration, and the endpoints of those that fan out, which come,
 * change and go while it runs.
 */
export class Routes {
  readonly #settings: readonly SinkSettings[]
  readonly #changed: () => void
  readonly #configured: Route[] = []
  readonly #endpoints = new Map<string, Opened>()
  /** Rows that cannot be used. */
  readonly #refused = new Map<string, string>()
  #loaded: string | null = null
  /** Sinks that are no longer used, but may have something in flight. */
  readonly #retired = new Set<Sink>()

  /** @param changed something is to be saved, or looked at, with the next beat */
  constructor(settings: readonly SinkSettings[], changed: () => void) {
    this.#settings = settings
    this.#changed = changed
  }

  get all(): readonly Route[] {
    return this.#endpoints.size === 0
      ? this.#configured
      : [...this.#configured, ...[...this.#endpoints.values()].map(({ route }) => route)]
  }

  /** Names of the sinks of the configuration. */
  get names(): readonly string[] {
    return this.#settings.map(({ name }) => name)
  }

  /** Writes a sink of the configuration into the database, or finds it there. */
  async put({ db, schema }: Database, settings: SinkSettings): Promise<void> {
    const { name, sink, lanes, types, ordering, onDead, audit, startFrom, concurrency, rate } = settings
    const { rows } = await sql<Stored>`
      select stored.lanes, stored.filter as type_filter, stored.tenant
      from ${schema}.put_sink(
        ${name}, ${sink.kind}, ${lanes}::smallint, ${types}::text[], ${ordering}, ${onDead}, ${audit}, ${startFrom},
        ${concurrency}, ${rate}::real, ${isFamily(sink)}
      ) as stored`.execute(db)
    const stored = rows[0]
    if (stored === undefined) throw new TypeError('put_sink answered nothing')
    if (isFamily(sink) || this.#configured.some((route) => route.name === name)) return
    this.#configured.push(this.#routeOf(settings, sink, name, null, stored))
  }

  /** Opens, changes and closes endpoints as their rows say; `version` tells whether there is anything new. */
  async loadEndpoints(database: Database, version: string): Promise<void> {
    if (version === this.#loaded) return
    const families = this.#settings.flatMap((settings) => (isFamily(settings.sink) ? [{ settings, family: settings.sink }] : []))
    if (families.length === 0) return
    const rows = await endpointsOf(
      database,
      families.map(({ settings }) => settings.name),
    )
    const there = new Set<string>()
    for (const row of rows) {
      const found = families.find(({ settings }) => settings.name === row.family)
      if (found === undefined || !open.has(row.state)) continue
      there.add(row.name)
      this.#openEndpoint(found.settings, found.family, row)
    }
    for (const [name, { route }] of this.#endpoints) {
      if (there.has(name)) continue
      this.#endpoints.delete(name)
      this.#retire(route.sink)
    }
    for (const name of this.#refused.keys()) if (!there.has(name)) this.#refused.delete(name)
    this.#loaded = version
  }

  /** Whether a sink of the configuration is not there any more: it was removed just as this relay came. */
  isMissing(states: readonly SinkState[]): boolean {
    return this.#configured.some(({ name }) => !states.some((state) => state.name === name))
  }

  /** Goes by what the database says about each sink. */
  apply(states: readonly SinkState[]): void {
    const byName = new Map(states.map((state) => [state.name, state]))
    for (const route of this.all) {
      const { name, slots, circuit } = route
      const state = byName.get(name)
      if (state === undefined) continue
      route.cutOver = state.cut_over
      slots.limit(state.concurrency, state.per_second ?? Infinity)
      if (state.state === 'active') slots.reopen('state')
      else slots.shut('state')
      const quietMs = state.quiet_ms ?? 0
      if (quietMs > 0) slots.quiet(quietMs)
      // Half a second less is not written.
      else if (slots.quietMs > 1_000 && !circuit.unsaved) slots.endQuiet()
      circuit.apply(state.circuit)
    }
  }

  /** Writes what this relay has learnt about destinations. What cannot be written keeps no lease from being renewed. */
  async save(database: Database, relay: string): Promise<void> {
    for (const { circuit } of this.all) {
      try {
        if (circuit.unsaved) await circuit.save(database, relay)
      } catch (error) {
        const meaning = meaningOf(error)
        if (meaning === 'fault') publish('postrider:fault', { error })
        // Somebody else has it locked, or nothing can be written now: the leases must not wait for each of them in turn.
        else break
      }
    }
  }

  /** Closes every sink. */
  async close(): Promise<void> {
    const families = this.#settings.map(({ sink }) => sink)
    const endpoints = [...this.#endpoints.values()].map(({ route }) => route.sink)
    const all = new Set<AsyncDisposable>([...endpoints, ...this.#retired, ...families])
    await Promise.allSettled([...all].map(async (sink) => await sink[Symbol.asyncDispose]()))
  }

  #openEndpoint(settings: SinkSettings, family: SinkFamily, row: EndpointRow): void {
    const from = JSON.stringify([row.settings, row.type_filter, row.tenant])
    const known = this.#endpoints.get(row.name)
    if (known?.from === from || this.#refused.get(row.name) === from) return
    let sink: Sink
    try {
      sink = family.open({ name: row.name, settings: row.settings })
    } catch (error) {
      // As it is described now it cannot be carried; as it was before, it must not be.
      this.#refused.set(row.name, from)
      if (known !== undefined) {
        this.#endpoints.delete(row.name)
        this.#retire(known.route.sink)
      }
      publish('postrider:endpoint', { sink: row.name, error })
      return
    }
    this.#refused.delete(row.name)
    if (known === undefined) {
      this.#endpoints.set(row.name, { route: this.#routeOf(settings, sink, row.name, settings.name, row), from })
      return
    }
    const { route } = known
    this.#retire(route.sink)
    route.sink = sink
    route.typeFilter = row.type_filter
    route.tenant = row.tenant
    this.#endpoints.set(row.name, { route, from })
  }

  #routeOf(settings: SinkSettings, sink: Sink, name: string, family: string | null, stored: Stored): Route {
    const slots = new Slots(settings.concurrency, settings.rate ?? Infinity)
    const { types: _types, ...rest } = settings
    return {
      ...rest,
      name,
      sink,
      family,
      slots,
      circuit: new Circuit(name, slots, settings.circuit, this.#changed),
      laneCount: stored.lanes,
      typeFilter: stored.type_filter,
      tenant: stored.tenant,
      cutOver: true, // until somebody knows better
    }
  }

  /** What is in flight ends first. */
  #retire(sink: Sink): void {
    this.#retired.add(sink)
    setTimeout(() => {
      void Promise.allSettled([sink[Symbol.asyncDispose]()]).then(() => this.#retired.delete(sink))
    }, sink.deadlineMs).unref()
  }
}

interface Stored {
  readonly lanes: number
  readonly type_filter: string | null
  readonly tenant: string | null
}

interface EndpointRow extends Stored {
  readonly name: string
  readonly family: string
  readonly state: SinkState['state']
  readonly settings: Endpoint['settings']
}

async function endpointsOf({ db, schema }: Database, families: readonly string[]): Promise<EndpointRow[]> {
  const { rows } = await sql<EndpointRow>`
    select s.name, s.family, s.state, s.lanes, s.filter as type_filter, s.tenant, to_jsonb(e) as settings
    from ${schema}.sinks as s join ${schema}.endpoints as e on e.sink = s.name
    where s.family = any(${families}::text[])`.execute(db)
  return rows
}
