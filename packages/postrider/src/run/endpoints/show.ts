import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { noEndpoint } from '../../endpoint/row.ts'
import { shownStatus, stateStyled, type EndpointStatus } from '../../endpoint/status.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson } from '../../print.ts'

/** Counts stop at 10,001; as decimal strings. */
interface Backlog {
  readonly pending: string
  readonly counted_all: boolean
  readonly scheduled: string
  readonly retrying: string
  readonly blocked: string
  readonly dead: string
  readonly oldest_pending_at: Date | null
}

export async function show({ whole }: EndpointName, flags: DatabaseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints show')
  const { status, backlog } = await database.transaction(async (trx) => {
    const from = (view: string): ReturnType<typeof sql.ref> => sql.ref(`${settings.schema}.${view}`)
    const endpoint = await sql<EndpointStatus>`select * from ${from('endpoint_status')} where endpoint = ${whole}`.execute(trx)
    const waiting = await sql<Backlog>`
      select pending, counted_all, scheduled, retrying, blocked, dead, oldest_pending_at from ${from('backlog')} where sink = ${whole}`.execute(
      trx,
    )
    return { status: endpoint.rows[0], backlog: waiting.rows[0] }
  })
  if (status === undefined || backlog === undefined) throw noEndpoint(whole)
  const { pending, counted_all, oldest_pending_at, ...rows } = backlog
  if (flags.json) {
    const counts = Object.fromEntries(Object.entries({ pending, ...rows }).map(([name, count]) => [name, Number(count)]))
    return printJson({ ...shownStatus(status), ...counts, pendingIsAll: counted_all, oldestPendingAt: oldest_pending_at })
  }
  for (const [name, value] of linesOf(status)) print(`${`${name}:`.padEnd(14)}${value}`)
  const inTrouble = Object.entries(rows).filter(([, count]) => count !== '0')
  print(
    `${'waiting:'.padEnd(14)}${counted_all ? '' : 'at least '}${pending} in the log${inTrouble.map(([state, count]) => `, ${count} ${state}`).join('')}`,
  )
}

function linesOf(status: EndpointStatus): [string, string][] {
  const { state_by, state_reason, failing_since, error_code, error } = status
  const time = (at: Date | null): string => at?.toISOString() ?? 'never'
  const lines: [string, string | null][] = [
    ['endpoint', status.endpoint],
    [
      'state',
      `${stateStyled(status)} since ${time(status.state_since)}${state_by === null ? '' : `, by ${plain(state_by)}`}${state_reason === null ? '' : `: ${plain(state_reason)}`}`,
    ],
    ['until', status.state_until === null ? null : time(status.state_until)],
    [
      'failing',
      failing_since === null
        ? null
        : `since ${time(failing_since)}, ${status.failures} attempts (${error_code ?? '?'}: ${plain(error ?? '')})`,
    ],
    ['tried again', status.state === 'degraded' && status.circuit_until !== null ? time(status.circuit_until) : null],
    ['origin', plain(status.origin)],
    ['types', status.types?.join(', ') ?? 'all'],
    ['tenant', status.tenant === null ? null : plain(status.tenant)],
    ['format', status.format],
    ['headers', status.headers.length === 0 ? null : status.headers.join(', ')],
    [
      'limits',
      `${status.concurrency} at once${status.rate === null ? '' : `, ${status.rate}/s`}, ${status.lanes} ${status.lanes === 1 ? 'lane' : 'lanes'}`,
    ],
    ['verified', status.verification === 'none' ? 'not asked for' : `by ${status.verification}: ${time(status.verified_at)}`],
    ['added', `${time(status.created_at)}, by ${plain(status.created_by)}`],
    ['changed', time(status.changed_at)],
  ]
  return lines.filter((line): line is [string, string] => line[1] !== null)
}
