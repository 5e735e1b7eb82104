import { PostriderError } from '@postrider/schema'
import { Argument, Option, type Command } from 'commander'
import { sql } from 'kysely'
import { loadDatabase, loadOneSink } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { withEventFilter } from '../filter.ts'
import { wordCurl } from '../inspect/curl.ts'
import { readEvents, type FoundEvent } from '../inspect/event.ts'
import { listedStates, listEvents, type ListedState } from '../inspect/list.ts'
import { showEvent } from '../inspect/show-event.ts'
import { position, uuid, wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
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

interface GetFlags extends DatabaseFlags {
  readonly sink?: string
  readonly curl?: true
}

interface ListFlags extends DatabaseFlags {
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

export function addEvents(program: Command): void {
  const command = program.command('events').description('events of the log')
  withEventFilter(withDatabase(command.command('list')))
    .description('the newest events, or those after a position or a time, in the order of the log')
    .option('--sink <name>', 'only what this sink takes; with --state, what is in that state there')
    .addOption(new Option('--state <state>', 'only what is in this state at a sink').choices(listedStates))
    .option('--after <position>', 'those that come after this position', position)
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(list)
  withDatabase(command.command('get'))
    .description('an event with its payload, and every attempt')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .option('--sink <name>', 'only attempts at this sink')
    .option('--curl', 'print the request of the sink instead, for a shell')
    .action(get)
  withDatabase(command.command('explain'))
    .description('where an event is at every sink, and why it is not delivered')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .action(explain)
}

async function list(flags: ListFlags): Promise<void> {
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

async function get(id: string, flags: GetFlags): Promise<void> {
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
  for (const event of events) print(wordCurl(event, config))
}

function invalid(problem: string): PostriderError {
  return new PostriderError('invalid_options', problem, { problems: [problem] })
}

async function explain(id: string, flags: DatabaseFlags): Promise<void> {
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
