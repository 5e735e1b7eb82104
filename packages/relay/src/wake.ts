import pg from 'pg'
import { publish } from './channels.ts'
import { partsOf } from './cursor.ts'
import { connectionConfig, planSettings } from './database.ts'
import { openListener, type Listener } from './listener.ts'
import type { Settings } from './options.ts'
import { Pause } from './pause.ts'
import { Bell, waitFor, within } from './wait.ts'

/** Who is woken, and by what. */
export interface Sleepers {
  /**
   * There are new events in these buckets (null: in any), which this snapshot shows (null: nobody knows). Answers whether some of
   * them are another relay's.
   */
  news(buckets: readonly number[] | null, snapshot: string | null): boolean
  /** An event of this bucket was committed: there is no need to wait for the look that follows. */
  hint(bucket: number): void
  /** An operator has changed deliveries. */
  due(): void
  /** Lanes have become free, or a sink is steered in another way. */
  lanes(): void
  /** There is a new operation, or one was cancelled. */
  operations(): void
}

/** After news, look once more this soon before falling asleep: under load nobody sleeps, and nobody notifies. */
const lingerMs = 2
/** A look waits so long for the read of a lane that knows already. */
const hintedMs = 1
/** While a producer's transaction keeps the gate open, look this often: the first delay and the last. */
const openGateMs = { first: 1, last: 50 }
const probeEveryMs = 15_000
/** A session that lasted this long is followed by another at once. */
const livedMs = 10_000
/** When listening fails, the relay polls, and tries again after this time. */
const listenAgainMs = 5_000
const probeTimeoutMs = 5_000
/** Events that one look counts before it says "everywhere". */
const lookLimit = 256
/** A relay, which is named behind it, has found news for lanes of others. */
const nudge = 'news:'
/** What `emit` notifies when it has written one event. */
const bucketPattern = /^\d{1,3}$/

/**
 * When to look again.
 *
 * NOTIFY takes a lock of the whole cluster at commit, so producers must not pay for it while a relay is awake.
 * The gate: a relay that falls asleep takes an advisory lock exclusively (tries, never waits), looks once more, and sleeps.
 * A producer's `emit` tries the same lock shared, until the end of its transaction, and notifies only when that fails,
 * which is when a relay sleeps. A transaction that had the lock before keeps the relay from falling asleep: it looks
 * at short intervals until that commits. So no commit falls between a last look and a sleep.
 *
 * The notification of a single event names its bucket, so its lane reads while the look is on its way; what the lane has seen by
 * then, the look tells nobody again.
 *
 * Of several relays one holds the gate; all of them hear the notification. A relay that finds news for lanes of others
 * tells them. And everything here may fail: the poll is the floor.
 */
export class Wake {
  readonly #settings: Settings
  readonly #relay: string
  readonly #sleepers: Sleepers
  readonly #bell = new Bell()
  #seen: string | null = null
  readonly #pause = new Pause()
  #listener: Listener | null = null
  /** The channel has proven that it delivers, by a probe of our own that came back. */
  #proven = false
  #listenAt = -Infinity
  #probeSentAt: number | null = null
  #probeBackAt = -Infinity
  #nudgedAt = -Infinity
  /** Between a look with news and the next one. */
  #isAwake = false
  /** Lanes were told of single events since the last look. */
  #hinted = false
  #told: 'listening' | 'polling' | null = null

  constructor(settings: Settings, relay: string, sleepers: Sleepers) {
    this.#settings = settings
    this.#relay = relay
    this.#sleepers = sleepers
  }

  get state(): 'listening' | 'polling' {
    return this.#proven ? 'listening' : 'polling'
  }

  /** Looks now: a relay that held the gate may have died. */
  ring(): void {
    this.#bell.ring()
  }

