import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { anchorCursors } from './anchor.ts'
import type { Database } from './database.ts'
import type { Settings } from './options.ts'

/** The newest migration that this relay needs. */
const neededMigration = '0012_cutover'

/**
 * Checks, before anything is carried, that the database is what this relay was made for; one that was restored from elsewhere
 * is made so, unless `onRestore` refuses.
 * @throws PostriderError `schema_missing`, `cluster_changed`, `sequence_cache`, or `database_unavailable` on a standby.
 */
export async function checkDatabase(database: Database, onRestore: Settings['onRestore']): Promise<void> {
  const { db, schema, schemaName } = database
  const { rows: found } = await sql<{ standby: boolean; table: string | null }>`
    select pg_is_in_recovery() as standby, to_regclass(${`${schemaName}.migrations`})::text as table`.execute(db)
  if (found[0]?.standby === true)
    throw new PostriderError('database_unavailable', 'the database is a standby: it takes no writes')
  const missing = new PostriderError('schema_missing', `schema ${schemaName} has no migration ${neededMigration}`)
  if (found[0]?.table === null) throw missing
  const applied = await db.selectFrom('migrations').select('name').where('name', '=', neededMigration).executeTakeFirst()
  if (applied === undefined) throw missing

  const { rows: cluster } = await sql<{ moved: boolean; stored: string; here: string }>`
    select ${schema}.is_moved() as moved, m.system_identifier::text as stored,
      (select system_identifier::text from pg_control_system()) as here
    from ${schema}.meta as m`.execute(db)
  const { moved, stored, here } = cluster[0] ?? {}
  if (moved !== false && onRestore === 'refuse') {
    throw new PostriderError(
      'cluster_changed',
      `this database was written in cluster ${stored} and is a copy of it, in cluster ${here}`,
    )
  }
  if (moved !== false) await anchorCursors(database)

  const { rows: sequence } = await sql<{ name: string; cache: string }>`
    select s.schemaname || '.' || s.sequencename as name, s.cache_size::text as cache from pg_sequences as s
    where format('%I.%I', s.schemaname, s.sequencename)::regclass = pg_get_serial_sequence(${`${schemaName}.events`}, 'position')::regclass`.execute(
    db,
  )
  const cached = sequence[0]
  if (cached !== undefined && cached.cache !== '1') {
    throw new PostriderError('sequence_cache', `sequence ${cached.name} has a cache of ${cached.cache}`, {
      path: cached.name,
      limit: 1,
    })
  }
}
