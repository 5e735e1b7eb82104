import { sql } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'

/** What `postrider.anchor_cursors` leaves in `postrider.actions`. Identifiers are those of PostgreSQL for a cluster. */
interface Entry {
  readonly from: string
  readonly to: string
  /** The cluster goes on under another identifier, with its transaction ids: the cursors hold. */
  readonly continued?: true
  readonly position?: number
  readonly set_aside?: number
  readonly missing?: number
}

/**
 * Makes a database that was restored from elsewhere one that relays can carry from. Once: whoever comes second waits, and finds
 * it done. With a large backlog this takes a while, about two seconds for 100,000 events.
 */
export async function anchorCursors({ db, schema }: Database): Promise<void> {
  const { rows } = await sql<{ entry: Entry | null }>`select ${schema}.anchor_cursors('postrider') as entry`.execute(db)
  const entry = rows[0]?.entry ?? null
  if (entry === null) return
  publish('postrider:anchored', {
    from: entry.from,
    to: entry.to,
    continued: entry.continued ?? false,
    position: String(entry.position ?? 0),
    events: entry.set_aside ?? 0,
    missing: entry.missing ?? 0,
  })
}
