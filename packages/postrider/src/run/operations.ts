import { PostriderError } from '@postrider/schema'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { follow } from '../follow.ts'
import { Operations, wordCount, wordOperation, type Operation } from '../operation.ts'
import type { DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

export async function list(flags: DatabaseFlags & { readonly limit: number }): Promise<void> {
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

export async function watch(id: string, flags: DatabaseFlags & { readonly quiet?: true }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'ops watch')
  await follow(new Operations(database, settings.schema), id, { json: flags.json === true, quiet: flags.quiet === true })
}

export async function cancel(
  id: string,
  flags: DatabaseFlags & { readonly actor?: string; readonly reason?: string },
): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'ops cancel')
  const operations = new Operations(database, settings.schema)
  const operation = await operations.cancel(id, actorOf(flags), flags.reason ?? null)
  if (operation === null) throw new PostriderError('not_found', `There is no operation ${id}.`)
  if (flags.json) printJson({ type: 'operation', ...operation })
  else say(wordOperation(operation))
}
