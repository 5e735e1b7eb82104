import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { filterOf, type FilterFlags } from '../../filter.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say } from '../../print.ts'
import { renderTable, wordDuration } from '../../table.ts'
import { findLetters, type Place } from '../../dead/letters.ts'

export type ListFlags = DatabaseFlags & FilterFlags & { readonly limit: number }

export async function listLetters(ids: readonly string[] | undefined, flags: ListFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead list')
  const places: Place[] = []
  for await (const page of findLetters(database, settings.schema, filterOf(flags, ids))) {
    places.push(...page.slice(0, flags.limit - places.length))
    if (places.length === flags.limit) break
  }
  const rows = await database.transaction((trx) =>
    trx
      .selectFrom('dead_letters')
      .selectAll()
      .where(
        sql<boolean>`(sink, position) in (
          select * from unnest(${places.map(({ sink }) => sink)}::text[], ${places.map(({ position }) => position)}::bigint[]))`,
      )
      .orderBy('sink')
      .orderBy('position')
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
  if (rows.length === 0) {
    return say('There are no dead letters of that kind. By cause: postrider dead groups. What waits, and where: postrider status')
  }
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
  say('All about one: postrider dead show <event>. Send again: postrider dead retry <event>')
}
