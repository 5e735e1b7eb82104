import { PostriderError } from '@postrider/schema'
import { Argument, type Command } from 'commander'
import { sql } from 'kysely'
import { loadDatabase } from '../config/load.ts'
import { confirm } from '../confirm.ts'
import { openDatabase, type Database } from '../connect.ts'
import { collect, uuid, wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

interface DeadFlags extends DatabaseFlags {
  readonly sink?: string
  readonly yes?: true
}

/** Dead letters that one transaction sends again. */
const batch = 500
/** Where counting stops, for the question. */
const countedUpTo = 10_000

export function addDead(program: Command): void {
  const command = program.command('dead').description('dead letters: events that will not be tried again by themselves')
  withDatabase(command.command('list'))
    .description('the dead letters, oldest first')
    .option('--sink <name>', 'only of this sink')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(list)
  withDatabase(command.command('retry'))
    .description('send dead letters again, with the same id and a fresh count of attempts')
    .addArgument(new Argument('[event-ids...]').argParser(collect(uuid)))
    .option('--all', 'every dead letter there is now')
    .option('--sink <name>', 'only at this sink')
    .option('-y, --yes', 'do not ask')
    .action(retry)
  withDatabase(command.command('discard'))
    .description('give an event up; later events of its key go on')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .requiredOption('--reason <text>', 'why; kept in the audit trail')
    .option('--sink <name>', 'only at this sink')
    .option('-y, --yes', 'do not ask')
    .action(discard)
}

async function list(flags: DeadFlags & { readonly limit: number }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead list')
  const rows = await database.transaction((trx) =>
    trx
      .selectFrom('dead_letters')
      .selectAll()
      .$if(flags.sink !== undefined, (query) => query.where('sink', '=', flags.sink ?? ''))
      .orderBy('dead_since')
      .orderBy('position')
      .limit(flags.limit)
      .execute(),
  )
  if (flags.json) {
    return printJson(
      rows.map((row) => ({
        sink: row.sink,
        eventId: row.event_id,
        position: row.position,
        type: row.type,
        key: row.key,
        attempts: row.attempts,
        errorCode: row.error_code,
        error: row.error,
        deadSince: row.dead_since,
        createdAt: row.created_at,
      })),
    )
  }
  if (rows.length === 0) return say('There are no dead letters. What waits, and where: postrider status')
  const now = Date.now()
  print(
    renderTable(rows, [
      { title: 'sink', cell: ({ sink }) => sink },
      { title: 'event', cell: ({ event_id }) => event_id },
      { title: 'type', cell: ({ type }) => type ?? '?' },
      { title: 'key', cell: ({ key }) => plain(key ?? '-') },
      { title: 'attempts', align: 'right', cell: ({ attempts }) => String(attempts) },
      { title: 'dead for', align: 'right', cell: ({ dead_since }) => wordDuration(now - dead_since.getTime()) },
      { title: 'error', cell: ({ error_code, error }) => plain(`${error_code ?? '?'}: ${error ?? ''}`) },
    ]),
  )
  if (rows.length === flags.limit) say(`Only the first ${flags.limit}; more with --limit.`)
  say('Send again: postrider dead retry <event>. Why: postrider events explain <event>')
}

async function retry(
  ids: readonly string[] | undefined,
  flags: DeadFlags & { readonly all?: true },
  command: Command,
): Promise<void> {
  if ((ids !== undefined && ids.length > 0) === (flags.all === true)) command.error('error: give the ids of events, or --all')
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead retry')
  const at = flags.sink === undefined ? '' : ` at ${flags.sink}`
  let retried = 0
  if (flags.all) {
    const count = await countDead(database, flags.sink)
    if (count === 0) throw nothing(`There are no dead letters${at}.`)
    const shown = count > countedUpTo ? `more than ${countedUpTo.toLocaleString('en')}` : count.toLocaleString('en')
    await confirm(`Send ${shown} ${count === 1 ? 'dead letter' : 'dead letters'}${at} again?`, flags.yes === true)
    retried = await retryAll(database, settings.schema, flags.sink)
  } else {
    await confirm(`Send ${ids?.length === 1 ? 'this event' : `these ${ids?.length ?? 0} events`}${at} again?`, flags.yes === true)
    retried = await retryThese(database, settings.schema, ids ?? [], flags.sink)
    if (retried === 0) throw nothing(`None of these events is dead${at}.`)
  }
  if (flags.json) printJson({ retried })
  else
    say(
      `${retried.toLocaleString('en')} ${retried === 1 ? 'dead letter' : 'dead letters'} on the way again; watch with: postrider status`,
    )
}

async function discard(id: string, flags: DeadFlags & { readonly reason: string }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  const at = flags.sink === undefined ? 'every sink where it waits' : flags.sink
  await confirm(`Give up event ${id} at ${at}? It will not be delivered there.`, flags.yes === true)
  await using database = openDatabase(settings, 'dead discard')
  const discarded = await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: number }>`
      select ${sql.ref(`${settings.schema}.discard`)}(${id}, ${flags.reason}, ${flags.sink ?? null}) as n`.execute(trx)
    return rows[0]?.n ?? 0
  })
  if (discarded === 0) throw nothing(`Event ${id} waits nowhere.`)
  if (flags.json) printJson({ discarded })
  else say(`given up at ${discarded === 1 ? 'one sink' : `${discarded} sinks`}; the attempts keep who and why`)
}

async function countDead(database: Database, sink: string | undefined): Promise<number> {
  return await database.transaction(async (trx) => {
    const bounded = trx
      .selectFrom('dead_letters')
      .select('position')
      .$if(sink !== undefined, (query) => query.where('sink', '=', sink ?? ''))
      .limit(countedUpTo + 1)
    const { n } = await trx
      .selectFrom(bounded.as('bounded'))
      .select((e) => e.fn.countAll<string>().as('n'))
      .executeTakeFirstOrThrow()
    return Number(n)
  })
}

/** All together, or none. */
async function retryThese(database: Database, schema: string, ids: readonly string[], sink: string | undefined): Promise<number> {
  return await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: string }>`
      select sum(${sql.ref(`${schema}.retry`)}(id, ${sink ?? null})) as n from unnest(${ids}::uuid[]) as id`.execute(trx)
    return Number(rows[0]?.n ?? 0)
  })
}

/** In batches, and only those that are dead now: one that dies again meanwhile must not keep this going. */
async function retryAll(database: Database, schema: string, sink: string | undefined): Promise<number> {
  const until = await database.transaction(async (trx) => {
    const { rows } = await sql<{ now: string }>`select clock_timestamp()::text as now`.execute(trx)
    return rows[0]?.now
  })
  let retried = 0
  for (;;) {
    const done = await database.transaction(async (trx) => {
      const { rows } = await sql<{ n: string | null }>`
        select sum(${sql.ref(`${schema}.retry`)}(event_id, sink)) as n
        from (
          select event_id, sink from ${sql.ref(`${schema}.dead_letters`)}
          where dead_since <= ${until}::timestamptz and sink = coalesce(${sink ?? null}, sink)
          order by position limit ${sql.lit(batch)}
        ) as dead`.execute(trx)
      return Number(rows[0]?.n ?? 0)
    })
    if (done === 0) return retried
    retried += done
    say(`${retried.toLocaleString('en')} sent again`)
  }
}

function nothing(message: string): PostriderError {
  return new PostriderError('not_found', message)
}
