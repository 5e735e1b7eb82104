import { sql, type RawBuilder } from 'kysely'
import { partsOf, type Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import type { Carried, Lane } from './lane.ts'

/** The next events of a lane, in the order of their positions, and where the cursor stands when all are finished. */
export interface Page {
  readonly events: readonly Carried[]
  /** Events whose time has not come (`deliver_at`), and when it comes. */
  readonly scheduled: readonly { readonly carried: Carried; readonly inMs: number }[]
  /** The snapshot of the window that the page is part of. */
  readonly target: string
  readonly after: Cursor
  /** There is more to read at once. */
  readonly more: boolean
  /** The sink has rows in deliveries: keys of this page may be among them. */
  readonly troubled: boolean
}

/** Payloads of one page, as stored: so that pages of large events don't fill the memory. */
const maxPageBytes = 4 * 1024 * 1024

interface Row {
  readonly position: string
  readonly slot: number
  readonly id: string
  readonly type: string
  readonly key: string | null
  readonly source: string
  readonly subject: string | null
  readonly tenant: string | null
  readonly time: string
  readonly content_type: string
  readonly headers: Record<string, string>
  readonly payload: string | null
  readonly payload_bytes: Buffer | null
  readonly created_at_ms: number
  readonly scheduled_in_ms: number | null
}

/** What a sink needs of an event. The payload travels as text: it is never parsed here. */
export const eventColumns: RawBuilder<unknown> = sql.raw(`
  e.position::text as position, e.slot, e.id, e.type, e.key, e.source, e.subject, e.tenant,
  to_char(coalesce(e.time, e.created_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as time,
  e.content_type, e.headers, e.payload::text as payload, e.payload_bytes,
  extract(epoch from e.created_at)::float8 * 1000 as created_at_ms`)

/**
 * Reads the next page of a lane. Nothing is written: the cursor moves when the page is settled.
 *
 * The usual case is one statement: its own snapshot is both what makes rows visible and, when they fit in a page,
 * the next cursor. When they don't (a backlog), the snapshot is fixed as the target of a window, and the window
 * is read page by page in the order of positions. Position order is causal order per key; the order of transaction ids is not.
 */
export async function claimPage(database: Database, lane: Lane, size: number): Promise<Page> {
  if (lane.cursor.target === null) {
    const { page, target } = await readFresh(database, lane, size)
    if (page !== null) return page
    const { done, position } = lane.stored
    lane.cursor = { done, target, position: await windowStart(database, lane, position) }
  }
  return await readWindow(database, lane, size)
}

/** Everything that is visible now and was not when the cursor was taken; no page when that is more than one can hold. */
async function readFresh({ db, schema }: Database, lane: Lane, size: number): Promise<{ page: Page | null; target: string }> {
  const { xmax, xip } = partsOf(lane.cursor.done)
  const newer = sql`(
    select e.* from ${schema}.events as e
    where e.xid >= ${xmax}::xid8 and ${ofLane(lane)}
    order by e.xid, e.position limit ${size + 1}
  )`
  // Those that were open when the cursor was taken: they may have committed since, with any position.
  const older = sql`(
    select e.* from ${schema}.events as e
    where e.xid = any(${xip}::xid8[]) and ${ofLane(lane)}
    order by e.xid, e.position limit ${size + 1}
  )`
  const { rows } = await sql<ReadRow & { snapshot: string }>`
    select pg_current_snapshot()::text as snapshot, ${troubled(schema, lane)}, fresh.*
    from (select 1) as one
    left join lateral ${pageOf(xip.length === 0 ? newer : sql`(${newer} union all ${older})`)} as fresh on true
    order by fresh.place`.execute(db)
  const first = rows[0]
  if (first === undefined) throw new TypeError('a statement that always has a row had none')
  const events = rows.filter(({ id }) => id !== null)
  if (events.length > size || (first.taken !== null && events.length < first.taken)) return { page: null, target: first.snapshot }
  const last = BigInt(events.at(-1)?.position ?? 0)
  const position = last > lane.cursor.position ? last : lane.cursor.position
  const page = {
    ...split(events),
    target: first.snapshot,
    after: { done: first.snapshot, target: null, position },
    more: false,
    troubled: first.troubled,
  }
  return { page, target: first.snapshot }
}

/** The next page of an open window. */
async function readWindow({ db, schema }: Database, lane: Lane, size: number): Promise<Page> {
  const { done, target, position } = lane.cursor
  if (target === null) throw new TypeError('no window is open')
  const next = sql`(
    select e.* from ${schema}.events as e
    where e.position > ${position}::bigint and ${ofLane(lane)}
      and pg_visible_in_snapshot(e.xid, ${target}::pg_snapshot)
      and not pg_visible_in_snapshot(e.xid, ${done}::pg_snapshot)
    order by e.position limit ${size}
  )`
  const { rows } = await sql<ReadRow>`
    select ${troubled(schema, lane)}, page.* from ${pageOf(next)} as page order by page.place`.execute(db)
  const last = BigInt(rows.at(-1)?.position ?? position)
  const finished = rows.length < size && rows.length === (rows[0]?.taken ?? 0)
  return {
    ...split(rows),
    target,
    after: finished ? { done: target, target: null, position: last } : { done, target, position: last },
    more: true,
    troubled: rows[0]?.troubled ?? false,
  }
}

type ReadRow = Row & {
  readonly troubled: boolean
  /** Rows found before the page was cut by its size in bytes. */
  readonly taken: number | null
}

/** Events as the relay needs them, cut where their payloads pass {@link maxPageBytes}; the first is always there. */
function pageOf(found: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(
    select ${eventColumns}, extract(epoch from e.deliver_at - clock_timestamp())::float8 * 1000 as scheduled_in_ms,
      e.position as place, e.taken
    from (
      select e.*, count(*) over ()::int as taken,
        sum(coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.payload_bytes), 0))
          over (order by e.position rows between unbounded preceding and 1 preceding) as bytes_before
      from ${found} as e
    ) as e
    where coalesce(e.bytes_before, 0) < ${maxPageBytes}
  )`
}

function troubled(schema: RawBuilder<unknown>, lane: Lane): RawBuilder<unknown> {
  return sql`exists (select from ${schema}.deliveries as d where d.sink = ${lane.sink}) as troubled`
}

/**
 * A position below the first of the window. Transactions that had begun when `done` was taken may have drawn any position,
 * and are looked up (few, by the index); later ones are above `floor`. So the backlog itself is never scanned for this.
 */
async function windowStart({ db, schema }: Database, lane: Lane, floor: bigint): Promise<bigint> {
  const { done, horizon } = lane.stored
  const { xmax, xip } = partsOf(done)
  // `offset 0` keeps the planner from walking the primary key from its beginning to find the minimum.
  const lowest = (range: RawBuilder<unknown>): RawBuilder<unknown> =>
    sql`(select min(ranged.position) - 1 from (select e.position from ${schema}.events as e where ${range} offset 0) as ranged)`
  const { rows } = await sql<{ start: string | null }>`
    select least(
      ${horizon === null ? null : String(floor)}::bigint,
      ${lowest(horizon === null ? sql`e.xid >= ${xmax}::xid8` : sql`e.xid >= ${xmax}::xid8 and e.xid < ${horizon}::xid8`)},
      ${lowest(sql`e.xid = any(${xip}::xid8[])`)}
    )::text as start`.execute(db)
  return BigInt(rows[0]?.start ?? 0)
}

function ofLane(lane: Lane): RawBuilder<unknown> {
  const { first, last } = lane.buckets
  const { typeFilter } = lane.route
  return typeFilter === null
    ? sql`e.bucket between ${first} and ${last} and e.position > ${lane.anchor}::bigint`
    : sql`e.bucket between ${first} and ${last} and e.position > ${lane.anchor}::bigint and e.type ~ ${typeFilter}`
}

function split(rows: readonly Row[]): Pick<Page, 'events' | 'scheduled'> {
  const events: Carried[] = []
  const scheduled: { carried: Carried; inMs: number }[] = []
  for (const row of rows) {
    const carried = carriedOf(row, { attempts: 0, forgiven: 0, row: null, dueSinceMs: row.created_at_ms })
    if (row.scheduled_in_ms !== null && row.scheduled_in_ms > 0) scheduled.push({ carried, inMs: row.scheduled_in_ms })
    else events.push(carried)
  }
  return { events, scheduled }
}

/** An event in hand, from the columns of {@link eventColumns}. */
export function carriedOf(
  row: Omit<Row, 'scheduled_in_ms'>,
  rest: Pick<Carried, 'attempts' | 'forgiven' | 'row' | 'dueSinceMs'>,
): Carried {
  return {
    event: {
      position: row.position,
      id: row.id,
      type: row.type,
      key: row.key,
      source: row.source,
      subject: row.subject,
      tenant: row.tenant,
      time: row.time,
      contentType: row.content_type,
      headers: row.headers,
      payloadText: row.payload,
      payloadBytes: row.payload_bytes,
    },
    position: BigInt(row.position),
    slot: row.slot,
    createdAtMs: row.created_at_ms,
    attempts: rest.attempts,
    forgiven: rest.forgiven,
    dueSinceMs: rest.dueSinceMs,
    row: rest.row,
  }
}
