import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say } from '../../print.ts'
import { renderTable, wordDuration } from '../../table.ts'

export type GroupFlags = DatabaseFlags & { readonly sink?: string; readonly limit: number }

interface Group {
  readonly fingerprint: string
  readonly sink: string
  readonly error_code: string | null
  readonly status: number | null
  readonly sample: string | null
  readonly sample_event_id: string
  /** At most 10,001, which means more than 10,000. */
  readonly count: string
  readonly first_seen: Date
  readonly last_seen: Date
}

export async function listGroups(flags: GroupFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead groups')
  const rows = await database.transaction(async (trx) => {
    const found = await sql<Group>`
      select fingerprint, sink, error_code, status, sample, sample_event_id, count, first_seen, last_seen
      from ${sql.ref(`${settings.schema}.dead_groups`)}
      where ${flags.sink ?? null}::text is null or sink = ${flags.sink ?? null}
      order by count desc, last_seen desc limit ${flags.limit}`.execute(trx)
    return found.rows
  })
  if (flags.json) {
    return printJson(
      rows.map((row) => ({
        fingerprint: row.fingerprint,
        sink: row.sink,
        count: Number(row.count),
        errorCode: row.error_code,
        status: row.status,
        firstSeen: row.first_seen,
        lastSeen: row.last_seen,
        sample: { error: row.sample, eventId: row.sample_event_id },
      })),
    )
  }
  if (rows.length === 0) return say('There are no dead letters. What waits, and where: postrider status')
  const now = Date.now()
  print(
    renderTable(rows, [
      { title: 'fingerprint', cell: ({ fingerprint }) => fingerprint },
      { title: 'sink', cell: ({ sink }) => sink },
      {
        title: 'letters',
        align: 'right',
        cell: ({ count }) => (Number(count) > 10_000 ? '10,000+' : Number(count).toLocaleString('en')),
      },
      { title: 'code', cell: ({ error_code }) => plain(error_code ?? '?') },
      { title: 'status', align: 'right', cell: ({ status }) => String(status ?? '-') },
      { title: 'first', align: 'right', cell: ({ first_seen }) => `${wordDuration(now - first_seen.getTime())} ago` },
      { title: 'last', align: 'right', cell: ({ last_seen }) => `${wordDuration(now - last_seen.getTime())} ago` },
      { title: 'for example', cell: ({ sample_event_id }) => sample_event_id },
      { title: 'error', cell: ({ sample }) => plain((sample ?? '').slice(0, 80)) },
    ]),
  )
  say('Look at one: postrider dead show <event>. All of a cause again: postrider dead retry --fingerprint <fingerprint>')
}
