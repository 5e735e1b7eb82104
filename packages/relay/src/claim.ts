import { PostriderError } from '@postrider/schema'
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
export const maxPageBytes: number = 4 * 1024 * 1024

/** Events that one statement looks at, so that a filter that takes few of them cannot make it take for ever. */
const maxExamined = 20_000

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
  readonly due_for_ms: number
  readonly expires_in_ms: number | null
  readonly scheduled_in_ms: number | null
}

/** What a sink needs of an event. The payload travels as text: it is never parsed here. */
export const eventColumns: RawBuilder<unknown> = sql.raw(`
  e.position::text as position, e.slot, e.id, e.type, e.key, e.source, e.subject, e.tenant,
  to_char(coalesce(e.time, e.created_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as time,
  e.content_type, e.headers, e.payload::text as payload, e.payload_bytes,
  greatest(0, extract(epoch from clock_timestamp() - greatest(e.created_at, e.deliver_at))::float8 * 1000) as due_for_ms,
  extract(epoch from e.expires_at - clock_timestamp())::float8 * 1000 as expires_in_ms`)

/**
 * Reads the next page of a lane. Nothing is written: the cursor moves when the page is settled.
 *
 * The usual case is one statement: its own snapshot is both what makes rows visible and, when they fit in a page,
 * the next cursor. When they don't (a backlog), the snapshot is fixed as the target of a window, and the window
 * is read page by page in the order of positions. Position order is causal order per key; the order of transaction ids is not.
 *
 * @throws PostriderError `stale_fence`: the cursor of this lane is not the one that the database knows.
 */
export async function claimPage(database: Database, lane: Lane, size: number): Promise<Page> {
  for (let tries = 0; tries < 5; tries++) {
    const life = database.life()
    if (lane.life !== life) {
      // What was read of another life of the server, and stored nowhere, may be wrong in this one;
      // and a server that has lost what it had confirmed does not know our cursor any more.
      await checkCursor(database, lane)
      lane.cursor = lane.stored
      lane.life = life
    }
    const page = await readPage(database, lane, size)
    if (database.life() === life) return page
  }
  throw new PostriderError('database_unavailable', 'connections break faster than a page can be read')
}

/** By what the checkpoint says and not by its number alone: where history was lost, another owner may have got to the same one. */
async function checkCursor({ db, schema }: Database, lane: Lane): Promise<void> {
  const { done, target, position } = lane.stored
  const { rows } = await sql<{ ours: boolean }>`
    select not ${schema}.is_moved() and k.fence = ${String(lane.fence)}::bigint and k.position = ${String(position)}::bigint
      and k.done::text = ${done} and k.target::text is not distinct from ${target}::text as ours
    from ${schema}.checkpoints as k where k.sink = ${lane.sink} and k.lane = ${lane.number}
    order by k.fence desc limit 1`.execute(db)
  if (rows[0]?.ours !== true) {
    throw new PostriderError('stale_fence', `the newest checkpoint of lane ${lane.number} of ${lane.sink} is not ours`)
  }
}

async function readPage(database: Database, lane: Lane, size: number): Promise<Page> {
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
  const filter = filterOf(schema, lane)
  const limit = filter === null ? size + 1 : maxExamined + 1
  // In a restored database old events may carry ids of transactions that are still to come here: they are not looked at.
  const newer = sql`(
    select e.* from ${schema}.events as e
    where e.xid >= ${xmax}::xid8 and e.xid < pg_snapshot_xmax(pg_current_snapshot()) and ${ofLane(lane)}
    order by e.xid, e.position limit ${limit}
  )`
  // Those that were open when the cursor was taken: they may have committed since, with any position.
  const older = sql`(
    select e.* from ${schema}.events as e
    where e.xid = any(${xip}::xid8[]) and ${ofLane(lane)}
    order by e.xid, e.position limit ${limit}
  )`
  const found = xip.length === 0 ? newer : sql`(${newer} union all ${older})`
  // With a filter the number of events that are looked at is bounded too, however few of them it takes.
  const { rows } = await (
    filter === null
      ? sql<FreshRow>`
          select pg_current_snapshot()::text as snapshot, ${aside(schema, lane)}, 0 as examined, fresh.*
          from (select 1) as one
          left join lateral ${pageOf(found)} as fresh on true
          order by fresh.place`
      : sql<FreshRow>`
          with examined as materialized ${found}
          select pg_current_snapshot()::text as snapshot, ${aside(schema, lane)},
            (select count(*)::int from examined) as examined, fresh.*
          from (select 1) as one
          left join lateral ${pageOf(sql`(
            select e.* from examined as e where ${filter} order by e.position limit ${size + 1}
          )`)} as fresh on true
          order by fresh.place`
  ).execute(db)
  const first = rows[0]
  if (first === undefined) throw new TypeError('a statement that always has a row had none')
  requireOurs(first, lane)
  const events = rows.filter(({ id }) => id !== null)
  const cut = first.taken !== null && events.length < first.taken
  if (events.length > size || cut || first.examined > maxExamined) return { page: null, target: first.snapshot }
  const last = BigInt(events.at(-1)?.position ?? 0)
  const page = {
    ...split(events),
    target: first.snapshot,
    after: { done: first.snapshot, target: null, position: last > lane.cursor.position ? last : lane.cursor.position },
    more: false,
    troubled: first.troubled,
  }
  return { page, target: first.snapshot }
}

