import { PostriderError } from '@postrider/schema'
import { sql, type Kysely, type RawBuilder } from 'kysely'
import { auditOf } from './audit.ts'
import { publish } from './channels.ts'
import type { Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import type { Lane } from './lane.ts'
import { settlementWithoutProof, type AppendRow, type Settlement, type TroubleRow } from './settlement.ts'
import type { Tables } from './tables.ts'

/**
 * Writes a settlement in one transaction, fenced: the checkpoint takes the next number of the lane, and a relay that
 * has lost it collides with the one that has it now. On the straight road this is one statement.
 *
 * @throws PostriderError `stale_fence`: another relay has the lane, nothing was written.
 */
export async function settle(database: Database, relay: string, lane: Lane, settlement: Settlement): Promise<true> {
  const fence = lane.fence + 1n
  publish('postrider:settling', { sink: lane.sink, lane: lane.number, fence: String(fence) })
  let horizon: string
  let written = settlement
  try {
    horizon = await database.db.connection().execute(async (db) => {
      // On a connection in hand: should the server be another from here on, this one is dead.
      if (database.life() !== lane.life) {
        written = settlementWithoutProof(lane, settlement, await present(database, db, settlement))
      }
      const { rows, gone, keys } = written
      if (rows.length === 0 && gone.length === 0 && keys.length === 0) {
        return await write(database, db, relay, lane, fence, written)
      }
      return await db.transaction().execute(async (trx) => {
        await sql`select ${database.schema}.lock_trouble(${lane.sink}, ${lane.number})`.execute(trx)
        const answer = await write(database, trx, relay, lane, fence, written)
        if (keys.length > 0) await sql`select ${database.schema}.release_heads(${lane.sink}, ${keys}::text[])`.execute(trx)
        return answer
      })
    })
  } catch (error) {
    if (!isFenceCollision(error)) throw error
    const own = await ownCheckpoint(database, relay, lane, fence)
    if (own === null) {
      throw new PostriderError('stale_fence', `lane ${lane.number} of ${lane.sink} has another owner`, {}, { cause: error })
    }
    // It is our own: an earlier try was committed, and the connection broke before we were told.
    horizon = own
  }
  const { cursor, rows, keys } = written
  lane.fence = fence
  lane.stored = { ...cursor, horizon }
  lane.cursor = cursor
  lane.storedAt = performance.now()
  lane.ahead.clear()
  for (const position of written.ahead) lane.ahead.add(position)
  for (const { carried, state, inMs } of rows) {
    carried.row = state
    if (state === 'retrying' || state === 'scheduled') lane.dueIn(inMs)
  }
  if (keys.length > 0) lane.dueAt = 0
  publish('postrider:settled', {
    sink: lane.sink,
    lane: lane.number,
    fence: String(fence),
    events: settlement.events,
    position: String(cursor.position),
  })
  return true
}

/** Which events of a settlement the database has: the very same, for positions too may be given out a second time. */
async function present(
  { schema }: Database,
  db: Kysely<Tables>,
  { records, rows, handled }: Settlement,
): Promise<ReadonlySet<bigint>> {
  const events = [...new Set([...handled, ...[...records, ...rows].map(({ carried }) => carried)])]
  const { rows: found } = await sql<{ position: string }>`
    select a.position::text as position
    from unnest(${events.map(({ position }) => String(position))}::bigint[], ${events.map(({ id }) => id)}::uuid[]) as a (position, id)
    where exists (select from ${schema}.events as e where e.position = a.position and e.id = a.id)`.execute(db)
  return new Set(found.map(({ position }) => BigInt(position)))
}

/** The whole of a settlement as one statement; answers the transaction id, which is the horizon of the new cursor. */
async function write(
  { schema }: Database,
  db: Kysely<Tables>,
  relay: string,
  lane: Lane,
  fence: bigint,
  { cursor, records, rows, gone, appends }: Settlement,
): Promise<string> {
  const parts: RawBuilder<unknown>[] = [
    // When the newest checkpoint is not the one that this lane has seen last, its own is made to collide: with a number of
    // the next owner, or, where the server has lost what it had confirmed, with the last that it still knows.
    sql`fence as (
      insert into ${schema}.checkpoints (sink, lane, fence, done, target, position, horizon, relay)
      select ${lane.sink}::text, ${lane.number}::smallint,
        case when k.fence = ${String(lane.fence)}::bigint and k.relay = ${relay}::uuid then ${String(fence)}::bigint else k.fence end,
        ${cursor.done}::pg_snapshot, ${cursor.target}::pg_snapshot, ${String(cursor.position)}::bigint,
        coalesce(${horizonOf(lane, cursor)}::xid8, pg_current_xact_id()), ${relay}::uuid
      from (select 1) as one left join lateral (
        select c.fence, c.relay from ${schema}.checkpoints as c where c.sink = ${lane.sink} and c.lane = ${lane.number}
        order by c.fence desc limit 1
      ) as k on true
      returning horizon)`,
  ]
  parts.push(...auditOf(schema, relay, lane, records))
  if (gone.length > 0) {
    parts.push(sql`gone as (
      delete from ${schema}.deliveries where sink = ${lane.sink} and position = any(${gone.map(String)}::bigint[]))`)
  }
  if (appends.length > 0) parts.push(appendsTo(schema, lane, appends))
  const known = rows.filter(({ carried }) => carried.row !== null)
  if (known.length > 0) parts.push(changesOf(schema, lane, known))
  const added = rows.filter(({ carried }) => carried.row === null)
  if (added.length > 0) parts.push(additionsOf(schema, lane, added))

  const { rows: answered } = await sql<{ horizon: string }>`
    with ${sql.join(parts, sql`, `)} select horizon::text as horizon from fence`.execute(db)
  return answered[0]?.horizon ?? ''
}

/**
 * The pages of a window and its end are of one snapshot, so the first horizon that was drawn after it does for all; until the
 * position is raised over what came since.
 */
function horizonOf({ stored }: Lane, { done, target, raised }: Cursor): string | null {
  return raised !== true && stored.target !== null && stored.target === (target ?? done) ? stored.horizon : null
}

/** Arrays of different lengths cannot be rows of one array parameter: the positions travel as text. */
function appendsTo(schema: RawBuilder<unknown>, lane: Lane, rows: readonly AppendRow[]): RawBuilder<unknown> {
  return sql`appended as (
    insert into ${schema}.appends (slot, sink, lane, topic, partition, first_offset, positions)
    select a.slot, ${lane.sink}, ${lane.number}, a.topic, a.partition, a.first_offset, a.positions::bigint[]
    from unnest(
      ${rows.map(({ slot }) => slot)}::smallint[],
      ${rows.map(({ topic }) => topic)}::text[],
      ${rows.map(({ partition }) => partition)}::int[],
      ${rows.map(({ offset }) => String(offset))}::bigint[],
      ${rows.map(({ positions }) => `{${positions.join(',')}}`)}::text[]
    ) as a (slot, topic, partition, first_offset, positions))`
}

/** Rows that are there already. One that an operator has removed meanwhile stays removed. */
function changesOf(schema: RawBuilder<unknown>, lane: Lane, rows: readonly TroubleRow[]): RawBuilder<unknown> {
  return sql`changed as (
    update ${schema}.deliveries as d
    set state = c.state, parked = c.state = 'dead' and ${lane.route.onDead !== 'block'}, attempts = c.attempts, available_at = clock_timestamp() + c.in_ms * interval '1 millisecond',
      error_code = coalesce(c.error_code, d.error_code), error = coalesce(c.error, d.error), status = coalesce(c.status, d.status),
      first_tried_at = coalesce(d.first_tried_at, case when c.tried then clock_timestamp() end),
      since = case when d.state = c.state then d.since else clock_timestamp() end
    from ${unnested(rows)} as c (position, slot, event_id, key, state, attempts, in_ms, error_code, error, status, tried)
    where d.sink = ${lane.sink} and d.position = c.position)`
}

function additionsOf(schema: RawBuilder<unknown>, lane: Lane, rows: readonly TroubleRow[]): RawBuilder<unknown> {
  return sql`added as (
    insert into ${schema}.deliveries (sink, lane, position, slot, event_id, key, state, parked, attempts, available_at, error_code, error, status, first_tried_at)
    select ${lane.sink}, ${lane.number}, c.position, c.slot, c.event_id, c.key, c.state,
      c.state = 'dead' and ${lane.route.onDead !== 'block'}, c.attempts,
      clock_timestamp() + c.in_ms * interval '1 millisecond', c.error_code, c.error, c.status, case when c.tried then clock_timestamp() end
    from ${unnested(rows)} as c (position, slot, event_id, key, state, attempts, in_ms, error_code, error, status, tried)
    on conflict (sink, position) do nothing)`
}

function unnested(rows: readonly TroubleRow[]): RawBuilder<unknown> {
  const column = <T>(value: (row: TroubleRow) => T): T[] => rows.map(value)
  return sql`unnest(
      ${column(({ carried }) => carried.event.position)}::bigint[],
      ${column(({ carried }) => carried.slot)}::smallint[],
      ${column(({ carried }) => carried.id)}::uuid[],
      ${column(({ carried }) => carried.event.key)}::text[],
      ${column(({ state }) => state)}::text[],
      ${column(({ attempts }) => attempts)}::int[],
      ${column(({ inMs }) => Math.max(0, inMs))}::float8[],
      ${column(({ code }) => code)}::text[],
      ${column(({ error }) => error)}::text[],
      ${column(({ status }) => status)}::int[],
      ${column(({ tried }) => tried)}::boolean[]
    )`
}

function isFenceCollision(error: unknown): boolean {
  return error instanceof Error && 'constraint' in error && error.constraint === 'checkpoints_pkey'
}

async function ownCheckpoint({ db }: Database, relay: string, lane: Lane, fence: bigint): Promise<string | null> {
  const found = await db
    .selectFrom('checkpoints')
    .select(['relay', sql<string>`horizon::text`.as('horizon')])
    .where('sink', '=', lane.sink)
    .where('lane', '=', lane.number)
    .where('fence', '=', String(fence))
    .executeTakeFirst()
  return found !== undefined && found.relay === relay ? found.horizon : null
}
