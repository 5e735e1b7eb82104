import { sql, type RawBuilder } from 'kysely'
import type { Database } from '../connect.ts'

/** Which attempts, and events, are shown. */
export interface TailFilter {
  readonly sink: string | null
  readonly types: readonly string[] | null
  readonly key: string | null
  readonly outcomes: readonly string[] | null
}

export interface TailedAttempt {
  readonly kind: 'attempt'
  readonly startedAt: string
  readonly sink: string
  readonly eventId: string
  readonly position: string
  readonly type: string | null
  readonly key: string | null
  readonly attempt: number
  readonly outcome: string
  readonly status: number | null
  readonly errorCode: string | null
  readonly error: string | null
  readonly durationMs: number
  readonly relay: string | null
}

export interface TailedEvent {
  readonly kind: 'event'
  readonly createdAt: string
  readonly eventId: string
  readonly position: string
  readonly type: string
  readonly key: string | null
  readonly tenant: string | null
}

export type Tailed = TailedAttempt | TailedEvent

interface Stretch {
  readonly ended: string
  readonly at_end: boolean
}

type InStretch = Stretch & (TailedAttempt | { readonly kind: null })

/** What was seen before, up to where one looks, and how far that is done. */
interface Look {
  readonly seen: string
  readonly target: string
  lastEvent: string | null
  lastAttempt: TailedAttempt | null
}

/** Rows of one statement. */
const page = 500
/** The newest attempts are looked for among so many. */
const newestOf = 10_000
/**
 * An attempt is written when its page is settled, not when it begins. One that took longer than this is not seen by
 * whoever follows; no webhook takes longer than one minute.
 */
const lookBackMs = 120_000

/**
 * Reads attempts and events as they come: what is visible now and was not at the last look, each once, whatever commits in
 * between. Attempts have no order of their own to page by, so where it stands is a snapshot, as the cursor of a lane is.
 */
export class Tail {
  readonly #database: Database
  readonly #schema: string
  readonly #filter: TailFilter
  readonly #events: boolean
  #seen: string | null = null
  /** A look under way: it goes on where it was when the database comes back. */
  #look: Look | null = null

  constructor(database: Database, schema: string, filter: TailFilter, { events }: { readonly events: boolean }) {
    this.#database = database
    this.#schema = schema
    this.#filter = filter
    this.#events = events
  }

