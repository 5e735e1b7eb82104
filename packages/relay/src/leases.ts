import { sql, type RawBuilder } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'
import { Lane, type Route } from './lane.ts'
import { firstCare } from './poison.ts'
import type { SinkState } from './routes.ts'

/** A lane of a sink, by name. */
interface LaneName {
  readonly sink: string
  readonly lane: number
}

interface OwnLane extends LaneName {
  /** False while somebody else is changing it: its lease runs on as it was. */
  readonly renewed: boolean
}

/** What a heartbeat tells about the others. */
export interface Beat {
  /** Lanes that are still ours. */
  readonly mine: readonly OwnLane[]
  /** Trouble is due in these lanes of ours. */
  readonly due: readonly LaneName[]
  /** Relays alive, ourselves among them, in a fixed order, with the sinks that each has. */
  readonly relays: readonly { readonly id: string; readonly sinks: readonly string[] }[]
  /** When the next lease of another relay ends, in ms; null when nobody else holds one. */
  readonly nextExpiryMs: number | null
  /** How the sinks are to be carried now. */
  readonly sinks: readonly SinkState[]
  /** Which endpoints there are: a word that changes with any of them. */
  readonly endpoints: string
  /** An operation of an operator is to be worked off. */
  readonly operations: boolean
}

/** Who says that it lives. */
export interface Self {
  readonly id: string
  readonly name: string
  readonly version: string
  /** Sinks of its configuration; those that fan out stand for all their endpoints. */
  readonly sinks: readonly string[]
}

/** One round trip: says that this relay lives, renews the leases of its lanes, and looks at the others. */
export async function beat({ db, schema }: Database, self: Self, leaseMs: number): Promise<Beat> {
  const { rows } = await sql<{
    mine: Beat['mine'] | null
    due: Beat['due'] | null
    others: Beat['relays'] | null
    next_expiry_ms: number | null
    sinks: Beat['sinks'] | null
    endpoints: string
    operations: boolean
  }>`
    with alive as (
      insert into ${schema}.relays as r (id, name, version, sinks, saw)
      values (${self.id}, ${self.name}, ${self.version}, ${self.sinks}::text[], pg_current_snapshot())
      on conflict (id) do update set seen_at = clock_timestamp(), saw = excluded.saw
    ), ${renewal(schema, self.id, leaseMs)}
    select
      (select json_agg(to_json(mine)) from mine) as mine,
      (
        select json_agg(json_build_object('sink', l.sink, 'lane', l.lane)) from ${schema}.lanes as l
        where l.relay = ${self.id} and exists (
          select from ${schema}.deliveries as d
          where d.sink = l.sink and d.lane = l.lane and d.state in ('scheduled', 'retrying') and d.available_at <= clock_timestamp())
      ) as due,
      (
        select json_agg(json_build_object('id', r.id, 'sinks', r.sinks)) from ${schema}.relays as r
        where r.id <> ${self.id} and r.seen_at > clock_timestamp() - ${leaseMs} * interval '1 millisecond'
      ) as others,
      (select extract(epoch from min(leased_until) - clock_timestamp())::float8 * 1000 from ${schema}.lanes
        where relay <> ${self.id} and leased_until > clock_timestamp()) as next_expiry_ms,
      (
        select json_agg(json_build_object(
          'name', s.name,
          'state', case when s.state = 'paused' and s.state_until <= clock_timestamp() then 'active' else s.state end,
          'resumes_in_ms', case when s.state = 'paused' then extract(epoch from s.state_until - clock_timestamp())::float8 * 1000 end,
          'concurrency', coalesce(s.live_concurrency, s.concurrency),
          'per_second', nullif(coalesce(s.live_rate, s.rate), 'infinity'),
          'cut_over', exists (select from ${schema}.cutovers as o where o.sink = s.name),
          'quiet_ms', greatest(0, extract(epoch from c.quiet_until - clock_timestamp())::float8 * 1000),
          'circuit', case when c.sink is not null
            then json_build_object('state', c.state, 'in_ms', extract(epoch from c.until - clock_timestamp())::float8 * 1000) end))
        from ${schema}.sinks as s left join ${schema}.circuits as c on c.sink = s.name
        where not s.fans_out and (s.name = any(${self.sinks}::text[]) or s.family = any(${self.sinks}::text[]))
      ) as sinks,
      (
        -- The sum and not the newest: what changed first may be committed last.
        select concat(count(*), ' ', sum(extract(epoch from s.changed_at))) from ${schema}.sinks as s where s.family = any(${self.sinks}::text[])
      ) as endpoints,
      exists (select from ${schema}.operations where state in ('pending', 'running')) as operations`.execute(db)
  const row = rows[0]
  return {
    mine: row?.mine ?? [],
    due: row?.due ?? [],
    relays: [...(row?.others ?? []), self].sort((a, b) => (a.id < b.id ? -1 : 1)),
    nextExpiryMs: row?.next_expiry_ms ?? null,
    sinks: row?.sinks ?? [],
    endpoints: row?.endpoints ?? '',
    operations: row?.operations ?? false,
  }
}

/**
 * How many lanes of a sink are a relay's by right: an even share among the relays that have the sink.
 * The remainder goes to those from a place on that the name of the sink gives, so that no relay gets it of every sink.
 */
