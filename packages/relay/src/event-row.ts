import { sql, type RawBuilder } from 'kysely'
import type { Carried } from './lane.ts'

/** An event as the statements of a relay read it: what is usual travels as null. */
export interface EventRow {
  readonly position: string
  readonly slot: number
  readonly id: string
  readonly type: string
  readonly key: string | null
  readonly source: string
  readonly subject: string | null
  readonly tenant: string | null
  /** When it happened, in microseconds since the epoch. */
  readonly time_us: string
  readonly headers: Readonly<Record<string, string>> | null
  readonly payload: string | null
  readonly payload_bytes: Buffer | null
  readonly rare: Rare | null
}

/** What few events have travels as one column: every other column is a piece of work for each event, even when it is null. */
export interface Rare {
  /** Other than JSON. */
  readonly content_type?: string | null
  readonly expires_in_ms?: number | null
}

/** Something that few events have: when, the name, and the value, as expressions of SQL over `events as e`. */
export interface RareColumn {
  readonly when: string
  readonly name: string
  readonly value: string
}

const usualContentType = 'application/json'
const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

const rareColumns: readonly RareColumn[] = [
  {
    when: `e.content_type <> '${usualContentType}'`,
    name: 'content_type',
    value: `nullif(e.content_type, '${usualContentType}')`,
  },
  {
    when: 'e.expires_at is not null',
    name: 'expires_in_ms',
    value: `date_part('epoch', e.expires_at - clock_timestamp()) * 1000`,
  },
]

/**
 * What a sink needs of an event, of `events as e`. The payload travels as text: it is never parsed here.
 * @param wrap puts something around a payload
 * @param more that few events have
 */
export function eventColumns(
  wrap: (payload: string) => string = (payload) => payload,
  more: readonly RareColumn[] = [],
): RawBuilder<unknown> {
  const rare = [...rareColumns, ...more]
  return sql.raw(`
    e.position, e.slot, e.id, e.type, e.key, e.source, e.subject, e.tenant,
    (date_part('epoch', coalesce(e.time, e.created_at)) * 1000000)::int8 as time_us, nullif(e.headers, '{}') as headers,
    (${wrap('e.payload')})::text as payload, ${wrap('e.payload_bytes')} as payload_bytes,
    case when ${[...new Set(rare.map(({ when }) => when))].join(' or ')}
      then json_build_object(${rare.map(({ name, value }) => `'${name}', ${value}`).join(', ')}) end as rare`)
}

/** An event in hand, from the columns of {@link eventColumns}. */
export function carriedOf(
  row: EventRow,
  rest: Pick<Carried, 'attempts' | 'forgiven' | 'row' | 'dueForMs' | 'triedForMs' | 'readAt' | 'replay'>,
  /** The id that it carries on its way, when that is not its own. */
  wireId: string = row.id,
): Carried {
  return {
    event: {
      position: row.position,
      id: wireId,
      type: row.type,
      key: row.key,
      source: row.source,
      subject: row.subject,
      tenant: row.tenant,
      time: timeText(Number(row.time_us)),
      contentType: row.rare?.content_type ?? usualContentType,
      headers: row.headers ?? noHeaders,
      payloadText: row.payload,
      payloadBytes: row.payload_bytes,
    },
    id: row.id,
    position: BigInt(row.position),
    slot: row.slot,
    attempts: rest.attempts,
    forgiven: rest.forgiven,
    dueForMs: rest.dueForMs,
    triedForMs: rest.triedForMs,
    readAt: rest.readAt,
    expiresInMs: row.rare?.expires_in_ms ?? Infinity,
    replay: rest.replay,
    row: rest.row,
  }
}

let lastSecond = Number.NaN
let lastText = ''

/** ISO 8601 in UTC, to the millisecond. Neighbours in the log mostly share their second, which is written once. */
export function timeText(micros: number): string {
  const ms = Math.floor(micros / 1_000)
  const second = Math.floor(ms / 1_000)
  if (second !== lastSecond) {
    lastText = new Date(second * 1_000).toISOString().slice(0, -4)
    lastSecond = second
  }
  return `${lastText}${String(ms - second * 1_000).padStart(3, '0')}Z`
}
