import { sql } from 'kysely'
import type { Chore, ChoreReport } from './chores.ts'
import type { Database } from './database.ts'

/** What `postrider.recycle_next()` answers; all null when nothing is due. */
interface Recycling {
  readonly slot: number | null
  readonly result: string
  readonly why: string | null
  readonly kept: number
  readonly left_behind: readonly { readonly sink: string; readonly events: number; readonly counted_all: boolean }[] | null
}

/** Pieces of work that a chore does in one turn; the next turn goes on. */
const mostPieces = 20
/** While others hold on to a segment, every attempt makes readers wait for a moment: so the pauses double, up to so many turns. */
const mostPatience = 32

/** Empties the segment of the log that has been due for the longest time: one at most in a turn. */
export function recycleSegments(): Chore {
  let patience = 1
  let resting = 0
  return {
    name: 'segments',
    async run(database) {
      if (resting > 0) {
        resting--
        return null
      }
      let kept = 0
      for (let piece = 0; piece < mostPieces; piece++) {
        const recycling = await recycleNext(database)
        if (recycling === null) return null
        kept += recycling.kept
        if (recycling.result === 'kept') continue
        if (recycling.result === 'waiting') {
          resting = patience
          patience = Math.min(patience * 2, mostPatience)
        } else {
          patience = 1
        }
        return reportOf(recycling, kept)
      }
      return { done: true, detail: `${kept} events that are still needed were moved out of a segment, more follow` }
    },
  }
}

async function recycleNext({ db, schema }: Database): Promise<Recycling | null> {
  const { rows } = await sql<Recycling>`select * from ${schema}.recycle_next()`.execute(db)
  const recycling = rows[0]
  return recycling === undefined || recycling.slot === null ? null : recycling
}

function reportOf({ slot, result, why, left_behind }: Recycling, kept: number): ChoreReport {
  if (result === 'dropped') return { done: true, detail: `segment ${slot} was dropped: the ring has fewer now` }
  if (result !== 'recycled') return { done: false, detail: `segment ${slot} could not be emptied: ${why ?? result}` }
  const parts = [`segment ${slot} was emptied`]
  if (kept > 0) parts.push(`${kept} events that are still needed were kept`)
  if (left_behind === null) return { done: true, detail: parts.join('; ') }
  const losses = left_behind.map(
    ({ sink, events, counted_all }) =>
      `${sink} was left behind and will not get ${counted_all ? '' : 'at least '}${events} events`,
  )
  return { done: true, detail: [...parts, ...losses].join('; '), loss: true }
}

/** Kept events that nobody needs any more go. Looks at a part of them in each turn, so that it never takes long however many there are. */
export function forgetKept(): Chore {
  let reached = '0'
  return {
    name: 'kept',
    everyTurns: 6,
    async run({ db, schema }) {
      const { rows } = await sql<{ reached: string; forgotten: number }>`
        select reached::text as reached, forgotten from ${schema}.forget_kept(${reached}::bigint)`.execute(db)
      const found = rows[0]
      reached = found?.reached ?? '0'
      const forgotten = found?.forgotten ?? 0
      return forgotten === 0 ? null : { done: true, detail: `${forgotten} kept events are needed no longer and were removed` }
    },
  }
}

/** Dead letters that are older than the ring keeps them are discarded. */
export function discardOld(): Chore {
  return {
    name: 'dead',
    everyTurns: 6,
    async run({ db, schema }) {
      let discarded = 0
      for (let piece = 0; piece < mostPieces; piece++) {
        const { rows } = await sql<{ n: number }>`select ${schema}.discard_old() as n`.execute(db)
        const n = rows[0]?.n ?? 0
        discarded += n
        if (n === 0) break
      }
      return discarded === 0 ? null : { done: true, detail: `${discarded} dead letters were too old and were discarded` }
    },
  }
}