export function shareOf(
  { name, laneCount: lanes, family }: Pick<Route, 'name' | 'laneCount' | 'family'>,
  relays: Beat['relays'],
  self: string,
): number {
  const having = relays.filter(({ sinks }) => sinks.includes(family ?? name))
  const rank = having.findIndex(({ id }) => id === self)
  if (rank === -1) return 0
  const from = [...name].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0)
  const gets = (rank + from) % having.length < lanes % having.length
  return Math.floor(lanes / having.length) + (gets ? 1 : 0)
}

/**
 * Claims up to `count` free lanes of a sink. Each claim takes the next fence, so that whoever had the lane before
 * can write nothing more. Another relay's claims are skipped, never waited for; so are the lanes `except`.
 */
export async function claimLanes(
  { db, schema }: Database,
  relay: string,
  route: Route,
  count: number,
  except: readonly number[],
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
    careful: number
    suspect: string | null
    strikes: number
    doubt_until: string | null
    cut_over: boolean
  }>`
    with free as (
      select sink, lane, relay is not null as left_behind from ${schema}.lanes
      where sink = ${route.name} and leased_until < clock_timestamp() and lane <> all(${except}::smallint[])
      order by leased_until, lane limit ${count}
      for update skip locked
    ), claimed as (
      update ${schema}.lanes as l set relay = ${relay}, leased_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond',
        -- Nobody gave it back: whoever had it may have died of what it carried.
        careful = case when not free.left_behind then l.careful when l.careful = 0 then ${firstCare}::int else greatest(1, l.careful / 8) end,
        strikes = case when free.left_behind and l.at_risk then l.strikes + 1 else l.strikes end, at_risk = false
      from free where l.sink = free.sink and l.lane = free.lane
      returning l.sink, l.lane, l.anchor, l.careful, l.suspect, l.strikes, l.doubt_until, free.left_behind
    ), in_flight as (
      -- What it had in flight may be what it died of: it is carried first, while the lane is careful.
      update ${schema}.deliveries as d set available_at = clock_timestamp()
      from free where free.left_behind and d.sink = free.sink and d.lane = free.lane
        and d.state = 'retrying' and d.error_code = 'slow' and d.available_at > clock_timestamp()
    ), fenced as (
      insert into ${schema}.checkpoints (sink, lane, fence, done, target, position, horizon, relay)
      select c.sink, c.lane, newest.fence + 1, newest.done, newest.target, newest.position, newest.horizon, ${relay}
      from claimed as c cross join lateral (
        select * from ${schema}.checkpoints as k where k.sink = c.sink and k.lane = c.lane order by k.fence desc limit 1
      ) as newest
      returning *
    )
    select f.lane, c.anchor::text as anchor, f.fence::text as fence, f.done::text as done, f.target::text as target,
      f.position::text as position, f.horizon::text as horizon, c.careful, c.suspect::text as suspect, c.strikes,
      case when c.left_behind then (select max(e.position) from ${schema}.events as e) else c.doubt_until end::text as doubt_until,
      exists (select from ${schema}.cutovers as o where o.sink = f.sink) as cut_over
    from fenced as f join claimed as c on c.sink = f.sink and c.lane = f.lane`.execute(db)
  // Whoever had them before may know of a cutover that our last beat has not seen.
  if (rows.some((row) => row.cut_over)) route.cutOver = true
  return rows.map((row) => {
    publish('postrider:lane', { sink: route.name, lane: row.lane, relay, change: 'claimed' })
    return new Lane(
      route,
      row.lane,
      row.anchor,
      BigInt(row.fence),
      { done: row.done, target: row.target, position: BigInt(row.position), horizon: row.horizon },
      asked + leaseMs,
      { pageSize: row.careful, suspect: row.suspect === null ? null : BigInt(row.suspect), strikes: row.strikes, atRisk: false },
      row.doubt_until === null ? null : BigInt(row.doubt_until),
    )
  })
}

/** Renews the leases of a relay that has signed off, and is finishing what it has in hand. Returns the lanes that are still its own. */
export async function renewLeases({ db, schema }: Database, relay: string, leaseMs: number): Promise<Beat['mine']> {
  const { rows } = await sql<OwnLane>`with ${renewal(schema, relay, leaseMs)} select * from mine`.execute(db)
  return rows
}

/**
 * Renews the leases of a relay, as the tables `renewed` and `mine`. The lanes of a sink that an operator is about to change
 * are locked until the end of that transaction: the leases of all others must not wait for it.
 */
function renewal(schema: RawBuilder<unknown>, relay: string, leaseMs: number): RawBuilder<unknown> {
  return sql`
    free_to_renew as materialized (
      select l.sink, l.lane from ${schema}.lanes as l where l.relay = ${relay} for update skip locked
    ), renewed as (
      update ${schema}.lanes as l set leased_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
      from free_to_renew as f where l.sink = f.sink and l.lane = f.lane
      returning l.sink, l.lane
    ), mine as (
      select l.sink, l.lane, r.lane is not null as renewed
      from ${schema}.lanes as l left join renewed as r on r.sink = l.sink and r.lane = l.lane
      where l.relay = ${relay}
    )`
}

/**
 * Gives a lane back at once, so that nobody has to wait for its lease to end, and tells the others.
 * @param doubtful of some of its events it is not known whether they were sent
 */
export async function releaseLane(
  { db, schema, schemaName }: Database,
  relay: string,
  sink: string,
  lane: number,
  doubtful: boolean,
): Promise<void> {
  await sql`
    with freed as (
      update ${schema}.lanes set relay = null, leased_until = '-infinity',
        doubt_until = case when ${doubtful}::boolean then (select max(e.position) from ${schema}.events as e) end
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
