import { PostriderError } from '@postrider/schema'
import { sql, type RawBuilder } from 'kysely'
import { partsOf, type Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import { carriedOf } from './event-row.ts'
import type { Carried, Lane } from './lane.ts'
import { readPageRows, type PageHead, type PageRow } from './page-rows.ts'

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

/** Events of a lane that one statement looks at, so that a filter that takes few of them cannot make it take for ever. */
const maxExamined = 20_000

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
      lane.seen = null
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
async function readFresh(database: Database, lane: Lane, size: number): Promise<{ page: Page | null; target: string }> {
  const { schema } = database
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
  const { head, rows, isFull } = await readPageRows(
    database,
    lane,
    filter === null
      ? { found, size: size + 1 }
      : {
          with: sql`examined as materialized ${found}`,
          found: sql`(select e.* from examined as e where ${filter} order by e.position limit ${size + 1})`,
          size: size + 1,
          examined: sql`(select count(*)::int from examined)`,
        },
  )
  if (rows.length > size || isFull || head.examined > maxExamined) return { page: null, target: head.snapshot }
  const last = BigInt(rows.at(-1)?.position ?? 0)
  const page = {
    ...split(head, rows),
    target: head.snapshot,
    after: { done: head.snapshot, target: null, position: last > lane.cursor.position ? last : lane.cursor.position },
    more: false,
    troubled: head.troubled,
  }
  return { page, target: head.snapshot }
}

/** The next page of an open window. */
async function readWindow(database: Database, lane: Lane, size: number): Promise<Page> {
  const { schema } = database
  const { done, target, position } = lane.cursor
  const filter = filterOf(schema, lane)
  if (target === null) throw new TypeError('no window is open')
  // Positions are shared out over the lanes of a sink. (The bounds are written so that PostgreSQL does not take two of them for a
  // narrow range, of which it would sort all rather than read them in their order.)
  const range = maxExamined * lane.route.laneCount
  const end = position + BigInt(range)
  const { first, last } = lane.buckets
  const found = sql`(
    select e.* from (
      select e.* from ${schema}.events as e
      where e.position > ${position}::bigint and (e.position, e.bucket) <= (${end}::bigint, 32767::smallint)
        and e.bucket >= ${first}::smallint and e.bucket <= any(array[${last}]::smallint[])
      order by e.position limit ${range}
    ) as e
    where e.position > ${lane.anchor}::bigint ${filter === null ? sql`` : sql`and ${filter}`}
      and pg_visible_in_snapshot(e.xid, ${target}::pg_snapshot)
      and not pg_visible_in_snapshot(e.xid, ${done}::pg_snapshot)
    order by e.position limit ${size}
  )`
  const { head, rows, isFull } = await readPageRows(database, lane, { found, size })
  const lastRead = BigInt(rows.at(-1)?.position ?? position)
  let after: Cursor = { done, target, position: lastRead }
  if (rows.length < size && !isFull) {
    const next = await nextBeyond(database, end)
    after =
      next === null ? { done: target, target: null, position: lastRead } : { done, target, position: next - 1n, raised: true }
  }
  return { ...split(head, rows), target, after, more: true, troubled: head.troubled }
}

/** The first position beyond this one that is taken; null when that was the end of the log. */
async function nextBeyond({ db, schema }: Pick<Database, 'db' | 'schema'>, position: bigint): Promise<bigint | null> {
  const { rows } = await sql<{ position: string }>`
    select e.position::text as position from ${schema}.events as e
    where e.position > ${position}::bigint order by e.position limit 1`.execute(db)
  const first = rows[0]
  return first === undefined ? null : BigInt(first.position)
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

function split(head: PageHead, rows: readonly PageRow[]): Pick<Page, 'events' | 'scheduled'> {
  const events: Carried[] = []
  const scheduled: { carried: Carried; inMs: number }[] = []
  const nowUs = head.now_us
  const readAt = performance.now()
  for (const row of rows) {
    const dueForMs = Math.max(0, (nowUs - Number(row.due_us ?? row.time_us)) / 1_000)
    const carried = carriedOf(row, { attempts: 0, forgiven: 0, row: null, dueForMs, triedForMs: 0, readAt, replay: null })
    const scheduledInMs = row.rare?.scheduled_in_ms ?? 0
    if (scheduledInMs > 0) scheduled.push({ carried, inMs: scheduledInMs })
    else events.push(carried)
  }
  return { events, scheduled }
}
