import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { acknowledgements, type Acknowledged } from './acknowledged.ts'
import { undoneBefore, topicsOf, type Graduation } from './cutover.ts'
import { hashLength, readLog, unsentOf, windowFrom, type Window } from './log-window.ts'
import type { Offsets } from './stream.ts'

/** Ids of events that are not as they should be; of many the first. */
export interface Finding {
  readonly count: number
  readonly ids: readonly string[]
}

/** What a comparison of a window of the log with a sink's log came to. */
export interface Parity {
  /** Positions: from (included) to (not included). */
  readonly from: string
  readonly to: string
  /** Events of the window that are for the sink. */
  readonly events: number
  /** Nothing is missing, altered, added or out of order. Repeats are allowed: consumers drop them by their ids. */
  readonly equal: boolean
  /** In the log, and not in the topic. */
  readonly missing: Finding
  /** Not sent, and it is known why: given up, expired, or still in trouble. */
  readonly unsent: Finding & { readonly why: Readonly<Record<string, number>> }
  /** With other bytes than in the log. */
  readonly altered: Finding
  /** Behind a later event of its key. */
  readonly disordered: Finding
  /** More than once. */
  readonly repeated: Finding
  /** In the topic, as an event of this log, and not in the log. */
  readonly added: Finding
  /** Records that are no events. */
  readonly foreign: number
  /** By the order of the log: SHA-256 over ids, keys and payload hashes, of both sides. */
  readonly checksums: { readonly log: string; readonly stream: string }
  /** Of the other sink, when one was asked for. */
  readonly acknowledged: Acknowledged | null
  /** Where the next comparison goes on to read. */
  readonly offsets: Offsets
  readonly tookMs: number
}

export interface VerifyOptions {
  /** The sink with a log of its own. */
  readonly toSink: string
  /** A sink whose acknowledgements are compared as well; default none. */
  readonly sink?: string
  /** Position; default where the last comparison of these sinks ended, or the beginning of the log. */
  readonly from?: bigint
  /** Events at most; a window takes about 300 bytes of memory for each. Default 1,000,000. */
  readonly most?: number
  readonly actor: string
}

/** Ids that are named of a finding, and those that are kept for a repair. */
const named = 20
const kept = 10_000

interface Expected {
  /** Place in the order of the log. */
  readonly nth: number
  readonly key: string | null
  readonly hash: string | null
  times: number
}

/**
 * Compares a window of the log with what stands in the topics: every event there, once or more often, with the same bytes, and
 * of every key in the same order. The result is kept in `postrider.verifications`.
 *
 * @throws PostriderError `not_found` when there is nothing new to compare, `cutover_refused` when the sink lags so far that a
 *   comparison would tell nothing.
 */
export async function verify(options: VerifyOptions, graduation: Graduation): Promise<Parity> {
  const began = performance.now()
  const { toSink, sink = null, most = 1_000_000 } = options
  const last = options.from === undefined ? await lastOf(toSink, sink, graduation) : null
  const window = await windowFrom(options.from ?? last?.to ?? 0n, most, graduation)
  if (window === null) throw new PostriderError('not_found', `nothing was committed since the last comparison of ${toSink}`)
  await settled(toSink, window, graduation)
  if (sink !== null) await settled(sink, window, graduation)

  const expected = new Map<string, Expected>()
  const ofLog = createHash('sha256')
  for await (const { id, key, hash } of readLog(toSink, window, graduation)) {
    ofLog.update(`${id} ${key} ${hash}\n`)
    expected.set(id, { nth: expected.size, key, hash, times: 0 })
  }
  if (expected.size === 0) throw new PostriderError('not_found', `no event of this window is for ${toSink}`)

  const found = await compare(toSink, window, expected, last?.offsets ?? {}, graduation)
  const absent = [...expected].filter(([, { times }]) => times === 0).map(([id]) => id)
  const why = absent.length === 0 ? new Map<string, string>() : await unsentOf(toSink, absent, graduation)
  const missing = absent.filter((id) => !why.has(id))
  const acknowledged = sink === null ? null : await acknowledgements(sink, window, graduation)

  const ofStream = createHash('sha256')
  for (const id of expected.keys()) if (found.hashes.has(id)) ofStream.update(`${id} ${found.hashes.get(id)}\n`)
  const parity: Parity = {
    from: String(window.from),
    to: String(window.to),
    events: expected.size,
    equal:
      missing.length + found.altered.length + found.disordered.length + found.added.length === 0 &&
      (acknowledged === null || acknowledged.equal),
    missing: finding(missing),
    unsent: { ...finding([...why.keys()]), why: tally(why.values()) },
    altered: finding(found.altered),
    disordered: finding(found.disordered),
    repeated: finding(found.repeated),
    added: finding(found.added),
    foreign: found.foreign,
    checksums: { log: ofLog.digest('hex'), stream: ofStream.digest('hex') },
    acknowledged,
    offsets: found.offsets,
    tookMs: Math.round(performance.now() - began),
  }
  await keep(options, parity, missing.slice(0, kept), graduation)
  return parity
}

