import type { DeliveryState } from '@postrider/schema'
import { sql } from 'kysely'
import type { Database } from './database.ts'
import { carriedOf, eventColumns, type EventRow } from './event-row.ts'
import type { Carried, Lane } from './lane.ts'
import { maxPageBytes } from './page-rows.ts'

/** Followers of a head that are read with it, so that a released key does not cost a round trip for every event. */
const followers = 50

export interface Trouble {
  /** Due rows and, behind the head of a key, its blocked rows; in the order of positions. */
  readonly due: readonly Carried[]
  /** Rows that are due, but whose key has an earlier event in trouble: they have to wait behind it. */
  readonly overtaken: readonly Carried[]
}

/**
 * Reads the deliveries of a lane that are due, with what may follow them, at most `limit`. Rows that an operator is changing
 * are skipped. Nothing is written: the lane is ours, and a crash leaves the rows due for the next owner.
 *
 * Of one key only an unbroken run from its first row may be carried. So a row behind another that is not due waits for it,
 * followers end before that one, and where they were cut, nothing of the key that lies beyond is taken. Before the first that is
 * due there may be one that is blocked by nothing, should its head have been removed by hand: it goes first.
 */
export async function claimTrouble({ db, schema }: Database, lane: Lane, limit: number): Promise<Trouble> {
  const ordered = lane.route.ordering === 'key'
  const said = lane.dueSaid
  // In flight, or ended and not settled yet: those are not due, whatever their rows say, and their keys must wait for them.
  const inHand = [...lane.parked.keys(), ...lane.late.map(({ carried }) => carried.position)].map(String)
  const heldKeys = ordered ? [...lane.parked.values(), ...lane.late.map(({ carried }) => carried.event.key)] : []
  const keys = heldKeys.filter((key) => key !== null)
  const { rows } = await sql<DueRow>`
    with due as materialized (
      select d.* from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.lane = ${lane.number} and d.state in ('scheduled', 'retrying')
        and d.available_at <= clock_timestamp()
        and d.position <> all(${inHand}::bigint[]) and (d.key is null or d.key <> all(${keys}::text[]))
      order by d.available_at limit ${limit}
      for update skip locked
    ), later as (
      select extract(epoch from d.available_at - clock_timestamp())::float8 * 1000 as next_in_ms
      from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.lane = ${lane.number} and d.state in ('scheduled', 'retrying')
        and d.available_at > clock_timestamp()
      order by d.available_at limit 1
    ), heads as materialized (
      select due.key, min(due.position) as position, least((
        select min(o.position) from ${schema}.deliveries as o
        where o.sink = ${lane.sink} and o.key = due.key and o.state in ('retrying', 'dead') and not o.parked
          and not exists (select from due as same where same.position = o.position)
      ), (
        select min(b.position) from ${schema}.deliveries as b
        where b.sink = ${lane.sink} and b.key = due.key and b.state = 'blocked' and b.position < min(due.position)
      )) as barrier
      from due where ${ordered} and due.key is not null group by due.key
    ), behind as (
      select b.* from heads cross join lateral (
        select b.* from ${schema}.deliveries as b
        where b.sink = ${lane.sink} and b.key = heads.key and b.state = 'blocked'
          and b.position > heads.position and (heads.barrier is null or b.position < heads.barrier)
        order by b.position limit ${followers}
      ) as b
    ), carried as (
      select c.*, sum(coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.payload_bytes), 0))
        over (order by c.position rows between unbounded preceding and 1 preceding) as bytes_before
      from (select * from due union all select * from behind) as c
      join ${schema}.events as e on e.position = c.position and e.slot = c.slot
    )
    select found.*, (select next_in_ms from later) as next_in_ms, (select count(*) from due)::int as found_due
    from (select 1) as one left join (
      select ${eventColumns()}, o.id::text as replayed_by,
        case when o.as_new then ${schema}.replay_id(o.id, e.id) end as new_id, d.attempts, d.forgiven, d.state,
        extract(epoch from clock_timestamp() - d.available_at)::float8 * 1000 as waited_ms,
        coalesce(extract(epoch from clock_timestamp() - d.first_tried_at)::float8 * 1000, 0) as tried_for_ms,
        coalesce(d.position > heads.barrier, false) as overtaken
      from carried as d
      join ${schema}.events as e on e.position = d.position and e.slot = d.slot
      left join heads on heads.key = d.key
      left join ${schema}.operations as o on o.id = d.operation_id and o.kind = 'replay'
      where coalesce(d.bytes_before, 0) < ${maxPageBytes}
      order by d.position limit ${limit}
    ) as found on true
    order by found.position`.execute(db)

  const found = rows.filter((row) => row.id !== null)
  const next = rows[0]?.next_in_ms ?? Infinity
  // More may be due than was read; and somebody may have said so in the meantime.
  const more = (rows[0]?.found_due ?? 0) >= limit || found.length >= limit || lane.dueSaid !== said
  lane.dueAt = more ? 0 : performance.now() + next
  return sortOut(found, ordered)
}

