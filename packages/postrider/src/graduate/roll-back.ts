import { setTimeout as sleep } from 'node:timers/promises'
import { isPostriderError, PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { columns, requireIdle, topicsOf, type Cutover, type Graduation } from './cutover.ts'
import type { Offsets } from './stream.ts'

export interface RolledBack {
  readonly cutover: Cutover
  /** Where the group had come to. */
  readonly consumed: Offsets
  /** Events that it had not read, and that the first sink delivers now. */
  readonly givenBack: number
}

/**
 * Moves a consumer back: what its group has not committed goes out by the first sink, in order, and so does all that follows.
 * The group must have stopped.
 *
 * @throws PostriderError `cutover_refused` with what is in the way; then nothing has changed.
 */
export async function rollBack(
  cutover: Cutover,
  { actor, reason }: { readonly actor: string; readonly reason: string | null },
  graduation: Graduation,
): Promise<RolledBack> {
  const { stream } = graduation
  await requireIdle(stream, cutover.consumer)
  const topics = new Set([...Object.keys(cutover.offsets ?? {}), ...(await topicsOf(cutover.to_sink, graduation))])
  const committed = await stream.committed(cutover.consumer, [...topics])
  const unread: { topic: string; partition: number; offset: bigint }[] = []
  // What it has never read of a partition begins where the cutover had set it, or with the first record.
  const consumed: Record<string, Record<string, string>> = {}
  for (const topic of topics) {
    const bounds = await stream.bounds(topic)
    const of: Record<string, string> = (consumed[topic] = {})
    for (const [partition, { first, next }] of bounds ?? []) {
      const name = String(partition)
      const read = committed[topic]?.[name] ?? cutover.offsets?.[topic]?.[name] ?? String(first)
      of[name] = read
      if (BigInt(read) < next) unread.push({ topic, partition, offset: BigInt(read) })
    }
  }
  await requireKept(cutover, unread, graduation)
  for (const until = performance.now() + (graduation.deadlineMs ?? 60_000); ;) {
    try {
      return await giveBack(cutover, consumed, { actor, reason }, graduation)
    } catch (error) {
      // The first sink has not come up yet.
      if (!isPostriderError(error) || error.details['path'] !== 'wait' || performance.now() > until) throw error
      await sleep(100)
    }
  }
}

/** @throws PostriderError `cutover_refused` when retention has removed what the group has not read. */
async function requireKept(
  cutover: Cutover,
  unread: readonly { readonly topic: string; readonly partition: number; readonly offset: bigint }[],
  { database, schema }: Graduation,
): Promise<void> {
  const { rows } = await database.transaction((trx) =>
    sql<{ topic: string; partition: number }>`
      select u.topic, u.partition
      from unnest(${unread.map(({ topic }) => topic)}::text[], ${unread.map(({ partition }) => partition)}::int[],
        ${unread.map(({ offset }) => String(offset))}::bigint[]) as u (topic, partition, next_offset)
      cross join ${sql.ref(`${schema}.recycled`)} as r
      where r.position > ${cutover.after_position}::bigint and u.next_offset < coalesce((
        select min(a.first_offset + q.nth - 1)
        from ${sql.ref(`${schema}.appends`)} as a cross join lateral unnest(a.positions) with ordinality as q (position, nth)
        where a.sink = ${cutover.to_sink} and a.topic = u.topic and a.partition = u.partition and q.position > r.position
      ), 9223372036854775807)`.execute(trx),
  )
  if (rows.length === 0) return
  const where = rows.map(({ topic, partition }) => `${topic}/${partition}`).join(', ')
  throw new PostriderError(
    'cutover_refused',
    `retention has removed events that group ${cutover.consumer} has not read (${where}): let it read on before it goes back`,
  )
}

async function giveBack(
  cutover: Cutover,
  consumed: Offsets,
  { actor, reason }: { readonly actor: string; readonly reason: string | null },
  { database, schema }: Graduation,
): Promise<RolledBack> {
  return await database.transaction(async (trx) => {
    const { rows } = await sql<Cutover>`
      select ${columns}
      from ${sql.ref(`${schema}.roll_back_cutover`)}(${cutover.id}::bigint, ${JSON.stringify(consumed)}::jsonb, ${reason}, ${actor}) as c`.execute(
      trx,
    )
    const { rows: recorded } = await sql<{ given_back: number }>`
      select (x.detail ->> 'given_back')::int as given_back from ${sql.ref(`${schema}.actions`)} as x
      where x.action = 'cutover_rolled_back' and (x.detail ->> 'cutover')::bigint = ${cutover.id}::bigint order by x.id desc limit 1`.execute(
      trx,
    )
    return { cutover: rows[0] ?? cutover, consumed, givenBack: recorded[0]?.given_back ?? 0 }
  })
}
