import { sql, type RawBuilder } from 'kysely'
import type { Graduation } from './cutover.ts'
import type { Window } from './log-window.ts'

interface Named {
  readonly count: number
  /** The first of them. */
  readonly ids: readonly string[]
}

/** What a sink without a log of its own has acknowledged of a window, by its audit trail. */
export interface Acknowledged {
  /** Events that are for the sink and have not moved elsewhere. */
  readonly events: number
  readonly acknowledged: number
  /** Neither acknowledged, nor given up, nor in trouble. */
  readonly missing: Named
  /** Sent, when they were acknowledged, before an earlier event of their key was. */
  readonly disordered: Named
  /** False where the audit of the sink does not record everything. */
  readonly recorded: boolean
  readonly equal: boolean
}

/** Positions that one statement looks at. */
const pageSize = 20_000
const named = 20

interface Row {
  readonly position: string
  readonly id: string | null
  readonly key: string | null
  /** When the attempt began that was acknowledged, in milliseconds. */
  readonly at: number | null
  readonly accounted: boolean
}

/** Compares the log with the attempts of a sink: every event acknowledged, and of every key in order. */
export async function acknowledgements(
  sink: string,
  window: Window,
  graduation: Pick<Graduation, 'database' | 'schema'>,
): Promise<Acknowledged> {
  const missing: string[] = []
  const disordered: string[] = []
  const newest = new Map<string, number>()
  let events = 0
  let acknowledged = 0
  for (let from = window.from; ;) {
    const rows = await readPage(sink, from, window, graduation)
    for (const { id, key, at, accounted } of rows) {
      if (id === null) continue
      events++
      if (at === null) {
        if (!accounted) missing.push(id)
        continue
      }
      acknowledged++
      if (key === null) continue
      if (at < (newest.get(key) ?? 0)) disordered.push(id)
      else newest.set(key, at)
    }
    const last = rows.at(-1)
    if (last === undefined || rows.length < pageSize) break
    from = BigInt(last.position) + 1n
  }
  const recorded = await recordsAll(sink, graduation)
  return {
    events,
    acknowledged,
    missing: { count: missing.length, ids: missing.slice(0, named) },
    disordered: { count: disordered.length, ids: disordered.slice(0, named) },
    recorded,
    equal: !recorded || missing.length + disordered.length === 0,
  }
}

/** Events from a position on in order, as the sink should have them; a row without an id is none of its own. */
async function readPage(
  sink: string,
  from: bigint,
  window: Window,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<readonly Row[]> {
  const table = (name: string): RawBuilder<unknown> => sql.ref(`${schema}.${name}`)
  return await database.transaction(async (trx) => {
    // Tables of which nothing is known yet look small, and would be walked through for every event.
    await sql`set local enable_nestloop = off`.execute(trx)
    const { rows } = await sql<Row>`
      with page as materialized (
        select e.* from ${table('events')} as e
        where e.position >= ${String(from)}::bigint and e.position < ${String(window.to)}::bigint order by e.position limit ${pageSize}
      ), wanted as (
        select e.position, e.id, e.key
        from page as e join ${table('sinks')} as s on s.name = ${sink}
        where pg_visible_in_snapshot(e.xid, ${window.seen}::pg_snapshot)
          and (s.filter is null or e.type ~ s.filter) and (s.tenant is null or e.tenant = s.tenant)
          and not ${table('is_before')}(s, e.xid, e.position) and ${table('cutover_of')}(s.name, e.type, e.xid) is null
      ), heard as (
        select a.position, min(a.started_at) filter (where a.outcome = 'delivered') as at,
          bool_or(a.outcome in ('discarded', 'expired')) as given_up
        from ${table('attempts')} as a
        where a.sink = ${sink} and a.position >= ${String(from)}::bigint and a.position <= (select max(p.position) from page as p)
        group by a.position
      )
      select p.position::text as position, w.id, w.key, extract(epoch from h.at)::float8 * 1000 as at,
        coalesce(h.given_up, false) or d.position is not null as accounted
      from page as p
      left join wanted as w on w.position = p.position
      left join heard as h on h.position = p.position
      left join ${table('deliveries')} as d on d.sink = ${sink} and d.position = p.position
      order by p.position`.execute(trx)
    return rows
  })
}

async function recordsAll(sink: string, { database, schema }: Pick<Graduation, 'database' | 'schema'>): Promise<boolean> {
  const { rows } = await database.transaction((trx) =>
    sql<{ audit: string }>`select s.audit from ${sql.ref(`${schema}.sinks`)} as s where s.name = ${sink}`.execute(trx),
  )
  return rows[0]?.audit === 'all'
}
