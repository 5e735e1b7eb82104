import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { sql, type RawBuilder } from 'kysely'
import type { Database } from '../connect.ts'
import type { Offsets, Stream } from './stream.ts'

/** A row of `postrider.cutovers`. */
export interface Cutover {
  readonly id: string
  readonly sink: string
  readonly types: readonly string[]
  readonly filter: string
  readonly to_sink: string
  readonly consumer: string
  readonly state: 'switching' | 'switched' | 'rolled_back' | 'finished'
  readonly after: string
  readonly after_position: string
  readonly offsets: Offsets | null
}

export interface Move {
  readonly sink: string
  readonly types: readonly string[]
  readonly toSink: string
  /** Group that will read there. */
  readonly consumer: string
  readonly actor: string
  readonly reason: string | null
}

export interface Graduation {
  readonly database: Database
  readonly schema: string
  readonly stream: Stream
  /** How long both sinks have to do what was committed before; default 60,000 ms. */
  readonly deadlineMs?: number
  /** One sentence about what is done now. */
  readonly say?: (text: string) => void
}

/** What {@link Cutover} holds, of a row that is called c. */
export const columns: RawBuilder<unknown> = sql.raw(
  'c.id::text as id, c.sink, c.types, c.filter, c.to_sink, c.consumer, c.state, c.after::text as after, c.after_position::text as after_position, c.offsets',
)

/**
 * Moves the consumer of some event types of a sink over to a sink that keeps a log.
 *
 * From a snapshot on, the first sink does not carry them any more. When it has done what was visible in that, and the other
 * one has what is visible in a later one, the offset of each partition is known from which on everything stands that the first
 * sink has not carried; there the group begins. What the first sink had in flight at that moment may arrive by both.
 *
 * @throws PostriderError `cutover_refused` with what is in the way. One that has begun stays `switching`: call
 *   {@link completeCutover} again, or roll it back.
 */
export async function cutOver(move: Move, graduation: Graduation): Promise<Cutover> {
  const { database, schema, stream } = graduation
  await requireIdle(stream, move.consumer)
  const { rows } = await database.transaction((trx) =>
    sql<Cutover>`
      select ${columns} from ${sql.ref(`${schema}.begin_cutover`)}(
        ${move.sink}, ${move.types}::text[], ${move.toSink}, ${move.consumer}, ${move.reason}, ${move.actor}) as c`.execute(trx),
  )
  const begun = rows[0]
  if (begun === undefined) throw new TypeError('a statement that always has a row had none')
  return await completeCutover(begun, move.actor, graduation)
}

/** The second half of {@link cutOver}: may be called again for one that is still `switching`. */
export async function completeCutover(cutover: Cutover, actor: string, graduation: Graduation): Promise<Cutover> {
  const { database, schema, stream, say } = graduation
  say?.(`${cutover.sink} delivers what was committed before`)
  await known(cutover, graduation)
  await done(cutover.sink, cutover.after, cutover.filter, graduation)

  const topics = await topicsOf(cutover.to_sink, graduation)
  const next = new Map<string, ReadonlyMap<number, { readonly next: bigint }>>()
  for (const topic of topics) {
    const bounds = await stream.bounds(topic)
    if (bounds !== null) next.set(topic, bounds)
  }
  // Whatever stands below those offsets was committed before this snapshot.
  const { rows: now } = await database.transaction((trx) =>
    sql<{ seen: string }>`select pg_current_snapshot()::text as seen`.execute(trx),
  )
  say?.(`${cutover.to_sink} appends what was committed by now`)
  const seen = now[0]?.seen ?? ''
  await done(cutover.to_sink, seen, cutover.filter, graduation, { dead: true })

  const firsts = await firstMoved(cutover, graduation)
  const offsets: Record<string, Record<string, string>> = {}
  for (const [topic, partitions] of next) {
    const of: Record<string, string> = (offsets[topic] = {})
    for (const [partition, bounds] of partitions) {
      const first = firsts.get(`${topic} ${partition}`)
      of[String(partition)] = String(first !== undefined && first < bounds.next ? first : bounds.next)
    }
  }
  // Topics and partitions that have come meanwhile.
  for (const [place, first] of firsts) {
    const [topic = '', partition = ''] = place.split(' ')
    const of = (offsets[topic] ??= {})
    of[partition] ??= String(first)
  }
  await requireIdle(stream, cutover.consumer)
  await stream.commit(cutover.consumer, offsets)
  const { rows } = await database.transaction((trx) =>
    sql<Cutover>`
      select ${columns} from ${sql.ref(`${schema}.complete_cutover`)}(${cutover.id}::bigint, ${JSON.stringify(offsets)}::jsonb, ${actor}) as c`.execute(
      trx,
    ),
  )
  return rows[0] ?? cutover
}