type DueRow = EventRow & {
  readonly attempts: number
  readonly forgiven: number
  readonly state: DeliveryState
  readonly waited_ms: number
  readonly tried_for_ms: number
  readonly overtaken: boolean
  readonly replayed_by: string | null
  readonly new_id: string | null
  readonly next_in_ms: number | null
  readonly found_due: number
}

function sortOut(rows: readonly DueRow[], ordered: boolean): Trouble {
  const due: Carried[] = []
  const overtaken: Carried[] = []
  const blockedOf = new Map<string, number>()
  const readAt = performance.now()
  for (const row of rows) {
    const rest = {
      readAt,
      attempts: row.attempts,
      forgiven: row.forgiven,
      row: row.state,
      dueForMs: Math.max(0, row.waited_ms),
      triedForMs: row.tried_for_ms,
      replay: row.replayed_by === null ? null : { operation: row.replayed_by, originalId: row.new_id === null ? null : row.id },
    }
    const carried = carriedOf(row, rest, row.new_id ?? row.id)
    if (row.overtaken) {
      overtaken.push(carried)
      continue
    }
    if (ordered && row.key !== null) {
      const blocked = blockedOf.get(row.key) ?? 0
      // The followers were cut here; between them and this row there may be others.
      if (blocked >= followers) continue
      if (row.state === 'blocked') blockedOf.set(row.key, blocked + 1)
    }
    due.push(carried)
  }
  return { due, overtaken }
}

export interface Known {
  /** Keys that have an event in trouble: later ones must wait behind it. */
  readonly keys: ReadonlySet<string>
  /** Positions that have a row already: they were handled before the cursor could pass them. */
  readonly positions: ReadonlySet<string>
}

/** Which events of a page have to do with trouble. Indexed look-ups, for the whole page at once. */
export async function knownTrouble({ db, schema }: Database, lane: Lane, events: readonly Carried[]): Promise<Known> {
  const keys =
    lane.route.ordering === 'key' ? [...new Set(events.map(({ event }) => event.key).filter((key) => key !== null))] : []
  const positions = events.map(({ event }) => event.position)
  const { rows } = await sql<{ key: string | null; position: string | null }>`
    select wanted.key, null::text as position from unnest(${keys}::text[]) as wanted (key)
    where exists (
      select from ${schema}.deliveries as d where d.sink = ${lane.sink} and d.key = wanted.key and d.state = 'blocked'
    ) or exists (
      select from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.key = wanted.key
        and d.state in ('retrying', 'dead') and not d.parked
    )
    union all
    select null, d.position::text from ${schema}.deliveries as d
    where d.sink = ${lane.sink} and d.position = any(${positions}::bigint[])`.execute(db)
  return {
    keys: new Set(rows.flatMap(({ key }) => key ?? [])),
    positions: new Set(rows.flatMap(({ position }) => position ?? [])),
  }
}
