import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { confirm } from '../confirm.ts'
import { openDatabase } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say, style } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

export interface KeyFlags extends DatabaseFlags {
  readonly reason: string
  readonly yes?: true
  readonly actor?: string
}

interface BlockedKey {
  readonly sink: string
  readonly key: string
  readonly head_event_id: string | null
  readonly head_state: 'retrying' | 'dead' | null
  readonly head_attempts: number | null
  readonly head_available_at: Date | null
  readonly error_code: string | null
  readonly error: string | null
  readonly since: Date | null
  /** At most 1,001, which means more than 1,000. */
  readonly blocked: string
}

export async function blocked(flags: DatabaseFlags & { readonly sink?: string; readonly limit: number }): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'keys blocked')
  const rows = await database.transaction(async (trx) => {
    const found = await sql<BlockedKey>`
      select sink, key, head_event_id, head_state, head_attempts, head_available_at, error_code, error, since, blocked
      from ${sql.ref(`${settings.schema}.blocked_keys`)}
      where ${flags.sink ?? null}::text is null or sink = ${flags.sink ?? null}
      order by sink, key limit ${flags.limit}`.execute(trx)
    return found.rows
  })
  if (flags.json) {
    return printJson(
      rows.map((row) => ({
        sink: row.sink,
        key: row.key,
        blocked: Number(row.blocked),
        head:
          row.head_event_id === null
            ? null
            : {
                eventId: row.head_event_id,
                state: row.head_state,
                attempts: row.head_attempts,
                nextAt: row.head_state === 'retrying' ? row.head_available_at : null,
                errorCode: row.error_code,
                error: row.error,
                since: row.since,
              },
      })),
    )
  }
  if (rows.length === 0) return say('No key is blocked.')
  const now = Date.now()
  print(
    renderTable(rows, [
      { title: 'sink', cell: ({ sink }) => sink },
      { title: 'key', cell: ({ key }) => plain(key) },
      { title: 'waiting', align: 'right', cell: ({ blocked }) => (Number(blocked) > 1_000 ? '1,000+' : blocked) },
      { title: 'behind', cell: ({ head_event_id }) => head_event_id ?? 'nothing: it goes on with the next event of its lane' },
      { title: 'state', cell: ({ head_state }) => (head_state === 'dead' ? style('red', 'dead') : (head_state ?? '-')) },
      { title: 'for', align: 'right', cell: ({ since }) => (since === null ? '-' : wordDuration(now - since.getTime())) },
      { title: 'error', cell: ({ error_code, error }) => plain(error_code === null ? '-' : `${error_code}: ${error ?? ''}`) },
    ]),
  )
  if (rows.length === flags.limit) say(`Only the first ${flags.limit}; more with --limit.`)
  say('Send the head again: postrider retry <event>. Without it: postrider keys release|skip <sink> <key>')
}

export async function release(sink: string, key: string, flags: KeyFlags): Promise<void> {
  await confirm(
    `Let the dead head of key ${plain(key)} at ${sink} step aside? Later events of the key go out before it.`,
    flags.yes === true,
  )
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'keys release')
  const released = await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: number }>`
      select ${sql.ref(`${settings.schema}.release_key`)}(${sink}, ${key}, ${flags.reason}, ${actorOf(flags)}) as n`.execute(trx)
    return rows[0]?.n ?? 0
  })
  if (released === 0) throw nothingInTheWay(sink, key, 'dead letter')
  if (flags.json) printJson({ released })
  else
    say(
      `key ${plain(key)} goes on; its dead ${released === 1 ? 'letter stays' : `letters (${released}) stay`}: postrider dead list --key ...`,
    )
}

export async function skip(sink: string, key: string, flags: KeyFlags): Promise<void> {
  await confirm(`Give up the head of key ${plain(key)} at ${sink}? It will not be delivered there.`, flags.yes === true)
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'keys skip')
  const skipped = await database.transaction(async (trx) => {
    const { rows } = await sql<{ id: string | null }>`
      select ${sql.ref(`${settings.schema}.skip_key`)}(${sink}, ${key}, ${flags.reason}, ${actorOf(flags)}) as id`.execute(trx)
    return rows[0]?.id ?? null
  })
  if (skipped === null) throw nothingInTheWay(sink, key, 'event')
  if (flags.json) printJson({ skipped })
  else say(`event ${skipped} is given up; key ${plain(key)} goes on`)
}

function nothingInTheWay(sink: string, key: string, what: string): PostriderError {
  return new PostriderError(
    'not_found',
    `No ${what} stands in the way of key ${plain(key)} at ${sink}. What does: postrider keys blocked`,
  )
}
