import { PostriderError } from '@postrider/schema'
import { Argument, InvalidArgumentError, type Command } from 'commander'
import { actorOf, withActor } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { follow } from '../follow.ts'
import { Operations, wordCount, wordOperation, type Operation } from '../operation.ts'
import { wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

export function addOps(program: Command): void {
  const command = program
    .command('ops')
    .description('operations: retries, replays and the like on everything that matches a filter')
  withDatabase(command.command('list'))
    .description('operations that go on, then the newest')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 1_000), 20)
    .action(list)
  withDatabase(command.command('watch'))
    .description('wait for the end of an operation and show its progress; where no relay is alive, work it off')
    .addArgument(operationId())
    .action(watch)
  withActor(withDatabase(command.command('cancel')))
    .description('end an operation; what it has done stays done')
    .addArgument(operationId())
    .option('--reason <text>', 'why; kept in the record of actions')
    .action(cancel)
}

function operationId(): Argument {
  return new Argument('<operation>', 'its number').argParser((text) => {
    if (!/^[1-9]\d{0,17}$/.test(text)) throw new InvalidArgumentError('Expected the number of an operation.')
    return text
  })
}

async function list(flags: DatabaseFlags & { readonly limit: number }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'ops list')
  const operations = await new Operations(database, settings.schema).list(flags.limit)
  if (flags.json) return printJson(operations)
  if (operations.length === 0) return say('There are no operations. They are made by: postrider retry, replay, discard, skip')
  const now = Date.now()
  print(
    renderTable(operations, [
      { title: 'id', align: 'right', cell: ({ id }) => id },
      { title: 'kind', cell: ({ kind, sink }) => (sink === null ? kind : `${kind} to ${sink}`) },
      { title: 'state', cell: ({ state, waiting }) => (waiting ? `${state} (waits)` : state) },
      { title: 'done', align: 'right', cell: wordDone },
      { title: 'filter', cell: ({ filter }) => plain(JSON.stringify(filter)).slice(0, 60) },
      { title: 'by', cell: ({ actor }) => plain(actor) },
      { title: 'age', align: 'right', cell: ({ createdAt }) => wordDuration(now - createdAt.getTime()) },
      { title: 'error', cell: ({ error }) => plain(error ?? '') },
    ]),
  )
}

function wordDone({ done, skipped, total, countedAll }: Operation): string {
  return `${(done + skipped).toLocaleString('en')} of ${wordCount(total, countedAll)}`
}

async function watch(id: string, flags: DatabaseFlags & { readonly quiet?: true }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'ops watch')
  await follow(new Operations(database, settings.schema), id, { json: flags.json === true, quiet: flags.quiet === true })
}

async function cancel(id: string, flags: DatabaseFlags & { readonly actor?: string; readonly reason?: string }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'ops cancel')
  const operations = new Operations(database, settings.schema)
  const operation = await operations.cancel(id, actorOf(flags), flags.reason ?? null)
  if (operation === null) throw new PostriderError('not_found', `There is no operation ${id}.`)
  if (flags.json) printJson({ type: 'operation', ...operation })
  else say(wordOperation(operation))
}