/** The ids that the last comparison has found missing. */
export async function missingOf(toSink: string, { database, schema }: Graduation): Promise<readonly string[]> {
  const { rows } = await database.transaction((trx) =>
    sql<{ ids: string[] | null }>`
      select v.result -> 'missing_ids' as ids from ${sql.ref(`${schema}.verifications`)} as v
      where v.to_sink = ${toSink} order by v.id desc limit 1`.execute(trx),
  )
  return rows[0]?.ids ?? []
}

interface Found {
  readonly altered: readonly string[]
  readonly disordered: readonly string[]
  readonly repeated: readonly string[]
  readonly added: readonly string[]
  readonly foreign: number
  /** By id, key and hash as they were read. */
  readonly hashes: ReadonlyMap<string, string>
  readonly offsets: Offsets
}

async function compare(
  toSink: string,
  window: Window,
  expected: Map<string, Expected>,
  from: Offsets,
  graduation: Graduation,
): Promise<Found> {
  const altered: string[] = []
  const disordered: string[] = []
  const repeated: string[] = []
  /** Not of the window: of one before or behind it, or of nowhere. */
  const others = new Map<string, { topic: string; partition: number; offset: bigint }>()
  const hashes = new Map<string, string>()
  const newest = new Map<string, number>()
  const next: Record<string, Record<string, string>> = {}
  let foreign = 0
  for (const topic of await topicsOf(toSink, graduation)) {
    const bounds = await graduation.stream.bounds(topic)
    const of: Record<string, string> = (next[topic] = {})
    for (const [partition, { first, next: end }] of bounds ?? []) {
      const begin = BigInt(from[topic]?.[String(partition)] ?? 0)
      of[String(partition)] = String(end)
      for await (const record of graduation.stream.read(topic, partition, begin > first ? begin : first, end)) {
        if (record.id === null) {
          foreign++
          continue
        }
        const event = expected.get(record.id)
        if (event === undefined) {
          if (!others.has(record.id)) others.set(record.id, { topic, partition, offset: record.offset })
          continue
        }
        if (++event.times > 1) {
          if (event.times === 2) repeated.push(record.id)
          continue
        }
        const hash = record.value === null ? null : createHash('sha256').update(record.value).digest('hex').slice(0, hashLength)
        hashes.set(record.id, `${record.key} ${hash}`)
        if (hash !== event.hash || record.key !== event.key) altered.push(record.id)
        if (event.key === null) continue
        // One that was sent once more by hand comes late, and everybody knows.
        if (event.nth < (newest.get(event.key) ?? -1)) {
          if (!record.replay) disordered.push(record.id)
        } else newest.set(event.key, event.nth)
      }
    }
  }
  const { added, later } = await sortOut([...others.keys()], window, graduation)
  for (const id of later) {
    const at = others.get(id)
    const of = at === undefined ? undefined : next[at.topic]
    if (at !== undefined && of !== undefined && at.offset < BigInt(of[String(at.partition)] ?? 0)) {
      of[String(at.partition)] = String(at.offset)
    }
  }
  return { altered, disordered, repeated, added, foreign, hashes, offsets: next }
}