/** The topics that a sink has appended to. */
export async function topicsOf(sink: string, { database, schema }: Graduation): Promise<string[]> {
  // One look-up for each topic, however many rows there are.
  const { rows } = await database.transaction((trx) =>
    sql<{ topic: string }>`
      with recursive found as (
        (select topic from ${sql.ref(`${schema}.appends`)} where sink = ${sink} order by topic limit 1)
        union all
        select (select a.topic from ${sql.ref(`${schema}.appends`)} as a where a.sink = ${sink} and a.topic > f.topic order by a.topic limit 1)
        from found as f where f.topic is not null
      )
      select topic from found where topic is not null`.execute(trx),
  )
  return rows.map(({ topic }) => topic)
}

/** By `topic partition`, the first offset of an event that the cutover has moved. */
async function firstMoved(cutover: Cutover, { database, schema }: Graduation): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await database.transaction((trx) =>
    sql<{ topic: string; partition: number; first: string }>`
      with moved as (
        select e.position, e.slot from ${sql.ref(`${schema}.events`)} as e
        where e.xid >= pg_snapshot_xmax(${cutover.after}::pg_snapshot) and e.type ~ ${cutover.filter}
        union all
        select e.position, e.slot from ${sql.ref(`${schema}.events`)} as e
        where e.xid = any(array(select pg_snapshot_xip(${cutover.after}::pg_snapshot))) and e.type ~ ${cutover.filter}
      )
      select a.topic, a.partition, min(a.first_offset + q.nth - 1)::text as first
      from ${sql.ref(`${schema}.appends`)} as a
      cross join lateral unnest(a.positions) with ordinality as q (position, nth)
      where a.sink = ${cutover.to_sink} and a.slot in (select m.slot from moved as m)
        and q.position in (select m.position from moved as m)
      group by a.topic, a.partition`.execute(trx),
  )
  return new Map(rows.map(({ topic, partition, first }) => [`${topic} ${partition}`, BigInt(first)]))
}

export interface Undone {
  readonly pending: number
  readonly waiting: number
  readonly dead: number
}

/** What a sink has still to do of what is visible in a snapshot. */
export async function undoneBefore(
  sink: string,
  seen: string,
  filter: string | null,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<Undone> {
  const { rows } = await database.transaction((trx) =>
    sql<Undone>`
      select pending::int as pending, waiting::int as waiting, dead::int as dead
      from ${sql.ref(`${schema}.undone_before`)}(${sink}, ${seen}::pg_snapshot, ${filter})`.execute(trx),
  )
  return rows[0] ?? { pending: 0, waiting: 0, dead: 0 }
}

/** Waits until every relay leaves alone what has moved. */
async function known({ id, sink }: Cutover, { database, schema, deadlineMs = 60_000 }: Graduation): Promise<void> {
  for (const until = performance.now() + deadlineMs; ;) {
    const { rows } = await database.transaction((trx) =>
      sql<{ known: boolean }>`select ${sql.ref(`${schema}.is_known_cutover`)}(${id}::bigint) as known`.execute(trx),
    )
    if (rows[0]?.known === true) return
    if (performance.now() > until) {
      throw new PostriderError(
        'cutover_refused',
        `a relay that carries ${sink} does not answer. Run the same command again to wait on, or roll back`,
      )
    }
    await sleep(20)
  }
}

async function done(
  sink: string,
  seen: string,
  filter: string,
  graduation: Graduation,
  { dead = false }: { readonly dead?: boolean } = {},
): Promise<void> {
  const until = performance.now() + (graduation.deadlineMs ?? 60_000)
  for (;;) {
    const asked = performance.now()
    const undone = await undoneBefore(sink, seen, filter, graduation)
    if (dead && undone.dead > 0) {
      throw new PostriderError(
        'cutover_refused',
        `${undone.dead} events are dead letters at ${sink}: its consumers would miss them. Retry or discard them first (postrider dead list --sink ${sink})`,
      )
    }
    if (undone.pending === 0 && undone.waiting === 0) return
    if (performance.now() > until) {
      throw new PostriderError(
        'cutover_refused',
        `${sink} has not done what was committed before: ${undone.pending} events pending, ${undone.waiting} in trouble. ` +
          'Run the same command again to wait on, or roll back',
      )
    }
    // A look at a long backlog is not free.
    await sleep(Math.max(50, 2 * (performance.now() - asked)))
  }
}

export async function requireIdle(stream: Stream, consumer: string): Promise<void> {
  const group = await stream.group(consumer)
  if (group === null || group.idle) return
  throw new PostriderError(
    'cutover_refused',
    `group ${consumer} is ${group.state}: stop its consumers, so that its offsets can be set and read`,
  )
}
