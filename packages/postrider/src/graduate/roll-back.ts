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
  const { database, schema, stream } = graduation
  await requireIdle(stream, cutover.consumer)
  const topics = new Set([...Object.keys(cutover.offsets ?? {}), ...(await topicsOf(cutover.to_sink, graduation))])
  const committed = await stream.committed(cutover.consumer, [...topics])
  // What it has never read of a partition begins where the cutover had set it, or with the first record.
  const consumed: Record<string, Record<string, string>> = {}
  for (const topic of topics) {
    const bounds = await stream.bounds(topic)
    const of: Record<string, string> = (consumed[topic] = {})
    for (const [partition, { first }] of bounds ?? []) {
      const name = String(partition)
      of[name] = committed[topic]?.[name] ?? cutover.offsets?.[topic]?.[name] ?? String(first)
    }
  }
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
