import { once } from 'node:events'
import { sql } from 'kysely'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { filterOf, type FilterFlags } from '../../filter.ts'
import type { DatabaseFlags } from '../../options.ts'
import { say } from '../../print.ts'
import { Progress } from '../../progress.ts'
import { findLetters } from '../../dead/letters.ts'

export type ExportFlags = DatabaseFlags & FilterFlags & { readonly quiet?: true }

/** Dead letters on stdout, a line of JSON for each, exactly as the database writes it. */
export async function exportLetters(ids: readonly string[] | undefined, flags: ExportFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'dead export')
  using progress = new Progress('exported', { json: false, quiet: flags.quiet === true || process.stdout.isTTY })
  let exported = 0
  for await (const places of findLetters(database, settings.schema, filterOf(flags, ids))) {
    const lines = await database.transaction(async (trx) => {
      const { rows } = await sql<{ letter: string | null }>`
        select ${sql.ref(`${settings.schema}.letter_of`)}(p.sink, p.position) as letter
        from unnest(${places.map(({ sink }) => sink)}::text[], ${places.map(({ position }) => position)}::bigint[])
          with ordinality as p (sink, position, nth)
        order by p.nth`.execute(trx)
      // One that has gone meanwhile has none.
      return rows.flatMap(({ letter }) => letter ?? [])
    })
    exported += lines.length
    if (lines.length > 0 && !process.stdout.write(`${lines.join('\n')}\n`)) await once(process.stdout, 'drain')
    progress.show({ done: exported, total: null, waits: null, more: {} })
  }
  progress.clear()
  say(`${exported.toLocaleString('en')} ${exported === 1 ? 'dead letter' : 'dead letters'} exported; they stay where they are`)
}