  /** Wakes lanes until the signal aborts; reconnects for as long as it takes. */
  async run(signal: AbortSignal): Promise<void> {
    for (let delay = 100; !signal.aborted; delay = Math.min(delay * 2, 5_000)) {
      const began = performance.now()
      try {
        await this.#watch(signal)
      } catch (error) {
        await this.#dropListener(error instanceof Error ? error.message : String(error))
      }
      if (signal.aborted) break
      if (performance.now() - began > livedMs) delay = 100
      // Something may have been missed: whatever lanes can still read, they read.
      this.#sleepers.news(null, null)
      await waitFor(Math.min(delay, this.#settings.pollMs), signal)
    }
    await this.#dropListener('the relay stops')
  }

  /** One database session: look, linger, close the gate, look, sleep. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { connectionString, directConnectionString, name, pollMs } = this.#settings
    const direct = directConnectionString !== false
    const config = connectionConfig(direct ? directConnectionString : connectionString, `${name} wake`)
    const session = await openSession({ ...config, query_timeout: 6_000 }, () => this.#bell.ring())
    let gate: Gate = 'open'
    try {
      this.#seen = null
      let openFor: number = openGateMs.first
      while (!signal.aborted) {
        if (session.error !== null) throw session.error
        if (direct) await this.#probe(session.client)
        const rung = this.#bell.rung
        this.#bell.hush()
        // The lane reads already: the look would only take its time from it.
        if (this.#hinted) await waitFor(hintedMs, signal)
        this.#hinted = false
        const news = await this.#look(session.client, gate === 'ours' && rung)
        const slept = gate === 'ours' && rung
        if (slept) gate = 'open'
        if (news) {
          if (gate !== 'open' && !rung) publish('postrider:wake', { source: 'poll', news })
          openFor = openGateMs.first
          // Whoever could sleep before has no news in quick succession.
          this.#isAwake = true
          await this.#bell.wait(slept ? lingerMs : Math.max(lingerMs, this.#pause.after()), signal)
          this.#isAwake = false
          continue
        }
        if (!this.#proven) {
          await this.#bell.wait(pollMs, signal)
          continue
        }
        if (gate !== 'ours') {
          gate = await closeGate(session.client, this.#settings.schema)
          if (gate === 'open') {
            await this.#bell.wait(openFor, signal)
            openFor = Math.min(openFor * 2, openGateMs.last)
            continue
          }
          // Between the last look and the gate something may have been committed.
          if (await this.#look(session.client, false)) continue
        }
        await this.#bell.wait(pollMs, signal)
        publish('postrider:wake', { source: this.#bell.rung ? 'notify' : 'poll', news: false })
      }
    } finally {
      // The others sleep because the gate is closed: whoever leaves it open has to tell them.
      if (gate === 'ours' && session.error === null) await openGate(session.client, this.#settings.schema).catch(() => undefined)
      await session.close()
    }
  }

  /** Looks for events that became visible since the last look, and wakes their lanes. */
  async #look(client: pg.Client, openGate: boolean): Promise<boolean> {
    const { schema } = this.#settings
    const seen = this.#seen
    const { xmax, xip } = seen === null ? { xmax: null, xip: [] } : partsOf(seen)
    const older = `union all
          (select e.bucket from ${schema}.events as e where e.xid = any($3::xid8[]) limit ${lookLimit})`
    const began = performance.now()
    // A null xmax finds nothing: the first look only takes the snapshot.
    const { rows } = await client.query<{ snapshot: string; buckets: number[]; found: number }>({
      name: xip.length === 0 ? 'look' : 'look-older',
      text: `select pg_current_snapshot()::text as snapshot, count(fresh.bucket)::int as found,
          coalesce(array_agg(distinct fresh.bucket) filter (where fresh.bucket is not null), '{}') as buckets,
          case when $2 then ${schema}.open_gate() end
        from (select 1) as one left join lateral (
          (select e.bucket from ${schema}.events as e where e.xid >= $1::xid8 and e.xid < pg_snapshot_xmax(pg_current_snapshot()) order by e.xid, e.position limit ${lookLimit})
          ${xip.length === 0 ? '' : older}
        ) as fresh on true`,
      values: xip.length === 0 ? [xmax, openGate] : [xmax, openGate, xip],
    })
    const row = rows[0]
    if (row === undefined) throw new TypeError('a statement that always has a row had none')
    this.#pause.took(performance.now() - began, row.found)
    this.#seen = row.snapshot
    if (seen === null) {
      // A session before this one may have lost the gate without a word: the others look too.
      if (this.#sleepers.news(null, null)) await client.query(`notify ${schema}`)
      return false
    }
    if (row.found === 0) return false
    const foreign = this.#sleepers.news(row.found >= lookLimit ? null : row.buckets, row.snapshot)
    if (foreign && this.#proven && performance.now() - this.#nudgedAt > openGateMs.last) {
      this.#nudgedAt = performance.now()
      await client.query('select pg_notify($1, $2)', [schema, nudge + this.#relay])
    }
    return true
  }

  /** Makes sure, now and then, that what is sent on the channel arrives here, and that this is not a standby. */
  async #probe(client: pg.Client): Promise<void> {
    const { schema } = this.#settings
    const now = performance.now()
    if (this.#listener?.broken === true) await this.#dropListener('the listening session broke')
    if (this.#listener === null) {
      if (now < this.#listenAt) return
      this.#listenAt = now + listenAgainMs
      this.#probeSentAt = null
      const config = connectionConfig(String(this.#settings.directConnectionString), `${this.#settings.name} listen`)
      try {
        this.#listener = await openListener(
          config,
          schema,
          (payload) => this.#hear(payload),
          () => this.#bell.ring(),
        )
      } catch (error) {
        this.#tell('polling', error instanceof Error ? error.message : String(error))
        return
      }
    }
    if (this.#probeSentAt !== null && this.#probeBackAt < this.#probeSentAt) {
      if (now - this.#probeSentAt > probeTimeoutMs) await this.#dropListener('a probe of the channel did not come back')
      return
    }
    if (this.#probeSentAt === null || now - this.#probeSentAt > probeEveryMs) {
      const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')
      if (rows[0]?.standby !== false) throw new Error('the database is a standby')
      this.#probeSentAt = performance.now()
      await client.query('select pg_notify($1, $2)', [schema, `probe:${this.#relay}`])
    }
  }

  #hear(payload: string): void {
    if (payload === '') this.#bell.ring()
    else if (payload.startsWith(nudge)) {
      // Whoever is awake looks soon anyway.
      if (!this.#isAwake && payload !== nudge + this.#relay) this.#bell.ring()
    } else if (bucketPattern.test(payload)) {
      this.#sleepers.hint(Number(payload))
      this.#hinted = true
      this.#bell.ring()
    } else if (payload === 'due') this.#sleepers.due()
    else if (payload === 'lanes' || payload === 'sinks') this.#sleepers.lanes()
    else if (payload === 'operations') this.#sleepers.operations()
    else if (payload === `probe:${this.#relay}`) {
      this.#probeBackAt = performance.now()
      if (!this.#proven) {
        this.#proven = true
        this.#tell('listening', 'a probe of the channel came back')
        this.#bell.ring()
      }
    }
  }

  async #dropListener(reason: string): Promise<void> {
    const listener = this.#listener
    this.#listener = null
    // One that has worked is opened again at once.
    if (this.#proven) this.#listenAt = -Infinity
    this.#proven = false
    this.#probeSentAt = null
    if (listener !== null) await listener[Symbol.asyncDispose]()
    this.#tell('polling', reason)
  }

  #tell(state: 'listening' | 'polling', reason: string): void {
    if (this.#told === state) return
    this.#told = state
    publish('postrider:listener', { state, reason })
  }
}

/** The gate is closed by us, by another relay, or kept open by a producer's transaction. */
type Gate = 'ours' | 'theirs' | 'open'

async function closeGate(client: pg.Client, schema: string): Promise<Gate> {
  const { rows } = await client.query<{ gate: Gate }>({
    name: 'close-gate',
    text: `select ${schema}.close_gate() as gate`,
  })
  return rows[0]?.gate ?? 'open'
}

async function openGate(client: pg.Client, schema: string): Promise<void> {
  await client.query(`select ${schema}.open_gate(); notify ${schema}`)
}

interface Session {
  readonly client: pg.Client
  readonly error: Error | null
  close(): Promise<void>
}

async function openSession(config: pg.ClientConfig, onBroken: () => void): Promise<Session> {
  const client = new pg.Client(config)
  let broken: Error | null = null
  client.on('error', (error) => {
    broken = error
    onBroken()
  })
  await client.connect()
  await client.query(`set statement_timeout = 5000; ${planSettings}`)
  return {
    client,
    get error() {
      return broken
    },
    // A half-open socket may never say goodbye.
    close: () => within(1_000, client.end()),
  }
}