  /** The last attempts so far, at the newest events; what comes later is new. */
  async newest(count: number): Promise<TailedAttempt[]> {
    const { target, rows } = await this.#ask(sql<TailedAttempt>`select * from (
        select ${attemptColumns}
        from (select * from ${this.#of('attempts')} as t order by t.position desc limit ${newestOf}) as a
        left join ${this.#of('events')} as e on e.position = a.position and e.slot = a.slot
        where ${this.#wanted()} order by ${newestFirst} limit ${count}
      ) as newest order by ${order}`)
    this.#seen = target
    return rows
  }

  /** All attempts since a time; what comes later is new. Yields pages, and reads a bounded stretch of time for each. */
  async *since(time: string): AsyncGenerator<readonly TailedAttempt[]> {
    const { target, rows: now } = await this.#ask(
      sql<{ now: string }>`select (clock_timestamp() + interval '10 minutes')::text as now`,
    )
    const until = now[0]?.now ?? time // Later than now, by relays whose clock is ahead.
    let from = time
    let last: TailedAttempt | null = null
    for (let stretchMs = 60_000; ;) {
      const { rows }: { rows: InStretch[] } = await this.#ask(sql<InStretch>`
        with stretch as (
          select least(${from}::timestamptz + ${stretchMs} * interval '1 millisecond', ${until}::timestamptz) as ended
        ), found as (
          select ${attemptColumns}
          from ${this.#of('attempts')} as a
          left join ${this.#of('events')} as e on e.position = a.position and e.slot = a.slot
          where a.started_at >= ${from}::timestamptz and a.started_at < (select ended from stretch)
            and ${isVisible(sql`${target}::pg_snapshot`)} and ${after(last)} and ${this.#wanted()}
          order by ${order} limit ${page}
        )
        select s.ended::text as ended, s.ended >= ${until}::timestamptz as at_end, f.*
        from stretch as s left join found as f on true order by f."startedAt", f.position, f.sink, f.attempt, f.outcome`)
      const found = rows.flatMap(({ ended: _, at_end: __, ...attempt }) => (attempt.kind === null ? [] : [attempt]))
      if (found.length > 0) yield found
      last = found.at(-1) ?? last
      if (found.length === page) {
        stretchMs = Math.max(1_000, stretchMs / 2)
        from = last?.startedAt ?? from
      } else {
        if (rows[0]?.at_end !== false) break
        from = rows[0].ended
        last = null
        stretchMs *= 2
      }
    }
    this.#seen = target
  }

  /** What has come since the last look. Yields pages. */
  async *news(): AsyncGenerator<readonly Tailed[]> {
    const seen = this.#seen
    if (seen === null) {
      await this.newest(0)
      return
    }
    const { target } = this.#look ?? (await this.#ask(sql`select where false`))
    const look = (this.#look ??= { seen, target, lastEvent: null, lastAttempt: null })
    if (this.#events && look.lastAttempt === null) yield* this.#newEvents(look)
    yield* this.#newAttempts(look)
    this.#seen = target
    this.#look = null
  }

  async *#newAttempts(look: Look): AsyncGenerator<readonly TailedAttempt[]> {
    const { seen, target } = look
    for (;;) {
      const { rows }: { rows: TailedAttempt[] } = await this.#ask(sql<TailedAttempt>`
        select ${attemptColumns}
        from ${this.#of('attempts')} as a
        left join ${this.#of('events')} as e on e.position = a.position and e.slot = a.slot
        where a.started_at > statement_timestamp() - ${lookBackMs} * interval '1 millisecond'
          and age(a.xmin) <= ${ageOf(seen)} and ${isVisible(sql`${target}::pg_snapshot`)} and not ${isVisible(sql`${seen}::pg_snapshot`)}
          and ${after(look.lastAttempt)} and ${this.#wanted()}
        order by ${order} limit ${page}`)
      look.lastAttempt = rows.at(-1) ?? look.lastAttempt
      if (rows.length > 0) yield rows
      if (rows.length < page) return
    }
  }

  async *#newEvents(look: Look): AsyncGenerator<readonly TailedEvent[]> {
    const { seen, target } = look
    const { types, key } = this.#filter
    for (;;) {
      const { rows }: { rows: TailedEvent[] } = await this.#ask(sql<TailedEvent>`
        select 'event' as kind, e.created_at as "createdAt", e.id as "eventId", e.position::text as position, e.type, e.key, e.tenant
        from (
          select * from ${this.#of('events')} as n
          where (n.xid, n.position) >= (pg_snapshot_xmax(${seen}::pg_snapshot), 0) and n.xid < pg_snapshot_xmax(${target}::pg_snapshot)
          union all
          select n.* from pg_snapshot_xip(${seen}::pg_snapshot) as open (xid) join ${this.#of('events')} as n on n.xid = open.xid
        ) as e
        where pg_visible_in_snapshot(e.xid, ${target}::pg_snapshot) and (${look.lastEvent}::bigint is null or e.position > ${look.lastEvent}::bigint)
          and (${types}::text[] is null or e.type ~ ${this.#of('type_filter')}(${types}::text[])) and (${key}::text is null or e.key = ${key})
        order by e.position limit ${page}`)
      look.lastEvent = rows.at(-1)?.position ?? look.lastEvent
      if (rows.length > 0) yield rows.map((row) => ({ ...row, createdAt: new Date(row.createdAt).toISOString() }))
      if (rows.length < page) return
    }
  }

  #of(name: string): RawBuilder<unknown> {
    return sql.ref(`${this.#schema}.${name}`)
  }

  #wanted(): RawBuilder<unknown> {
    const { sink, types, key, outcomes } = this.#filter
    const all = [sql`true`]
    if (sink !== null) all.push(sql`(a.sink = ${sink} or a.sink like ${`${sink}/%`})`)
    if (types !== null) all.push(sql`e.type ~ ${this.#of('type_filter')}(${types}::text[])`)
    if (key !== null) all.push(sql`e.key = ${key}`)
    if (outcomes !== null) all.push(sql`a.outcome = any(${outcomes}::text[])`)
    return sql.join(all, sql` and `)
  }

  /** Runs a statement, together with the snapshot that was current before it. */
  async #ask<Row>(statement: RawBuilder<Row>): Promise<{ readonly target: string; readonly rows: Row[] }> {
    return await this.#database.transaction(async (trx) => {
      const { rows: now } = await sql<{ target: string }>`select pg_current_snapshot()::text as target`.execute(trx)
      const { rows } = await statement.execute(trx)
      return { target: now[0]?.target ?? '', rows }
    })
  }
}

const attemptColumns = sql`
  'attempt' as kind, to_char(a.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "startedAt", a.sink, a.event_id as "eventId",
  a.position::text as position, e.type, e.key, a.attempt, a.outcome, a.status, a.error_code as "errorCode", a.error,
  a.duration_ms::float8 as "durationMs", a.relay`

/** By the names that {@link attemptColumns} gives; the time as text sorts as the time does. */
const order = sql`"startedAt", position, sink, attempt, outcome`
const newestFirst = sql`"startedAt" desc, position desc, sink desc, attempt desc, outcome desc`

function after(last: TailedAttempt | null): RawBuilder<unknown> {
  if (last === null) return sql`true`
  return sql`a.started_at >= ${last.startedAt}::timestamptz and (
    to_char(a.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), a.position::text, a.sink, a.attempt, a.outcome
  ) > (${last.startedAt}, ${last.position}, ${last.sink}, ${last.attempt}::int, ${last.outcome})`
}

/** The id of the transaction that wrote a row, in full (a row holds its lower half), is visible in a snapshot. */
function isVisible(snapshot: RawBuilder<unknown>): RawBuilder<unknown> {
  const newest = sql`pg_snapshot_xmax(pg_current_snapshot())::text::bigint`
  return sql`pg_visible_in_snapshot((${newest} - ((${newest} - a.xmin::text::bigint) & 4294967295))::text::xid8, ${snapshot})`
}

/** Transactions from the oldest that a snapshot does not show until now: no new row is older. */
function ageOf(snapshot: string): RawBuilder<unknown> {
  return sql`least(2147483647, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - pg_snapshot_xmin(${snapshot}::pg_snapshot)::text::bigint + 1000)`
}
