import { PostriderError } from '@postrider/schema'
import { sql, type RawBuilder } from 'kysely'
import type { Database } from './database.ts'
import { eventColumns, type EventRow, type Rare, type RareColumn } from './event-row.ts'
import type { Lane } from './lane.ts'

/** Payloads of one page, as stored: so that pages of large events don't fill the memory. */
export const maxPageBytes: number = 4 * 1024 * 1024

/** What concerns a page as a whole, of the snapshot that it was read with. */
export interface PageHead {
  readonly snapshot: string
  /** The sink has rows in deliveries. */
  readonly troubled: boolean
  /** The cursor is still this lane's. */
  readonly ours: boolean
  /** When it was read, in microseconds since the epoch, by the clock of the database. */
  readonly now_us: number
  /** Rows that were looked at, where that is not the number of rows. */
  readonly examined: number
}

export interface PageRow extends EventRow {
  /** Since when it has been due, in microseconds since the epoch; null: since its time. */
  readonly due_us: string | null
  readonly rare: RareOfPage | null
}

interface RareOfPage extends Rare {
  readonly scheduled_in_ms?: number | null
  /** Larger than the part of a page that is an event's, if all had the same. */
  readonly is_large?: boolean
  /** With it the size of a page is reached. */
  readonly is_full?: boolean
}

export interface PageRows {
  readonly head: PageHead
  /** In the order of positions. */
  readonly rows: readonly PageRow[]
  /** Cut by its size in bytes: there may be more. */
  readonly isFull: boolean
}

/** What is to be read: statements over `events as e`. */
export interface Wanted {
  /** Common tables of the statement. */
  readonly with?: RawBuilder<unknown>
  /** Rows of `events`, of which `size` are read at most. */
  readonly found: RawBuilder<unknown>
  readonly size: number
  readonly examined?: RawBuilder<unknown>
}

/**
 * Reads a page in one statement and one snapshot: its head as the first row, and then the events, each once. What is in a page
 * takes {@link maxPageBytes} at most, or is one event.
 *
 * Events are usually small, and nothing is reckoned then: a large one stands without its payload, and the page is read once
 * more, cut by the sum of the sizes; so are the following ones, until all of one were small.
 *
 * @throws PostriderError `stale_fence`: another relay has the lane.
 */
export async function readPageRows(database: Database, lane: Lane, wanted: Wanted): Promise<PageRows> {
  const largest = Math.floor(maxPageBytes / wanted.size)
  let read = lane.hasLarge ? null : await readRows(database, lane, wanted, smallOnly(wanted.found, largest))
  if (read === null || read.rows.some(isLarge)) {
    read = await readRows(database, lane, wanted, cutBySize(wanted.found, largest))
    lane.hasLarge = read.rows.some(isLarge)
  }
  return read
}

function isLarge({ rare }: PageRow): boolean {
  return rare?.is_large === true
}

type Row = PageRow | { readonly position: null; readonly rare: PageHead }

async function readRows(
  { db, schema }: Database,
  lane: Lane,
  { with: tables, examined }: Wanted,
  events: RawBuilder<unknown>,
): Promise<PageRows> {
  const { sink, number } = lane
  // The second select is what names and types the columns of an event: in the first row all are null but the last, which is the head.
  const { rows: read } = await sql<Row>`
    ${tables === undefined ? sql`` : sql`with ${tables}`}
    select ${sql.raw(columnNames.map((name) => `null as ${name}`).join(', '))}, json_build_object(
      'snapshot', pg_current_snapshot()::text,
      'troubled', exists (select from ${schema}.deliveries as d where d.sink = ${sink}),
      'ours', ${isOurs(schema, lane)},
      'now_us', (date_part('epoch', clock_timestamp()) * 1000000)::int8,
      'examined', ${examined ?? sql`0`}) as rare
    union all
    (select ${sql.raw(columnNames.map((name) => `page.${name}`).join(', '))}, page.rare from ${events} as page)`.execute(db)
  const head = read.find((row) => row.position === null)?.rare
  if (head === undefined) throw new TypeError('a statement that always has a row had none')
  // A cutover that ends takes the lanes from those that have left its events out: such a lane may have passed some of them in
  // memory, and must not carry what comes behind.
  if (!head.ours) throw new PostriderError('stale_fence', `lane ${number} of ${sink} has another owner`)
  const rows = read.filter((row) => row.position !== null)
  // In practice they come in order, and nothing is done.
  if (rows.some((row, index) => index > 0 && isBefore(row, rows[index - 1]))) rows.sort((a, b) => (isBefore(a, b) ? -1 : 1))
  return { head, rows, isFull: rows.at(-1)?.rare?.is_full === true }
}

/** Asked only where a cutover can end, which is seen by the page and by this in one snapshot. */
function isOurs(schema: RawBuilder<unknown>, { sink, number, fence, route: { cutOver } }: Lane): RawBuilder<unknown> {
  return cutOver
    ? sql`${String(fence)}::bigint = (
        select k.fence from ${schema}.checkpoints as k where k.sink = ${sink} and k.lane = ${number} order by k.fence desc limit 1)`
    : sql`true`
}

/** Of columns that every part of the union must have, in one order. */
const columnNames = 'position slot id type key source subject tenant time_us headers payload payload_bytes due_us'.split(' ')

const size = 'coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.payload_bytes), 0)'
const due = sql.raw(`
  case when e.time is not null or e.deliver_at is not null
    then (date_part('epoch', greatest(e.created_at, e.deliver_at)) * 1000000)::int8 end as due_us`)

const scheduled: RareColumn = {
  when: 'e.deliver_at is not null',
  name: 'scheduled_in_ms',
  value: `date_part('epoch', e.deliver_at - clock_timestamp()) * 1000`,
}

/** Events with their payloads, but for large ones. */
function smallOnly(found: RawBuilder<unknown>, largest: number): RawBuilder<unknown> {
  const fits = (payload: string): string => `case when pg_column_size(${payload}) <= ${largest} then ${payload} end`
  const large = `${size} > ${largest}`
  return sql`(
    select ${eventColumns(fits, [scheduled, { when: large, name: 'is_large', value: large }])}, ${due} from ${found} as e)`
}

/** Events with their payloads, up to the one with which these reach the size of a page. */
function cutBySize(found: RawBuilder<unknown>, largest: number): RawBuilder<unknown> {
  const large = `e.bytes > ${largest}`
  const full = `coalesce(e.bytes_before, 0) + e.bytes >= ${maxPageBytes}`
  const more = [scheduled, { when: large, name: 'is_large', value: large }, { when: full, name: 'is_full', value: full }]
  return sql`(
    select ${eventColumns(undefined, more)}, ${due}
    from (
      select e.*, sum(e.bytes) over (order by e.position rows between unbounded preceding and 1 preceding) as bytes_before
      from (select e.*, ${sql.raw(size)} as bytes from ${found} as e) as e
    ) as e
    where coalesce(e.bytes_before, 0) < ${sql.raw(String(maxPageBytes))})`
}

/** Positions as they are read: whole numbers without leading zeros. */
function isBefore({ position: a }: PageRow, b: PageRow | undefined): boolean {
  return b !== undefined && (a.length === b.position.length ? a < b.position : a.length < b.position.length)
}
