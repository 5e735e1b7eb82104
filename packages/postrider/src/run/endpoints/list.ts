import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { shownStatus, stateStyled, type EndpointStatus } from '../../endpoint/status.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say } from '../../print.ts'
import { renderTable, wordDuration } from '../../table.ts'

export async function list(
  sink: string | undefined,
  flags: DatabaseFlags & { readonly state?: string; readonly tenant?: string },
): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints list')
  const { rows } = await database.transaction((trx) =>
    sql<EndpointStatus>`
      select * from ${sql.ref(`${settings.schema}.endpoint_status`)}
      where sink = coalesce(${sink ?? null}, sink) and state = coalesce(${flags.state ?? null}, state)
        and (${flags.tenant ?? null}::text is null or tenant = ${flags.tenant ?? null})
      order by endpoint`.execute(trx),
  )
  if (flags.json) return printJson(rows.map(shownStatus))
  if (rows.length === 0) return say('There are no such endpoints. Add one: postrider endpoints add <sink>/<name> --url …')
  const now = Date.now()
  print(
    renderTable(rows, [
      { title: 'endpoint', cell: ({ endpoint }) => endpoint },
      { title: 'state', cell: stateStyled },
      { title: 'origin', cell: ({ origin }) => plain(origin) },
      { title: 'types', cell: ({ types }) => types?.join(',') ?? 'all' },
      { title: 'tenant', cell: ({ tenant }) => plain(tenant ?? '-') },
      {
        title: 'failing for',
        align: 'right',
        cell: ({ failing_since: since }) => (since === null ? '-' : wordDuration(now - since.getTime())),
      },
      {
        title: 'why',
        cell: ({ state_reason, error_code, error }) =>
          plain(error_code === null ? (state_reason ?? '') : `${error_code}: ${error ?? ''}`),
      },
    ]),
  )
}
