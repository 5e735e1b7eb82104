import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say, style } from '../print.ts'
import { readStatus, type SinkStatus } from '../status.ts'
import { renderTable, wordDuration } from '../table.ts'
import { wordCount, wordLanes, wordState } from '../word-status.ts'

export interface LimitFlags extends DatabaseFlags {
  readonly concurrency?: number
  /** In events a second; Infinity lifts the limit. */
  readonly rate?: number
  readonly reset?: true
  readonly reason?: string
  readonly actor?: string
}

/** A sink as it is configured, and what was done to it. */
interface Settings {
  readonly types: readonly string[] | null
  readonly tenant: string | null
  readonly ordering: string
  readonly on_dead: string
  readonly audit: string
  readonly concurrency: number
  readonly rate: number | null
  readonly live_concurrency: number | null
  readonly live_rate: number | null
  readonly created_at: Date
  readonly actions: readonly Action[]
}

interface Action {
  readonly at: string
  readonly actor: string
  readonly action: string
  readonly reason: string | null
}

export async function list(flags: DatabaseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'sinks list')
  const { sinks } = await readStatus(database, settings.schema)
  if (flags.json) return printJson(sinks)
  if (sinks.length === 0) return say('No sink has been seen yet. A relay brings its sinks: postrider start')
  print(
    renderTable(sinks, [
      { title: 'sink', cell: ({ name }) => name },
      { title: 'kind', cell: ({ kind }) => kind },
      { title: 'state', cell: wordState },
      { title: 'for', align: 'right', cell: ({ since }) => (since === null ? '-' : wordDuration(Date.now() - since.getTime())) },
      { title: 'in flight', align: 'right', cell: (sink) => wordLimit(sink, String(sink.concurrency)) },
      { title: 'a second', align: 'right', cell: (sink) => wordLimit(sink, sink.rate === null ? 'any' : String(sink.rate)) },
      { title: 'lanes', cell: ({ lanes }) => wordLanes(lanes) },
    ]),
  )
  if (sinks.some(({ limitsAreLive }) => limitsAreLive))
    say('* set by an operator; as configured again: postrider sinks limits <sink> --reset')
}

function wordLimit({ limitsAreLive }: SinkStatus, limit: string): string {
  return limitsAreLive ? `${limit}*` : limit
}

export async function show(name: string, flags: DatabaseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'sinks show')
  const configured = await database.transaction(async (trx) => {
    const { rows } = await sql<Settings>`
      select s.types, s.tenant, s.ordering, s.on_dead, s.audit, s.concurrency, s.rate, s.live_concurrency, s.live_rate, s.created_at,
        (
          select coalesce(json_agg(json_build_object('at', a.at, 'actor', a.actor, 'action', a.action, 'reason', a.reason) order by a.id desc), '[]')
          from (select * from ${sql.ref(`${settings.schema}.actions`)} as a where a.sink = s.name order by a.id desc limit 10) as a
        ) as actions
      from ${sql.ref(`${settings.schema}.sinks`)} as s where s.name = ${name}`.execute(trx)
    return rows[0]
  })
  if (configured === undefined) throw unknown(name)
  const { sinks } = await readStatus(database, settings.schema, name)
  const { actions, types, tenant, ordering, on_dead: onDead, audit, created_at: createdAt, ...limits } = configured
  const set = { concurrency: limits.concurrency, rate: limits.rate }
  if (flags.json)
    return printJson({ name, types, tenant, ordering, onDead, audit, createdAt, configured: set, status: sinks, actions })

  const own = sinks.find((sink) => sink.name === name)
  const facts: readonly (readonly [string, string | null])[] = [
    ['sink', name],
    ['state', own === undefined ? `${sinks.length} endpoints` : wordState(own)],
    ['since', own?.since?.toISOString() ?? null],
    ['types', types?.join(', ') ?? 'all'],
    ['tenant', tenant],
    ['order', ordering === 'key' ? `by key; a dead event makes its key ${onDead}` : 'none'],
    ['audit', audit],
    ['limits', own === undefined ? null : wordLimits(own, set)],
    ['circuit', own === undefined ? null : own.circuit.replace('_', ' ')],
    ['waiting', own === undefined ? null : wordWaiting(own)],
    ['lanes', own === undefined ? null : wordLanes(own.lanes)],
  ]
  for (const [title, value] of facts) if (value !== null) print(`${style('dim', `${title}:`.padEnd(10))}${value}`)
  if (own === undefined && sinks.length > 0) {
    print('')
    print(
      renderTable(sinks, [
        { title: 'endpoint', cell: (sink) => sink.name },
        { title: 'state', cell: wordState },
      ]),
    )
  }
  if (actions.length === 0) return
  print('')
  print(
    renderTable(actions, [
      { title: 'at', cell: ({ at }) => new Date(at).toISOString() },
      { title: 'who', cell: ({ actor }) => plain(actor) },
      { title: 'what', cell: ({ action }) => action },
      { title: 'why', cell: ({ reason }) => plain(reason ?? '-') },
    ]),
  )
}