/** Of events that are not of a window: those that the log does not have, and those that come after it. */
async function sortOut(
  ids: readonly string[],
  window: Window,
  { database, schema }: Graduation,
): Promise<{ readonly added: readonly string[]; readonly later: readonly string[] }> {
  const later: string[] = []
  const added: string[] = []
  for (let from = 0; from < ids.length; from += 10_000) {
    const some = ids.slice(from, from + 10_000).filter((id) => /^[0-9a-f-]{36}$/i.test(id))
    const { rows } = await database.transaction((trx) =>
      sql<{ id: string; position: string | null; recycled: boolean; seen: boolean | null }>`
        select w.id, e.position::text as position, pg_visible_in_snapshot(e.xid, ${window.seen}::pg_snapshot) as seen,
          e.position is null and (
            exists (select from ${sql.ref(`${schema}.attempts`)} as a where a.event_id = w.id)
            or substring(w.id::text, 1, 13) < (select min(left(o.id::text, 13)) from (select o.id from ${sql.ref(`${schema}.events`)} as o order by o.position limit 100) as o)
          ) as recycled
        from unnest(${some}::uuid[]) as w (id) left join ${sql.ref(`${schema}.events`)} as e on e.id = w.id`.execute(trx),
    )
    for (const { id, position, seen, recycled } of rows) {
      if (position === null) {
        if (!recycled) added.push(id)
      } else if (BigInt(position) >= window.to || seen === false) later.push(id)
    }
  }
  return { added, later }
}

/** Waits until the sink has done what is in the window; what is in trouble is told as such. */
async function settled(sink: string, window: Window, graduation: Graduation): Promise<void> {
  const until = performance.now() + (graduation.deadlineMs ?? 60_000)
  for (;;) {
    const { pending } = await undoneBefore(sink, window.seen, null, graduation)
    if (pending === 0) return
    if (performance.now() > until) {
      throw new PostriderError(
        'cutover_refused',
        `${sink} lags: ${pending} or more events are pending. Wait until it has come up`,
      )
    }
    await sleep(100)
  }
}

async function lastOf(
  toSink: string,
  sink: string | null,
  { database, schema }: Graduation,
): Promise<{ readonly to: bigint; readonly offsets: Offsets } | null> {
  const { rows } = await database.transaction((trx) =>
    sql<{ to: string; offsets: Offsets }>`
      select v.to_position::text as to, v.result -> 'offsets' as offsets from ${sql.ref(`${schema}.verifications`)} as v
      where v.to_sink = ${toSink} and v.sink is not distinct from ${sink}::text order by v.id desc limit 1`.execute(trx),
  )
  const row = rows[0]
  return row === undefined ? null : { to: BigInt(row.to), offsets: row.offsets }
}

async function keep(
  { toSink, sink, actor }: VerifyOptions,
  parity: Parity,
  missing: readonly string[],
  { database, schema }: Graduation,
): Promise<void> {
  await database.transaction((trx) =>
    sql`
      insert into ${sql.ref(`${schema}.verifications`)} (to_sink, sink, from_position, to_position, from_time, to_time, events, equal, result, actor)
      values (${toSink}, ${sink ?? null}, ${parity.from}::bigint, ${parity.to}::bigint,
        (select min(e.created_at) from ${sql.ref(`${schema}.events`)} as e where e.position = ${parity.from}::bigint),
        (select max(e.created_at) from ${sql.ref(`${schema}.events`)} as e where e.position = ${parity.to}::bigint - 1),
        ${parity.events}, ${parity.equal}, ${JSON.stringify({ ...parity, missing_ids: missing })}::jsonb, ${actor})`.execute(trx),
  )
}

function finding(ids: readonly string[]): Finding {
  return { count: ids.length, ids: ids.slice(0, named) }
}

function tally(words: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}
