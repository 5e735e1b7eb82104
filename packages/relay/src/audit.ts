import { sql, type RawBuilder } from 'kysely'
import { float4Array, int4Array, int8Array, uuidArray } from './binary-array.ts'
import type { Lane } from './lane.ts'
import type { AttemptRow } from './settlement.ts'

/** Names of parts of a statement, which insert the rows of attempts. */
type Part = RawBuilder<unknown>

/**
 * The audit trail of a settlement, as parts of its statement: most attempts are first ones that were delivered, and differ in
 * little. Those travel as four short arrays, with what they share beside them; the others as they are.
 */
export function auditOf(schema: RawBuilder<unknown>, relay: string, lane: Lane, records: readonly AttemptRow[]): Part[] {
  const model = records.find(isPlain)
  if (model === undefined) return records.length === 0 ? [] : [othersOf(schema, relay, lane, records)]
  const alike: AttemptRow[] = []
  const others: AttemptRow[] = []
  for (const record of records) {
    const isAlike =
      isPlain(record) &&
      record.carried.slot === model.carried.slot &&
      record.status === model.status &&
      Math.abs(record.startedAtMs - model.startedAtMs) < 2 ** 31 // The clock may have been set.
    ;(isAlike ? alike : others).push(record)
  }
  const parts = [alikeOf(schema, relay, lane, alike, model)]
  if (others.length > 0) parts.push(othersOf(schema, relay, lane, others))
  return parts
}

/** A first attempt, of an event that was not in trouble, that was delivered without a word. */
function isPlain({ carried, attempt, outcome, code, error, detail }: AttemptRow): boolean {
  return outcome === 'delivered' && carried.row === null && attempt === 1 && code === null && error === null && detail === null
}

function alikeOf(schema: RawBuilder<unknown>, relay: string, lane: Lane, rows: readonly AttemptRow[], model: AttemptRow): Part {
  const base = model.startedAtMs
  return sql`audit as (
    insert into ${schema}.attempts (sink, relay, position, slot, event_id, attempt, outcome, status, started_at, duration_ms)
    select ${lane.sink}, ${relay}::uuid, a.position, ${model.carried.slot}::smallint, a.event_id, 1, 'delivered', ${model.status}::int,
      to_timestamp((${base}::float8 + a.started_ms) / 1000), a.duration_ms
    from (
      select unnest(${int8Array(rows, ({ carried }) => carried.position)}::bigint[]) as position,
        unnest(${uuidArray(rows, ({ carried }) => carried.id)}::uuid[]) as event_id,
        unnest(${int4Array(rows, ({ startedAtMs }) => startedAtMs - base)}::int[]) as started_ms,
        unnest(${float4Array(rows, ({ durationMs }) => Math.round(durationMs * 1_000) / 1_000)}::real[]) as duration_ms
    ) as a)`
}

function othersOf(schema: RawBuilder<unknown>, relay: string, lane: Lane, records: readonly AttemptRow[]): Part {
  const column = <T>(value: (record: AttemptRow) => T): T[] => records.map(value)
  return sql`other_audit as (
    insert into ${schema}.attempts
      (sink, relay, position, slot, event_id, attempt, outcome, error_code, error, status, started_at, duration_ms, detail)
    select ${lane.sink}, ${relay}::uuid, a.position,
      -- Its event may have been moved since it was read, because its segment was emptied.
      case when a.in_trouble then coalesce((select d.slot from ${schema}.deliveries as d where d.sink = ${lane.sink} and d.position = a.position), a.slot) else a.slot end,
      a.event_id, a.attempt, a.outcome, a.error_code, a.error, a.status,
      to_timestamp(a.started_at / 1000), a.duration_ms, a.detail
    from unnest(
      ${column(({ carried }) => carried.event.position)}::bigint[],
      ${column(({ carried }) => carried.slot)}::smallint[],
      ${column(({ carried }) => carried.row !== null)}::boolean[],
      ${column(({ carried }) => carried.id)}::uuid[],
      ${column(({ attempt }) => attempt)}::int[],
      ${column(({ outcome }) => outcome)}::text[],
      ${column(({ code }) => code)}::text[],
      ${column(({ error }) => error)}::text[],
      ${column(({ status }) => status)}::int[],
      ${column(({ startedAtMs }) => startedAtMs)}::float8[],
      ${column(({ durationMs }) => durationMs)}::real[],
      ${column(({ detail }) => (detail === null ? null : JSON.stringify(detail)))}::jsonb[]
    ) as a (position, slot, in_trouble, event_id, attempt, outcome, error_code, error, status, started_at, duration_ms, detail))`
}
