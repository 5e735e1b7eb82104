import { sql } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'
import { meaningOf } from './retry.ts'
import type { Bell } from './wait.ts'

/** What the loop needs of a relay. */
export interface OperationsContext {
  readonly database: Database
  /** Does something with the database until it succeeds or the signal aborts. */
  readonly untilDone: <T>(signal: AbortSignal, work: () => Promise<T>) => Promise<T | undefined>
  /** Rung when there may be an operation: at a notification, and at every beat while there is one. */
  readonly bell: Bell
}

/** While none of the operations can go on: their rate, their own events or another relay keep them. */
const stuckMs = 200
/** A piece holds up settles of its lanes, so it is made as large as it can be in this time. */
const pieceMs = 100
const events = { first: 250, least: 25, most: 1_000 } as const
/** Pieces in a row that were too long for the database, however small, before the operation is given up. */
const mostStrikes = 5

/**
 * Works off the operations of operators (`postrider.operations`), a piece of each in turn, until the signal aborts. All that
 * it knows stands in their rows: another relay, or this one after a crash, goes on from there, and a cancelled one is
 * over with the piece in hand. Any number of relays may do this at once; each operation is with one at a time.
 */
export async function runOperations(context: OperationsContext, signal: AbortSignal): Promise<void> {
  const { bell } = context
  const paces = new Map<string, Pace>()
  while (!signal.aborted) {
    bell.hush()
    const open = await context.untilDone(signal, () => openOperations(context.database))
    if (open === undefined) return
    for (const id of paces.keys()) if (!open.includes(id)) paces.delete(id)
    let moved = false
    for (const id of open) {
      let pace = paces.get(id)
      if (pace === undefined) paces.set(id, (pace = new Pace()))
      moved = ((await context.untilDone(signal, () => advance(context.database, id, pace))) ?? false) || moved
      if (signal.aborted) return
    }
    // Between two pieces settles have their turn: those that wait for a lock get it before the next piece does.
    if (!moved) await bell.wait(open.length > 0 ? stuckMs : Infinity, signal)
  }
}

/** How large a piece of an operation may be, by how long the last ones took. */
class Pace {
  budget: number = events.first
  strikes = 0
  reached = ''

  took(ms: number): void {
    this.strikes = 0
    const fitting = (this.budget * pieceMs) / Math.max(1, ms)
    this.budget = Math.round(Math.min(events.most, Math.max(events.least, Math.min(fitting, this.budget * 2))))
  }

  tooLong(): void {
    if (this.budget === events.least) this.strikes++
    this.budget = events.least
  }
}

async function openOperations({ db, schema }: Database): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id::text as id from ${schema}.operations where state in ('pending', 'running') order by id limit 100`.execute(db)
  return rows.map(({ id }) => id)
}

/** One piece; true when it came further. */
async function advance(database: Database, id: string, pace: Pace): Promise<boolean> {
  const { db, schema } = database
  const began = performance.now()
  try {
    const { rows } = await sql<{ id: string | null; reached: string }>`
      select o.id::text as id, concat_ws(' ', o.state, o.done, o.skipped, o.reached_sink, o.reached_position) as reached
      from ${schema}.advance_operation(${id}::bigint, ${pace.budget}::int) as o`.execute(db)
    const now = rows[0]
    if (now === undefined || now.id === null || now.reached === pace.reached) return false
    pace.took(performance.now() - began)
    pace.reached = now.reached
    return true
  } catch (error) {
    if (isTooLong(error)) {
      pace.tooLong()
      if (pace.strikes < mostStrikes) return false
    } else {
      const meaning = meaningOf(error)
      if (meaning === 'race') return false
      if (meaning === 'away') throw error
    }
    publish('postrider:fault', { error })
    const reason = error instanceof Error ? error.message : String(error)
    await sql`select ${schema}.fail_operation(${id}::bigint, ${reason})`.execute(db)
    return true
  }
}

/** The statement was ended at its deadline. */
function isTooLong(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '57014'
}
