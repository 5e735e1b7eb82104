import type { DeliveryState } from '@postrider/schema'
import { sql } from 'kysely'
import { carriedOf, eventColumns } from './claim.ts'
import type { Database } from './database.ts'
import type { Carried, Lane } from './lane.ts'

/** Followers of a head that are read with it, so that a released key does not cost a round trip for every event. */
const followers = 50

export interface Trouble {
  /** Due rows and, behind the head of a key, its blocked rows; in the order of positions. */
  readonly due: readonly Carried[]
  /** Scheduled events whose time has come, but whose key has an earlier event in trouble. */
  readonly overtaken: readonly Carried[]
}

/**
 * Reads the deliveries of a lane that are due, heads first, at most `limit`. Rows that an operator is changing are skipped.
 * Nothing is written: the lane is ours, and a crash leaves the rows due for the next owner.
 */
export async function claimTrouble({ db, schema }: Database, lane: Lane, limit: number): Promise<Trouble> {
  const ordered = lane.route.ordering === 'key'
  const parked = [...lane.parked].map(String)
  const { rows } = await sql<DueRow>`
    with due as materialized (
      select d.* from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.lane = ${lane.number} and d.state in ('scheduled', 'retrying')
        and d.available_at <= clock_timestamp() and d.position <> all(${parked}::bigint[])
      order by d.available_at limit ${limit}
      for update skip locked
    ), later as (
      select extract(epoch from d.available_at - clock_timestamp())::float8 * 1000 as next_in_ms
      from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.lane = ${lane.number} and d.state in ('scheduled', 'retrying')
        and d.available_at > clock_timestamp()
      order by d.available_at limit 1
    ), carried as (
      select due.* from due
      union
      select behind.* from due cross join lateral (
        select b.* from ${schema}.deliveries as b
        where ${ordered} and b.sink = due.sink and b.key = due.key and b.position > due.position and b.state = 'blocked'
        order by b.position limit ${followers}
      ) as behind
    )
    select ${eventColumns}, d.attempts, d.forgiven, d.state, extract(epoch from d.available_at)::float8 * 1000 as due_ms,
      (select next_in_ms from later) as next_in_ms,
      ${ordered} and d.state = 'scheduled' and exists (
        select from ${schema}.deliveries as o
        where o.sink = d.sink and o.key = d.key and o.position <> d.position
          and (o.state in ('retrying', 'held') or o.state = 'dead' and ${lane.route.onDead} = 'block')
      ) as overtaken
    from (select 1) as one
    left join (carried as d join ${schema}.events as e on e.position = d.position and e.slot = d.slot) on true
    order by d.position`.execute(db)

  const found = rows.filter((row) => row.id !== null)
  const due: Carried[] = []
  const overtaken: Carried[] = []
  for (const row of found) {
    const carried = carriedOf(row, { attempts: row.attempts, forgiven: row.forgiven, row: row.state, dueSinceMs: row.due_ms })
    if (row.overtaken) overtaken.push(carried)
    else due.push(carried)
  }
  const next = rows[0]?.next_in_ms
  // A full batch: there may be more that is due now.
  lane.dueAt = found.length >= limit ? 0 : next === null || next === undefined ? Infinity : performance.now() + next
  return { due, overtaken }
}

type DueRow = Parameters<typeof carriedOf>[0] & {
  readonly attempts: number
  readonly forgiven: number
  readonly due_ms: number
  readonly state: DeliveryState
  readonly overtaken: boolean
  readonly next_in_ms: number | null
}

export interface Known {
  /** Keys that have an event in trouble: later ones must wait behind it. */
  readonly keys: ReadonlySet<string>
  /** Positions that have a row already: they were handled before the cursor could pass them. */
  readonly positions: ReadonlySet<string>
}

/** Which events of a page have to do with trouble. Two indexed look-ups for the whole page. */
export async function knownTrouble({ db, schema }: Database, lane: Lane, events: readonly Carried[]): Promise<Known> {
  const keys =
    lane.route.ordering === 'key' ? [...new Set(events.map(({ event }) => event.key).filter((key) => key !== null))] : []
  const positions = events.map(({ event }) => event.position)
  const { rows } = await sql<{ key: string | null; position: string | null }>`
    select wanted.key, null::text as position from unnest(${keys}::text[]) as wanted (key)
    where exists (
      select from ${schema}.deliveries as d
      where d.sink = ${lane.sink} and d.key = wanted.key
        and (d.state in ('retrying', 'blocked', 'held') or d.state = 'dead' and ${lane.route.onDead} = 'block')
    )
    union all
    select null, d.position::text from ${schema}.deliveries as d
    where d.sink = ${lane.sink} and d.position = any(${positions}::bigint[])`.execute(db)
  return {
    keys: new Set(rows.flatMap(({ key }) => key ?? [])),
    positions: new Set(rows.flatMap(({ position }) => position ?? [])),
  }
}
