import { sql } from 'kysely'
import type { Database } from './connect.ts'
import { modeOf, type Mode } from './mode.ts'

/** The views stop counting here. */
export const countedUpTo = 10_000
/** A relay that has not been seen for so long is gone: three times the longest pause between two signs of life. */
const aliveSeconds = 30

export interface Status {
  readonly schema: string
  readonly sinks: readonly SinkStatus[]
  readonly relays: readonly RelayStatus[]
}

export interface SinkStatus {
  readonly name: string
  readonly kind: string
  /** `shadow`: nobody depends on it yet. */
  readonly mode: Mode
  /** `degraded` is an active one whose circuit is not closed. */
  readonly state: 'pending' | 'active' | 'degraded' | 'paused' | 'disabled' | 'gone'
  /** Of the state: since when, by whom, why, and until when. */
  readonly since: Date | null
  readonly by: string | null
  readonly reason: string | null
  readonly until: Date | null
  readonly circuit: 'closed' | 'open' | 'half_open'
  /** The destination asked for a pause until then. */
  readonly quietUntil: Date | null
  /** Limits in force over all relays; `rate` in events a second, null for none. */
  readonly concurrency: number
  readonly rate: number | null
  /** An operator has set them. */
  readonly limitsAreLive: boolean
  /** Events that the sink has not reached; at most 10,001, which means more than 10,000. So are the other counts. */
  readonly pending: number
  /** False when the backlog is so long that not all of it was looked at: `pending` is then a lower bound. */
  readonly pendingIsAll: boolean
  readonly oldestPendingSeconds: number | null
  readonly scheduled: number
  readonly retrying: number
  readonly blocked: number
  readonly dead: number
  /** In the last minute. */
  readonly deliveredPerSecond: number
  readonly failedPerSecond: number
  /** `relay` is the name of who carries the lane now, or null. */
  readonly lanes: readonly { readonly lane: number; readonly relay: string | null }[]
}

export interface RelayStatus {
  readonly id: string
  readonly name: string
  readonly version: string
  readonly startedAt: Date
  readonly seenSecondsAgo: number
  readonly alive: boolean
}

/** How sinks (all, or one with its endpoints) and relays are. */
export async function readStatus(database: Database, schema: string, sink: string | null = null): Promise<Status> {
  const secondsSince = (column: string): ReturnType<typeof sql<number>> =>
    sql<number>`extract(epoch from clock_timestamp() - ${sql.ref(column)})::float8`
  return await database.transaction(async (trx) => {
    const sinks = await trx
      .selectFrom('sink_status as s')
      .leftJoin('recent_rates as r', 'r.sink', 's.sink')
      .selectAll('s')
      .select(['r.delivered', 'r.failed'])
      .select(secondsSince('oldest_pending_at').as('age'))
      .$if(sink !== null, (query) =>
        query.where((where) => where.or([where('s.sink', '=', sink ?? ''), where('s.family', '=', sink ?? '')])),
      )
      .orderBy('s.sink')
      .execute()
    const lanes = await trx
      .selectFrom('lanes as l')
      .leftJoin('relays as r', (join) =>
        join.onRef('r.id', '=', 'l.relay').on('l.leased_until', '>', sql<Date>`clock_timestamp()`),
      )
      .select(['l.sink', 'l.lane', 'r.name as relay'])
      .orderBy('l.lane')
      .execute()
    const relays = await trx
      .selectFrom('relays')
      .selectAll()
      .select(secondsSince('seen_at').as('ago'))
      .orderBy('started_at')
      .execute()
    const lanesOf = Map.groupBy(lanes, (lane) => lane.sink)
    return {
      schema,
      sinks: sinks.map((row) => ({
        name: row.sink,
        kind: row.kind,
        mode: modeOf(row.kind),
        state: row.state,
        since: row.since,
        by: row.by,
        reason: row.reason,
        until: row.until,
        circuit: row.circuit,
        quietUntil: row.quiet_until,
        concurrency: row.concurrency,
        rate: row.rate,
        limitsAreLive: row.limits_are_live,
        pending: Number(row.pending),
        pendingIsAll: row.counted_all,
        oldestPendingSeconds: row.oldest_pending_at === null ? null : Math.max(0, row.age),
        scheduled: Number(row.scheduled),
        retrying: Number(row.retrying),
        blocked: Number(row.blocked),
        dead: Number(row.dead),
        deliveredPerSecond: row.delivered ?? 0,
        failedPerSecond: row.failed ?? 0,
        lanes: (lanesOf.get(row.sink) ?? []).map(({ lane, relay }) => ({ lane, relay })),
      })),
      relays: relays.map((row) => ({
        id: row.id,
        name: row.name,
        version: row.version,
        startedAt: row.started_at,
        seenSecondsAgo: Math.max(0, row.ago),
        alive: row.ago < aliveSeconds,
      })),
    }
  })
}