function wordLimits(
  { concurrency, rate, limitsAreLive }: SinkStatus,
  set: { readonly concurrency: number; readonly rate: number | null },
): string {
  const word = (n: number, perSecond: number | null): string =>
    `${n} in flight, ${perSecond === null ? 'any' : perSecond} a second`
  return word(concurrency, rate) + (limitsAreLive ? ` (set by an operator; configured: ${word(set.concurrency, set.rate)})` : '')
}

function wordWaiting({ pending, pendingIsAll, scheduled, retrying, blocked, dead }: SinkStatus): string {
  const counts = [`${pendingIsAll ? '' : '≥ '}${wordCount(pending)} pending`, `${wordCount(scheduled)} scheduled`]
  return [...counts, `${wordCount(retrying)} retrying`, `${wordCount(blocked)} blocked`, `${wordCount(dead)} dead`].join(', ')
}

export async function limits(name: string, flags: LimitFlags): Promise<void> {
  const { concurrency, rate: perSecond, reset } = flags
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'sinks limits')
  const row = await database.transaction(async (trx) => {
    const sinks = sql.ref(`${settings.schema}.sinks`)
    // What is not given stays as it is.
    const { rows } = await sql<{ known: boolean | null }>`
      select ${sql.ref(`${settings.schema}.set_limits`)}(
        s.name, case when ${reset === true} then null else coalesce(${concurrency ?? null}::int, s.live_concurrency) end,
        case when ${reset === true} then null else coalesce(${perSecond === undefined ? null : String(perSecond)}::real, s.live_rate) end,
        ${flags.reason ?? null}, ${actorOf(flags)}) as known
      from (select * from ${sinks} as s where s.name = ${name} for update) as s`.execute(trx)
    if (rows[0]?.known !== true) throw rows[0] === undefined ? unknown(name) : hasEndpoints(name)
    const { rows: now } = await sql<{ concurrency: number; rate: number | null }>`
      select coalesce(live_concurrency, concurrency) as concurrency, nullif(coalesce(live_rate, rate), 'infinity') as rate
      from ${sinks} where name = ${name}`.execute(trx)
    return now[0]
  })
  if (row === undefined) throw unknown(name)
  if (flags.json) return printJson({ sink: name, ...row })
  say(`${name}: ${row.concurrency} in flight, ${row.rate === null ? 'any' : row.rate} a second${reset ? ', as configured' : ''}`)
}

function unknown(name: string): PostriderError {
  return new PostriderError('not_found', `There is no sink ${name}. Which there are: postrider sinks list`)
}

function hasEndpoints(name: string): PostriderError {
  return new PostriderError(
    'not_found',
    `${name} has endpoints, each with limits of its own: name one of them as ${name}/<endpoint>`,
  )
}
