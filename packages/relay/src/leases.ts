import { sql } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'
import { Lane, type Route } from './lane.ts'

/** What a heartbeat tells about the others. */
export interface Beat {
  /** Lanes that are still ours. */
  readonly mine: readonly { readonly sink: string; readonly lane: number }[]
  /** Relays alive, in a fixed order, and our place among them. */
  readonly relays: number
  readonly rank: number
  /** When the next lease of another relay ends, in ms; null when nobody else holds one. */
  readonly nextExpiryMs: number | null
  /** Trouble is due in these lanes of ours. */
  readonly due: readonly { readonly sink: string; readonly lane: number }[]
}

/** One round trip: says that this relay lives, renews the leases of its lanes, and looks at the others. */
export async function beat(
  { db, schema }: Database,
  relay: string,
  name: string,
  version: string,
  leaseMs: number,
): Promise<Beat> {
  const { rows } = await sql<{
    mine: Beat['mine'] | null
    due: Beat['due'] | null
    relays: string[]
    next_expiry_ms: number | null
  }>`
    with alive as (
      insert into ${schema}.relays as r (id, name, version) values (${relay}, ${name}, ${version})
      on conflict (id) do update set seen_at = clock_timestamp()
      returning id
    ), renewed as (
      update ${schema}.lanes set leased_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
      where relay = ${relay}
      returning sink, lane
    )
    select
      (select json_agg(json_build_object('sink', sink, 'lane', lane)) from renewed) as mine,
      (
        select json_agg(json_build_object('sink', l.sink, 'lane', l.lane)) from ${schema}.lanes as l
        where l.relay = ${relay} and exists (
          select from ${schema}.deliveries as d
          where d.sink = l.sink and d.lane = l.lane and d.state in ('scheduled', 'retrying') and d.available_at <= clock_timestamp())
      ) as due,
      array(
        select id::text from alive
        union
        select r.id::text from ${schema}.relays as r where r.seen_at > clock_timestamp() - ${leaseMs} * interval '1 millisecond'
        order by 1
      ) as relays,
      (select extract(epoch from min(leased_until) - clock_timestamp())::float8 * 1000 from ${schema}.lanes
        where relay <> ${relay} and leased_until > clock_timestamp()) as next_expiry_ms`.execute(db)
  const row = rows[0]
  return {
    mine: row?.mine ?? [],
    due: row?.due ?? [],
    relays: row?.relays.length ?? 1,
    rank: row?.relays.indexOf(relay) ?? 0,
    nextExpiryMs: row?.next_expiry_ms ?? null,
  }
}

/** How many lanes of a sink are ours by right: an even share, the remainder dealt out so that no relay gets it of every sink. */
export function shareOf(lanes: number, relays: number, rank: number, sinkIndex: number): number {
  const remainder = lanes % relays
  return Math.floor(lanes / relays) + ((rank + sinkIndex) % relays < remainder ? 1 : 0)
}

/**
 * Claims up to `count` free lanes of a sink. Each claim takes the next fence, so that whoever had the lane before
 * can write nothing more. Another relay's claims are skipped, never waited for.
 */
export async function claimLanes(
  { db, schema }: Database,
  relay: string,
  route: Route,
  count: number,
  leaseMs: number,
): Promise<Lane[]> {
  const asked = performance.now()
  const { rows } = await sql<{
    lane: number
    anchor: string
    fence: string
    done: string
    target: string | null
    position: string
    horizon: string | null
  }>`
    with free as (
      select sink, lane from ${schema}.lanes
      where sink = ${route.name} and leased_until < clock_timestamp()
      order by leased_until, lane limit ${count}
      for update skip locked
    ), claimed as (
      update ${schema}.lanes as l set relay = ${relay}, leased_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
      from free where l.sink = free.sink and l.lane = free.lane
      returning l.sink, l.lane, l.anchor
    ), fenced as (
      insert into ${schema}.checkpoints (sink, lane, fence, done, target, position, horizon, relay)
      select c.sink, c.lane, newest.fence + 1, newest.done, newest.target, newest.position, newest.horizon, ${relay}
      from claimed as c cross join lateral (
        select * from ${schema}.checkpoints as k where k.sink = c.sink and k.lane = c.lane order by k.fence desc limit 1
      ) as newest
      returning *
    )
    select f.lane, c.anchor::text as anchor, f.fence::text as fence, f.done::text as done, f.target::text as target,
      f.position::text as position, f.horizon::text as horizon
    from fenced as f join claimed as c on c.sink = f.sink and c.lane = f.lane`.execute(db)
  return rows.map((row) => {
    publish('postrider:lane', { sink: route.name, lane: row.lane, relay, change: 'claimed' })
    return new Lane(
      route,
      row.lane,
      row.anchor,
      BigInt(row.fence),
      { done: row.done, target: row.target, position: BigInt(row.position), horizon: row.horizon },
      asked + leaseMs,
    )
  })
}

/** Renews the leases of a relay that has signed off, and is finishing what it has in hand. Returns the lanes that are still its own. */
export async function renewLeases({ db, schema }: Database, relay: string, leaseMs: number): Promise<Beat['mine']> {
  const { rows } = await sql<{ sink: string; lane: number }>`
    update ${schema}.lanes set leased_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
    where relay = ${relay}
    returning sink, lane`.execute(db)
  return rows
}

/** Gives a lane back at once, so that nobody has to wait for its lease to end, and tells the others. */
export async function releaseLane(
  { db, schema, schemaName }: Database,
  relay: string,
  sink: string,
  lane: number,
): Promise<void> {
  await sql`
    with freed as (
      update ${schema}.lanes set relay = null, leased_until = '-infinity'
      where sink = ${sink} and lane = ${lane} and relay = ${relay}
      returning lane
    )
    select pg_notify(${schemaName}, 'lanes') from freed`.execute(db)
  publish('postrider:lane', { sink, lane, relay, change: 'released' })
}

/** The relay counts no longer among those that share the lanes; relays that died are forgotten after a day. */
export async function signOff({ db }: Database, relay: string): Promise<void> {
  await db
    .deleteFrom('relays')
    .where((where) => where.or([where('id', '=', relay), where('seen_at', '<', sql<Date>`clock_timestamp() - interval '1 day'`)]))
    .execute()
}

/** Checkpoints are a journal: all but the newest few of a lane go. */
export async function pruneCheckpoints({ db }: Database, lane: Lane): Promise<void> {
  await db
    .deleteFrom('checkpoints')
    .where('sink', '=', lane.sink)
    .where('lane', '=', lane.number)
    .where('fence', '<', String(lane.fence - 20n))
    .execute()
}
