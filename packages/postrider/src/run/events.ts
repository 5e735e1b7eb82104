import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { loadDatabase, loadOneSink } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { readEvents, type FoundEvent } from '../inspect/event.ts'
import { listEvents } from '../inspect/list.ts'
import type { ListedState } from '../inspect/listed-states.ts'
import { showEvent } from '../inspect/show-event.ts'
import type { DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable } from '../table.ts'

interface Explanation {
  readonly sink: string | null
  readonly state: string
  readonly reason: string
  readonly attempts: number
  readonly next_at: Date | null
  readonly position: string | null
  readonly since: Date | null
  readonly hint: string | null
}

export interface GetFlags extends DatabaseFlags {
  readonly sink?: string
  readonly curl?: true
}

export interface ListFlags extends DatabaseFlags {
  readonly sink?: string
  readonly state?: ListedState
  readonly type?: readonly string[]
  readonly key?: string
  readonly tenant?: string
  readonly since?: string
  readonly until?: string
  readonly after?: string
  readonly limit: number
}

export async function list(flags: ListFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'events list')
  const { sink = null, state = null, type: types = null, key = null, tenant = null, since = null, until = null } = flags
  const filter = { sink, state, types, key, tenant, since, until }
  const { after = null, limit } = flags
  const { events, next, olderUnseen } = await listEvents(database, settings.schema, filter, { after, limit })
  if (flags.json) return printJson({ events, next })
  if (events.length > 0) {
    print(
      renderTable(events, [
        { title: 'position', align: 'right', cell: ({ position }) => position },
        { title: 'written', cell: ({ createdAt }) => new Date(createdAt).toISOString() },
        { title: 'event', cell: ({ id }) => id },
        { title: 'type', cell: ({ type }) => type },
        { title: 'key', cell: ({ key }) => plain(key ?? '-') },
        { title: 'tenant', cell: ({ tenant }) => plain(tenant ?? '-') },
      ]),
    )
  }
  if (next !== null) say(`There may be more: --after ${next}`)
  else if (olderUnseen) say('There are older ones: begin with --after 0, or --since <time>.')
  else if (events.length === 0) say('No event matches.')
}

export async function get(id: string, flags: GetFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'events get')
  const events = await readEvents(database, settings.schema, id, flags.sink ?? null)
  if (events.length === 0) {
    throw new PostriderError(
      'not_found',
      `There is no event ${id} in the log. What may have become of it: postrider events explain ${id}`,
      { id },
    )
  }
  if (flags.curl) return await printCurl(events, flags)
  // As the database wrote it: a number in a payload may be larger than JavaScript can hold.
  if (flags.json)
    return print(events.length === 1 ? (events[0]?.document ?? '') : `[${events.map(({ document }) => document).join(',')}]`)
  for (const [nth, event] of events.entries()) {
    if (nth > 0) print('')
    showEvent(event)
  }
}

async function printCurl(events: readonly FoundEvent[], flags: GetFlags): Promise<void> {
  const tried = [...new Set(events.flatMap(({ attempts }) => attempts.map(({ sink }) => sink)))]
  const name = flags.sink ?? (tried.length === 1 ? tried[0] : undefined)
  if (name === undefined) throw invalid('--curl needs the sink whose request it is: give --sink <name>')
  const [family = ''] = name.split('/')
  const { settings } = await loadOneSink(family, flags)
  const config = settings.sinks[family]
  if (config === undefined) throw invalid(`--curl needs the configuration of sink ${family}, which is not in it: give --config`)
  if (config.kind !== 'webhook') throw invalid(`--curl needs a sink that makes requests; ${family} is of the kind ${config.kind}`)
  const { wordCurl } = await import('../inspect/curl.ts')
  for (const event of events) print(wordCurl(event, config))
}

function invalid(problem: string): PostriderError {
  return new PostriderError('invalid_options', problem, { problems: [problem] })
}

export async function explain(id: string, flags: DatabaseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'explain')
  const { rows } = await database.transaction((trx) =>
    sql<Explanation>`select * from ${sql.ref(`${settings.schema}.explain`)}(${id})`.execute(trx),
  )
  const [first] = rows
  if (first?.state === 'unknown') throw new PostriderError('not_found', `${id}: ${first.reason}`, { id })
  if (flags.json) {
    return printJson(rows.map(({ next_at, ...row }) => ({ ...row, nextAt: next_at })))
  }
  if (first === undefined) return say(`${id} is in the log, and no sink reads it yet. A relay brings its sinks: postrider start`)
  print(
    renderTable(rows, [
      { title: 'sink', cell: ({ sink }) => sink ?? '' },
      { title: 'state', cell: ({ state }) => state },
      { title: 'attempts', align: 'right', cell: ({ attempts }) => String(attempts) },
      { title: 'why', cell: ({ reason }) => plain(reason) },
    ]),
  )
  for (const { sink, hint } of rows) if (hint !== null) say(`${sink ?? ''}: ${hint}`)
}
