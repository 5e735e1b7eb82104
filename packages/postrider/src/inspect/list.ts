import { PostriderError } from '@postrider/schema'
import { sql, type RawBuilder } from 'kysely'
import type { Database } from '../connect.ts'
import type { ListedState } from './listed-states.ts'

export interface ListFilter {
  readonly sink: string | null
  readonly state: ListedState | null
  readonly types: readonly string[] | null
  readonly key: string | null
  readonly tenant: string | null
  readonly since: string | null
  readonly until: string | null
}

export interface ListedEvent {
  readonly position: string
  readonly id: string
  readonly type: string
  readonly key: string | null
  readonly tenant: string | null
  readonly createdAt: string
}

export interface EventPage {
  /** In the order of the log. */
  readonly events: readonly ListedEvent[]
  /** There may be more after this position; null: there is no more. */
  readonly next: string | null
  /** Without a place to begin at, only the newest events are looked at; true when there were older ones. */
  readonly olderUnseen: boolean
}

/** So much of the log is looked at for one page, however few events of it match. */
const look = 100_000

/**
 * A page of events. It begins after a position or at a time; without either it is the end of the log. No page reads more
 * than a bounded part of the log.
 * @throws PostriderError `not_found`: there is no such sink
 */
export async function listEvents(
  database: Database,
  schema: string,
  filter: ListFilter,
  { after, limit }: { readonly after: string | null; readonly limit: number },
): Promise<EventPage> {
  const of = (name: string): RawBuilder<unknown> => sql.ref(`${schema}.${name}`)
  const newest = after === null && filter.since === null
  const bounds = sql`
    (${after}::bigint is null or e.position > ${after}::bigint)
    and (${filter.since}::timestamptz is null or e.position >= coalesce(${of('position_at')}(${filter.since}::timestamptz), 9223372036854775807))
    and (${filter.until}::timestamptz is null or e.position < coalesce(${of('position_at')}(${filter.until}::timestamptz), 9223372036854775807))`
  return await database.transaction(async (trx) => {
    if (filter.sink !== null) {
      const { rows } = await sql`select from ${of('sinks')} where name = ${filter.sink}`.execute(trx)
      if (rows.length === 0)
        throw new PostriderError('not_found', `There is no sink ${filter.sink}. Which there are: postrider sinks list`)
    }
    const { rows } = await sql<{ looked: number; reached: string | null; found: readonly ListedEvent[] }>`
      with looked as materialized (
        ${source(filter, of, bounds, newest)}
      ), found as (
        select e.* from looked as e where ${conditions(filter, of)}
        order by e.position ${newest ? sql`desc` : sql`asc`} limit ${limit + 1}
      )
      select (select count(*)::int from looked) as looked, (select max(position)::text from looked) as reached,
        (select coalesce(json_agg(json_build_object(
          'position', f.position::text, 'id', f.id, 'type', f.type, 'key', f.key, 'tenant', f.tenant, 'createdAt', f.created_at
        ) order by f.position), '[]') from found as f) as found`.execute(trx)
    const { looked = 0, reached = null, found = [] } = rows[0] ?? {}
    if (newest) return { events: found.slice(-limit), next: null, olderUnseen: found.length > limit || looked >= look }
    const events = found.slice(0, limit)
    const next = found.length > limit ? (events.at(-1)?.position ?? null) : looked >= look ? reached : null
    return { events, next, olderUnseen: false }
  })
}

type Of = (name: string) => RawBuilder<unknown>

/** The part of the log that is looked at. What waits is found by its rows, what is pending from the cursors on. */
function source({ state, sink }: ListFilter, of: Of, bounds: RawBuilder<unknown>, newest: boolean): RawBuilder<unknown> {
  const columns = sql`e.position, e.slot, e.id, e.type, e.key, e.tenant, e.created_at`
  const order = sql`order by e.position ${newest ? sql`desc` : sql`asc`} limit ${look}`
  const atSink = (column: RawBuilder<unknown>): RawBuilder<unknown> =>
    sink === null
      ? sql`true`
      : sql`${column} in (select s.name from ${of('sinks')} as s where s.name = ${sink} or s.family = ${sink})`
  switch (state) {
    case null:
    case 'delivered':
      return sql`select ${columns} from ${of('events')} as e where ${bounds} ${order}`
    case 'pending':
      return sql`
        select ${columns} from ${of('events')} as e
        where e.position in (
          select a.position from ${of('sinks')} as s cross join lateral ${of('look_ahead')}(s.name, ${look}::bigint / s.lanes) as a
          where a.wanted and ${atSink(sql`s.name`)}
        ) and ${bounds} ${order}`
    default:
      return sql`
        select ${columns} from ${of('events')} as e
        where (e.position, e.slot) in (
          select d.position, d.slot from ${of('deliveries')} as d where d.state = ${state} and ${atSink(sql`d.sink`)}
        ) and ${bounds} ${order}`
  }
}

function conditions({ sink, state, types, key, tenant, since, until }: ListFilter, of: Of): RawBuilder<unknown> {
  const all: RawBuilder<unknown>[] = [sql`true`]
  if (types !== null) all.push(sql`e.type ~ ${of('type_filter')}(${types}::text[])`)
  if (key !== null) all.push(sql`e.key = ${key}`)
  if (tenant !== null) all.push(sql`e.tenant = ${tenant}`)
  if (since !== null) all.push(sql`e.created_at >= ${since}::timestamptz`)
  if (until !== null) all.push(sql`e.created_at < ${until}::timestamptz`)
  if (state === 'delivered') {
    all.push(sql`exists (
      select from ${of('attempts')} as a where a.position = e.position and a.slot = e.slot and a.outcome = 'delivered'
        and (${sink}::text is null or a.sink = ${sink} or a.sink in (select s.name from ${of('sinks')} as s where s.family = ${sink})))`)
  } else if (state === null && sink !== null) {
    all.push(sql`exists (
      select from ${of('sinks')} as s
      where (s.name = ${sink} or s.family = ${sink}) and not s.fans_out
        and (s.filter is null or e.type ~ s.filter) and (s.tenant is null or e.tenant = s.tenant))`)
  }
  return sql.join(all, sql` and `)
}
