import { sql } from 'kysely'
import type { Database } from '../connect.ts'

/** An event of the log with every attempt at it. */
export interface FoundEvent {
  readonly id: string
  readonly position: string
  readonly type: string
  readonly key: string | null
  readonly source: string
  readonly subject: string | null
  readonly tenant: string | null
  /** ISO 8601 in UTC with milliseconds, as a sink gets it. */
  readonly time: string
  readonly created_at: Date
  readonly deliver_at: Date | null
  readonly expires_at: Date | null
  readonly content_type: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON as the database writes it: every digit of its numbers is there. */
  readonly payload: string | null
  readonly payload_bytes: Buffer | null
  readonly attempts: readonly FoundAttempt[]
  /** All of it, as one JSON document. */
  readonly document: string
}

export interface FoundAttempt {
  readonly sink: string
  readonly attempt: number
  readonly outcome: string
  readonly status: number | null
  readonly errorCode: string | null
  readonly error: string | null
  readonly startedAt: string
  readonly durationMs: number
  readonly relay: string | null
  readonly detail: Readonly<Record<string, unknown>> | null
}

/** The events of an id (one, unless a producer gave the same id twice), with the attempts at one sink or at all. */
export async function readEvents(database: Database, schema: string, id: string, sink: string | null): Promise<FoundEvent[]> {
  const of = (name: string): ReturnType<typeof sql.ref> => sql.ref(`${schema}.${name}`)
  return await database.transaction(async (trx) => {
    const { rows } = await sql<FoundEvent>`
      select e.id, e.position, e.type, e.key, e.source, e.subject, e.tenant, e.created_at, e.deliver_at, e.expires_at, e.content_type,
        e.headers, e.payload::text as payload, e.payload_bytes, written.time, tried.attempts,
        jsonb_build_object(
          'id', e.id, 'position', e.position::text, 'type', e.type, 'key', e.key, 'source', e.source, 'subject', e.subject,
          'tenant', e.tenant, 'time', written.time, 'createdAt', e.created_at, 'deliverAt', e.deliver_at, 'expiresAt', e.expires_at,
          'contentType', e.content_type, 'headers', e.headers, 'payload', e.payload,
          'payloadBase64', translate(encode(e.payload_bytes, 'base64'), E'\n', ''), 'attempts', tried.attempts
        )::text as document
      from ${of('events')} as e
      cross join lateral (
        select to_char(coalesce(e.time, e.created_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as time
      ) as written
      cross join lateral (
        select coalesce(jsonb_agg(jsonb_build_object(
          'sink', a.sink, 'attempt', a.attempt, 'outcome', a.outcome, 'status', a.status, 'errorCode', a.error_code, 'error', a.error,
          'startedAt', a.started_at, 'durationMs', a.duration_ms, 'relay', a.relay, 'detail', a.detail
        ) order by a.started_at, a.sink, a.attempt), '[]') as attempts
        from ${of('attempts')} as a
        where a.position = e.position and a.slot = e.slot and (${sink}::text is null or a.sink = ${sink})
      ) as tried
      where e.id = ${id}
      order by e.position`.execute(trx)
    return rows
  })
}
