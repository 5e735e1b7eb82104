import { PostriderError } from '@postrider/schema'
import { Argument, type Command } from 'commander'
import { sql } from 'kysely'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { uuid, withDatabase, type DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable } from '../table.ts'

interface Explanation {
  readonly sink: string | null
  readonly state: string
  readonly reason: string
  readonly attempts: number
  readonly next_at: Date | null
  readonly position: string | null
}

export function addEvents(program: Command): void {
  const command = program.command('events').description('single events')
  withDatabase(command.command('explain'))
    .description('where an event is at every sink, and why it is not delivered')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .action(explain)
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
}