/** The next page of an open window. */
async function readWindow({ db, schema }: Database, lane: Lane, size: number): Promise<Page> {
  const { done, target, position } = lane.cursor
  const filter = filterOf(schema, lane)
  if (target === null) throw new TypeError('no window is open')
  const next = sql`(
    select e.* from (
      select e.* from ${schema}.events as e where e.position > ${position}::bigint order by e.position limit ${maxExamined}
    ) as e
    where ${ofLane(lane)} ${filter === null ? sql`` : sql`and ${filter}`}
      and pg_visible_in_snapshot(e.xid, ${target}::pg_snapshot)
      and not pg_visible_in_snapshot(e.xid, ${done}::pg_snapshot)
    order by e.position limit ${size}
  )`
  const { rows: read } = await sql<ReadRow>`
    select ${aside(schema, lane)}, page.* from (select 1) as one left join ${pageOf(next)} as page on true
    order by page.place`.execute(db)
  requireOurs(read[0], lane)
  const rows = read.filter(({ id }) => id !== null)
  const last = BigInt(rows.at(-1)?.position ?? position)
  let after: Cursor = { done, target, position: last }
  if (rows.length < size && rows.length === (rows[0]?.taken ?? 0)) {
    const examined = await examinedTo({ db, schema }, position)
    after = examined === null ? { done: target, target: null, position: last } : { done, target, position: examined }
  }
  return { ...split(rows), target, after, more: true, troubled: read[0]?.troubled ?? false }
}

/** How far a page without enough events has looked; null when that was the end of the log. */
async function examinedTo({ db, schema }: Pick<Database, 'db' | 'schema'>, position: bigint): Promise<bigint | null> {
  const { rows } = await sql<{ position: string }>`
    select e.position::text as position from ${schema}.events as e
    where e.position > ${position}::bigint order by e.position offset ${maxExamined - 1} limit 1`.execute(db)
  const last = rows[0]
  return last === undefined ? null : BigInt(last.position)
}

type FreshRow = ReadRow & { readonly snapshot: string; readonly examined: number }

type ReadRow = Row & {
  readonly troubled: boolean
  /** The cursor is still this lane's. */
  readonly ours: boolean
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

/**
 * What is asked beside a page, in the same snapshot. A cutover that ends takes the lanes from those that have left its events
 * out: such a lane may have passed some of them in memory, and must not carry what comes behind.
 */
function aside(schema: RawBuilder<unknown>, { sink, number, fence, route: { cutOver } }: Lane): RawBuilder<unknown> {
  const newest = sql`(select k.fence from ${schema}.checkpoints as k where k.sink = ${sink} and k.lane = ${number} order by k.fence desc limit 1)`
  return sql`exists (select from ${schema}.deliveries as d where d.sink = ${sink}) as troubled,
    ${cutOver ? sql`${newest} = ${String(fence)}::bigint` : sql`true`} as ours`
}

/** @throws PostriderError `stale_fence`. */
function requireOurs(row: ReadRow | undefined, { sink, number }: Lane): void {
  if (row?.ours !== true) throw new PostriderError('stale_fence', `lane ${number} of ${sink} has another owner`)
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
      ${lowest(sql`e.xid >= ${xmax}::xid8 and e.xid < coalesce(${horizon}::xid8, pg_snapshot_xmax(pg_current_snapshot())) and e.position > ${lane.anchor}::bigint`)},
      ${lowest(sql`e.xid = any(${xip}::xid8[]) and e.position > ${lane.anchor}::bigint`)}
    )::text as start`.execute(db)
  return BigInt(rows[0]?.start ?? 0)
}

function ofLane(lane: Lane): RawBuilder<unknown> {
  const { first, last } = lane.buckets
  return sql`e.bucket between ${first} and ${last} and e.position > ${lane.anchor}::bigint`
}

/** What the sink takes, of the events of a lane; null when it takes all. */
function filterOf(
  schema: RawBuilder<unknown>,
  { route: { name, typeFilter, tenant, cutOver } }: Lane,
): RawBuilder<unknown> | null {
  const parts = [
    ...(typeFilter === null ? [] : [sql`e.type ~ ${typeFilter}`]),
    ...(tenant === null ? [] : [sql`e.tenant = ${tenant}`]),
    // Asked in the statement itself, so that it is as old as the page.
    ...(cutOver ? [sql`${schema}.cutover_of(${name}, e.type, e.xid) is null`] : []),
  ]
  return parts.length === 0 ? null : sql.join(parts, sql` and `)
}

function split(rows: readonly Row[]): Pick<Page, 'events' | 'scheduled'> {
  const events: Carried[] = []
  const scheduled: { carried: Carried; inMs: number }[] = []
  for (const row of rows) {
    const carried = carriedOf(row, {
      attempts: 0,
      forgiven: 0,
      row: null,
      dueForMs: row.due_for_ms,
      triedForMs: 0,
      replay: null,
    })
    if (row.scheduled_in_ms !== null && row.scheduled_in_ms > 0) scheduled.push({ carried, inMs: row.scheduled_in_ms })
    else events.push(carried)
  }
  return { events, scheduled }
}

/** An event in hand, from the columns of {@link eventColumns}. */
export function carriedOf(
  row: Omit<Row, 'scheduled_in_ms'>,
  rest: Pick<Carried, 'attempts' | 'forgiven' | 'row' | 'dueForMs' | 'triedForMs' | 'replay'>,
  /** The id that it carries on its way, when that is not its own. */
  wireId: string = row.id,
): Carried {
  return {
    event: {
      position: row.position,
      id: wireId,
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
    id: row.id,
    position: BigInt(row.position),
    slot: row.slot,
    attempts: rest.attempts,
    forgiven: rest.forgiven,
    dueForMs: rest.dueForMs,
    triedForMs: rest.triedForMs,
    readAt: performance.now(),
    expiresInMs: row.expires_in_ms ?? Infinity,
    replay: rest.replay,
    row: rest.row,
  }
}
