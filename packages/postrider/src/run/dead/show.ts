import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, style } from '../../print.ts'
import { renderTable, wordDuration } from '../../table.ts'

export type ShowFlags = DatabaseFlags & { readonly sink?: string; readonly full?: true }

interface Letter {
  readonly sink: string
  readonly key: string | null
  readonly attempts: number
  readonly forgiven: number
  readonly parked: boolean
  readonly error_code: string | null
  readonly error: string | null
  readonly status: number | null
  readonly fingerprint: string
  readonly since: Date
  readonly type: string
  readonly subject: string | null
  readonly tenant: string | null
  readonly created_at: Date
  readonly headers: Readonly<Record<string, string>>
  /** The first characters only. */
  readonly payload: string | null
  readonly payload_characters: number | null
  readonly payload_bytes: number | null
  readonly tries: readonly Try[]
  readonly letter: string
}

interface Try {
  readonly attempt: number
  readonly outcome: string
  readonly status: number | null
  readonly error_code: string | null
  readonly error: string | null
  readonly started_at: string
  readonly duration_ms: number
  readonly actor: string | null
  readonly response: string | null
}

const shownCharacters = 2_000

export async function showLetter(id: string, flags: ShowFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead show')
  const of = (name: string): ReturnType<typeof sql.ref> => sql.ref(`${settings.schema}.${name}`)
  const most = flags.full ? 2_147_483_647 : shownCharacters
  const letters = await database.transaction(async (trx) => {
    const { rows } = await sql<Letter>`
      select d.sink, d.key, d.attempts, d.forgiven, d.parked, d.error_code, d.error, d.status, d.fingerprint, d.since,
        e.type, e.subject, e.tenant, e.created_at, e.headers,
        left(e.payload::text, ${most}) as payload, length(e.payload::text) as payload_characters,
        octet_length(e.payload_bytes) as payload_bytes,
        (
          select coalesce(json_agg(json_build_object(
            'attempt', a.attempt, 'outcome', a.outcome, 'status', a.status, 'error_code', a.error_code, 'error', a.error,
            'started_at', a.started_at, 'duration_ms', a.duration_ms, 'actor', a.detail ->> 'actor',
            'response', a.detail ->> 'body'
          ) order by a.started_at, a.attempt), '[]')
          from ${of('attempts')} as a where a.position = d.position and a.slot = d.slot and a.sink = d.sink
        ) as tries,
        ${of('letter_of')}(d.sink, d.position) as letter
      from ${of('deliveries')} as d
      join ${of('events')} as e on e.position = d.position and e.slot = d.slot
      where d.event_id = ${id} and d.state = 'dead' and (${flags.sink ?? null}::text is null or d.sink = ${flags.sink ?? null})
      order by d.sink`.execute(trx)
    return rows
  })
  if (letters.length === 0) {
    throw new PostriderError('not_found', `${id} is not dead anywhere. Where it is: postrider events explain ${id}`, { id })
  }
  // As the database wrote it: a number in a payload may be larger than JavaScript can hold.
  if (flags.json) return print(`[${letters.map(({ letter }) => letter).join(',')}]`)
  for (const [nth, letter] of letters.entries()) {
    if (nth > 0) print('')
    show(id, letter)
  }
}

function show(id: string, letter: Letter): void {
  const { attempts, forgiven, error_code, error, status, headers } = letter
  const facts: [name: string, value: string | null][] = [
    ['event', id],
    ['type', letter.type],
    ['key', letter.key],
    ['subject', letter.subject],
    ['tenant', letter.tenant],
    ['written', letter.created_at.toISOString()],
    ['sink', letter.sink],
    [
      'dead',
      `for ${wordDuration(Date.now() - letter.since.getTime())}${letter.parked ? '; later events of its key may pass' : ''}`,
    ],
    ['attempts', forgiven === 0 ? String(attempts) : `${attempts}, ${forgiven} of them written off by an operator`],
    ['error', `${error_code ?? '?'}${status === null ? '' : ` (status ${status})`}: ${error ?? ''}`],
    ['fingerprint', letter.fingerprint],
    ['headers', Object.keys(headers).length === 0 ? null : JSON.stringify(headers)],
  ]
  for (const [name, value] of facts) {
    if (value !== null) print(`${style('dim', `${name}:`.padEnd(13))}${plain(value)}`)
  }
  print(`${style('dim', 'payload:'.padEnd(13))}${wordPayload(letter)}`)
  if (letter.tries.length === 0)
    return print(style('dim', 'no attempt is on record: the audit of the sink keeps none, or retention has removed it'))
  print(
    renderTable(letter.tries, [
      { title: 'attempt', align: 'right', cell: ({ attempt }) => String(attempt) },
      { title: 'at', cell: ({ started_at }) => new Date(started_at).toISOString() },
      { title: 'took', align: 'right', cell: ({ duration_ms }) => wordDuration(duration_ms) },
      { title: 'outcome', cell: ({ outcome, actor }) => (actor === null ? outcome : `${outcome} by ${plain(actor)}`) },
      { title: 'status', align: 'right', cell: ({ status }) => String(status ?? '-') },
      { title: 'error', cell: ({ error_code, error }) => plain(error_code === null ? '-' : `${error_code}: ${error ?? ''}`) },
      { title: 'answer', cell: ({ response }) => plain((response ?? '').slice(0, 80)) },
    ]),
  )
}

function wordPayload({ payload, payload_characters, payload_bytes }: Letter): string {
  if (payload_bytes !== null) return `${payload_bytes.toLocaleString('en')} bytes`
  if (payload === null || payload_characters === null) return '-'
  const more = payload_characters - payload.length
  return `${plain(payload)}${more > 0 ? style('dim', ` … and ${more.toLocaleString('en')} characters more: --full`) : ''}`
}
