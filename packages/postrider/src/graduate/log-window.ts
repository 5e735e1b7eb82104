import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import type { Graduation } from './cutover.ts'

/** Events of the log that are compared together: those from a position on, up to (not including) another, that were visible in a snapshot. */
export interface Window {
  readonly from: bigint
  readonly to: bigint
  readonly seen: string
}

/** An event as the log has it. */
export interface Logged {
  readonly position: bigint
  readonly id: string
  readonly key: string | null
  /** Of the payload's bytes; null where it has none. */
  readonly hash: string | null
}

const pageSize = 10_000

/** Hexadecimal digits of a SHA-256 that are kept: 96 bits. */
export const hashLength = 24

/**
 * The window that ends now and holds at most so many events; null when there is none. Transactions that are open now may hold
 * positions inside of it, so their ends are awaited; but for those of other databases of the cluster.
 * @throws PostriderError `cutover_refused` when one of them stays open.
 */
export async function windowFrom(
  from: bigint,
  most: number,
  { database, schema, deadlineMs = 60_000 }: Pick<Graduation, 'database' | 'schema' | 'deadlineMs'>,
): Promise<Window | null> {
  const bounds = await database.transaction(async (trx) => {
    const { rows } = await sql<{ next: string; first: string | null; last: string | null }>`
      select pg_snapshot_xmax(pg_current_snapshot())::text as next, min(w.position)::text as first, max(w.position)::text as last
      from (
        select e.position from ${sql.ref(`${schema}.events`)} as e where e.position >= ${String(from)}::bigint order by e.position limit ${most}
      ) as w`.execute(trx)
    return rows[0]
  })
  if (bounds === undefined || bounds.first === null || bounds.last === null) return null
  const to = BigInt(bounds.last) + 1n
  for (const until = performance.now() + deadlineMs; ;) {
    const { rows } = await database.transaction((trx) =>
      sql<{ seen: string; first: string | null; ended: boolean }>`
        select pg_current_snapshot()::text as seen, not exists (
          select from pg_snapshot_xip(pg_current_snapshot()) as open (xid) where open.xid < ${bounds.next}::xid8 and not ${isElsewhere}
        ) as ended, (
          select e.position::text from ${sql.ref(`${schema}.events`)} as e where e.position >= ${String(from)}::bigint order by e.position limit 1
        ) as first`.execute(trx),
    )
    const now = rows[0]
    if (now?.ended === true) return { from: BigInt(now.first ?? bounds.first), to, seen: now.seen }
    if (performance.now() > until) {
      throw new PostriderError(
        'cutover_refused',
        'a transaction has been open for the whole time, and may hold events of this window: select * from pg_stat_activity where backend_xid is not null and datname = current_database() order by xact_start, or select * from pg_prepared_xacts',
      )
    }
    await sleep(50)
  }
}

/**
 * Whether `open.xid` is a transaction of another database of the cluster, which can't hold events of this one. One that is not known
 * to be (it has just begun or ended) is taken for one of this. A lock names the lower half of the id.
 */
const isElsewhere = sql`(
  exists (
    select from pg_locks as l join pg_stat_activity as a on a.pid = l.pid
    where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted and a.datname <> current_database()
      and l.transactionid::text::bigint = open.xid::text::bigint & 4294967295)
  or exists (
    select from pg_prepared_xacts as p
    where p.database <> current_database() and p.transaction::text::bigint = open.xid::text::bigint & 4294967295))`

/** The events of a window that are for a sink, in the order of their positions. */
export async function* readLog(
  sink: string,
  window: Window,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): AsyncIterable<Logged> {
  const table = (name: string) => sql.ref(`${schema}.${name}`)
  let from = window.from
  for (;;) {
    const rows = await database.transaction(async (trx) => {
      const { rows } = await sql<{ position: string; id: string | null; key: string | null; hash: string | null }>`
        select p.position::text as position, e.id, e.key, e.hash
        from (
          select e.position, e.slot from ${table('events')} as e
          where e.position >= ${String(from)}::bigint and e.position < ${String(window.to)}::bigint order by e.position limit ${pageSize}
        ) as p
        left join lateral (
          select e.id, e.key,
            left(encode(sha256(coalesce(e.payload_bytes, convert_to(e.payload::text, 'UTF8'))), 'hex'), ${hashLength}) as hash
          from ${table('events')} as e
          join ${table('sinks')} as s on s.name = ${sink}
          where e.position = p.position and e.slot = p.slot and pg_visible_in_snapshot(e.xid, ${window.seen}::pg_snapshot)
            and (s.filter is null or e.type ~ s.filter) and (s.tenant is null or e.tenant = s.tenant)
            and not ${table('is_before')}(s, e.xid, e.position)
        ) as e on true
        order by p.position`.execute(trx)
      return rows
    })
    for (const { position, id, key, hash } of rows) if (id !== null) yield { position: BigInt(position), id, key, hash }
    const last = rows.at(-1)
    if (last === undefined || rows.length < pageSize) return
    from = BigInt(last.position) + 1n
  }
}

/** What is known of events that a sink has not delivered: by id, why. */
export async function unsentOf(
  sink: string,
  ids: readonly string[],
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<ReadonlyMap<string, string>> {
  const table = (name: string) => sql.ref(`${schema}.${name}`)
  const { rows } = await database.transaction((trx) =>
    sql<{ id: string; why: string }>`
      select d.event_id as id, d.state as why from ${table('deliveries')} as d where d.sink = ${sink} and d.event_id = any(${ids}::uuid[])
      union all
      select a.event_id, a.outcome from ${table('events')} as e
      join ${table('attempts')} as a on a.position = e.position and a.slot = e.slot
      where e.id = any(${ids}::uuid[]) and a.sink = ${sink} and a.outcome in ('discarded', 'expired')`.execute(trx),
  )
  return new Map(rows.map(({ id, why }) => [id, why]))
}
