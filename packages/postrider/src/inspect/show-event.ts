import { plain, print, style } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'
import type { FoundEvent } from './event.ts'

/** An event for a reader: its attributes, its payload as it is, and every attempt. */
export function showEvent(event: FoundEvent): void {
  const attributes: readonly (readonly [name: string, value: string | null])[] = [
    ['id', event.id],
    ['position', event.position],
    ['type', event.type],
    ['key', event.key],
    ['source', event.source],
    ['subject', event.subject],
    ['tenant', event.tenant],
    ['time', event.time],
    ['written', event.created_at.toISOString()],
    ['not before', event.deliver_at?.toISOString() ?? null],
    ['not after', event.expires_at?.toISOString() ?? null],
    ['content', event.content_type],
    ['headers', Object.keys(event.headers).length === 0 ? null : JSON.stringify(event.headers)],
  ]
  for (const [name, value] of attributes) {
    if (value !== null) print(`${style('dim', `${name}:`.padEnd(12))}${plain(value)}`)
  }
  print(`${style('dim', 'payload:'.padEnd(12))}${wordPayload(event)}`)
  if (event.attempts.length === 0) return print(style('dim', 'no attempt is on record'))
  print('')
  print(
    renderTable(event.attempts, [
      { title: 'sink', cell: ({ sink }) => sink },
      { title: 'attempt', align: 'right', cell: ({ attempt }) => String(attempt) },
      { title: 'at', cell: ({ startedAt }) => new Date(startedAt).toISOString() },
      { title: 'took', align: 'right', cell: ({ durationMs }) => wordDuration(durationMs) },
      { title: 'outcome', cell: ({ outcome, detail }) => plain(`${outcome}${wordActor(detail?.['actor'])}`) },
      { title: 'status', align: 'right', cell: ({ status }) => String(status ?? '-') },
      { title: 'error', cell: ({ errorCode, error }) => plain(errorCode === null ? '-' : `${errorCode}: ${error ?? ''}`) },
    ]),
  )
}

function wordActor(actor: unknown): string {
  return typeof actor === 'string' ? ` by ${actor}` : ''
}

function wordPayload({ payload, payload_bytes }: FoundEvent): string {
  if (payload_bytes !== null) return `${payload_bytes.toString('base64')} ${style('dim', '(base64)')}`
  return payload === null ? '-' : plain(payload)
}
