import { sql } from 'kysely'
import type { Graduation } from './cutover.ts'
import type { Window } from './log-window.ts'

/** What a sink without a log of its own has acknowledged of a window, by its audit trail. */
export interface Acknowledged {
  /** Events that are for the sink and have not moved elsewhere. */
  readonly events: number
  readonly acknowledged: number
  /** Neither acknowledged, nor given up, nor in trouble; the first ids. */
  readonly missing: { readonly count: number; readonly ids: readonly string[] }
  /** Sent, when they were acknowledged, before an earlier event of their key was. */
  readonly disordered: { readonly count: number; readonly ids: readonly string[] }
  /** False where the audit of the sink does not record everything. */
  readonly recorded: boolean
  readonly equal: boolean
}

/** Compares the log with the attempts of a sink: every event acknowledged, and of every key in order. */
export async function acknowledgements(
  sink: string,
  window: Window,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<Acknowledged> {
  const table = (name: string) => sql.ref(`${schema}.${name}`)
  const { rows } = await database.transaction((trx) =>
    sql<{
      recorded: boolean
      events: number
      acknowledged: number
      missing: number
      missing_ids: string[] | null
      disordered: number
      disordered_ids: string[] | null
    }>`
      with wanted as (
        select e.position, e.slot, e.id, e.key
        from ${table('events')} as e join ${table('sinks')} as s on s.name = ${sink}
        where e.position >= ${String(window.from)}::bigint and e.position < ${String(window.to)}::bigint
          and pg_visible_in_snapshot(e.xid, ${window.seen}::pg_snapshot)
          and (s.filter is null or e.type ~ s.filter) and (s.tenant is null or e.tenant = s.tenant)
          and not ${table('is_before')}(s, e.xid, e.position) and ${table('cutover_of')}(s.name, e.type, e.xid) is null
      ), heard as (
        select a.position, min(a.started_at) filter (where a.outcome = 'delivered') as at,
          bool_or(a.outcome in ('discarded', 'expired')) as given_up
        from ${table('attempts')} as a
        where a.sink = ${sink} and a.position >= ${String(window.from)}::bigint and a.position < ${String(window.to)}::bigint
        group by a.position
      ), judged as (
        select w.*, h.at,
          h.at is null and not coalesce(h.given_up, false)
            and not exists (select from ${table('deliveries')} as d where d.sink = ${sink} and d.position = w.position) as missing,
          h.at < max(h.at) over (partition by w.key order by w.position rows between unbounded preceding and 1 preceding) and w.key is not null as disordered
        from wanted as w left join heard as h on h.position = w.position
      )
      select (select s.audit = 'all' from ${table('sinks')} as s where s.name = ${sink}) as recorded,
        count(*)::int as events, count(j.at)::int as acknowledged,
        count(*) filter (where j.missing)::int as missing, (array_agg(j.id order by j.position) filter (where j.missing))[1:20] as missing_ids,
        count(*) filter (where j.disordered)::int as disordered, (array_agg(j.id order by j.position) filter (where j.disordered))[1:20] as disordered_ids
      from judged as j`.execute(trx),
  )
  const row = rows[0]
  if (row === undefined) throw new TypeError('a statement that always has a row had none')
  return {
    events: row.events,
    acknowledged: row.acknowledged,
    missing: { count: row.missing, ids: row.missing_ids ?? [] },
    disordered: { count: row.disordered, ids: row.disordered_ids ?? [] },
    recorded: row.recorded,
    equal: !row.recorded || (row.missing === 0 && row.disordered === 0),
  }
}
