import { PostriderError } from '@postrider/schema'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { confirm } from '../confirm.ts'
import { openDatabase } from '../connect.ts'
import type { Filter } from '../filter.ts'
import { follow } from '../follow.ts'
import { hasEnded, Operations, wordCount, wordOperation, type Operation, type OperationKind, type Preview } from '../operation.ts'
import type { OperateFlags } from '../operate-options.ts'
import { plain, print, printJson, say } from '../print.ts'
import { renderTable } from '../table.ts'

/** What a command does to what matches. */
export interface Task {
  readonly kind: OperationKind
  readonly filter: Filter
  /** Of a replay: where the events go. */
  readonly sink: string | null
  readonly asNew: boolean
}

/** So few are done before the command ends. */
const atOnce = 500

/** Shows, asks, starts, and waits if that is wished. Exits with 3 when nothing matches. */
export async function operate({ kind, filter, sink, asNew }: Task, flags: OperateFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, kind)
  const operations = new Operations(database, settings.schema)
  const preview = await operations.preview({ kind, filter, sink })
  if (flags.dryRun) return showPreview(kind, preview, flags)
  if (preview.counted === 0 && preview.countedAll) throw new PostriderError('not_found', nothing[kind])

  const concerned = `${wordCount(preview.counted, preview.countedAll)} ${preview.counted === 1 ? one[kind] : several[kind]}`
  await confirm(question(kind, concerned, sink), flags.yes === true)
  const order = { kind, filter, sink, asNew, rate: flags.rate ?? null, reason: flags.reason ?? null, actor: actorOf(flags) }
  let operation = await operations.start(order)
  if (preview.countedAll && preview.counted <= atOnce && flags.rate === undefined) {
    operation = (await finish(operations, operation)) ?? operation
  }
  if (flags.wait) {
    await follow(operations, operation.id, { json: flags.json === true, quiet: flags.quiet === true })
    return
  }
  if (flags.json) printJson({ type: 'operation', ...operation })
  else await tellStart(operations, operation)
  if (operation.state === 'failed') throw new Error(wordOperation(operation))
}

/** What is small is done at once; when somebody else is at it already, it is about to be. */
async function finish(operations: Operations, { id }: Operation): Promise<Operation | null> {
  for (let pieces = 0; pieces < 3; pieces++) {
    try {
      const now = await operations.advance(id, atOnce + 1)
      if (now === null || hasEnded(now)) break
    } catch (error) {
      // Locked by somebody: relays will do it.
      if (!(error instanceof Error && 'code' in error && /^(40|55)/.test(String(error.code)))) throw error
      break
    }
  }
  return await operations.read(id)
}

async function tellStart(operations: Operations, operation: Operation): Promise<void> {
  if (hasEnded(operation)) return say(wordOperation(operation))
  const { id } = operation
  say(`operation ${id} has begun. Watch it: postrider ops watch ${id}. End it: postrider ops cancel ${id}`)
  if (!(await operations.relayIsAlive())) say('No relay is alive: it goes on when one starts (postrider start), or is watched.')
}

const one = { retry: 'dead letter', discard: 'delivery', skip: 'delivery', replay: 'event' } as const
const several = { retry: 'dead letters', discard: 'deliveries', skip: 'deliveries', replay: 'events' } as const
const nothing = {
  retry: 'No dead letter matches. What there is: postrider dead groups',
  discard: 'Nothing of that matches. What there is: postrider dead groups',
  skip: 'Nothing that waits matches. What waits: postrider status',
  replay: 'No event of the log matches.',
} as const

function question(kind: OperationKind, concerned: string, sink: string | null): string {
  switch (kind) {
    case 'retry':
      return `Send ${concerned} again?`
    case 'discard':
    case 'skip':
      return `Give up ${concerned}? They will not be delivered.`
    case 'replay':
      return `Send ${concerned} once more to ${sink ?? '?'}?`
  }
}

function showPreview(kind: OperationKind, { counted, countedAll, sample }: Preview, { json }: OperateFlags): void {
  if (json) {
    const shown = sample.map(({ event_id, created_at, error_code, ...rest }) => ({
      eventId: event_id,
      ...rest,
      ...(error_code !== undefined && { errorCode: error_code }),
      createdAt: created_at,
    }))
    return printJson({ type: 'preview', kind, counted, countedAll, sample: shown })
  }
  print(`${wordCount(counted, countedAll)} ${counted === 1 ? one[kind] : several[kind]}`)
  if (sample.length === 0) return
  print(
    renderTable(sample, [
      { title: 'sink', cell: ({ sink }) => sink },
      { title: 'event', cell: ({ event_id }) => event_id },
      { title: 'type', cell: ({ type }) => type ?? '?' },
      { title: 'key', cell: ({ key }) => plain(key ?? '-') },
      { title: 'state', cell: ({ state }) => state ?? '-' },
      {
        title: 'error',
        cell: ({ error_code, error }) => plain((error_code ?? null) === null ? '-' : `${error_code}: ${error ?? ''}`),
      },
    ]),
  )
  if (counted > sample.length) say(`and ${countedAll ? '' : 'at least '}${(counted - sample.length).toLocaleString('en')} more`)
}
