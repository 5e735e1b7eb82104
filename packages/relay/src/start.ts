import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import type { Database } from './database.ts'

/** The newest migration that this relay needs. */
const neededMigration = '0010_views'

/**
 * Checks, before anything is carried, that the database is what this relay was made for.
 * @throws PostriderError `schema_missing`, `cluster_changed`, `sequence_cache`, or `database_unavailable` on a standby.
 */
export async function checkDatabase({ db, schema, schemaName }: Database): Promise<void> {
  const { rows: found } = await sql<{ standby: boolean; table: string | null }>`
    select pg_is_in_recovery() as standby, to_regclass(${`${schemaName}.migrations`})::text as table`.execute(db)
  if (found[0]?.standby === true)
    throw new PostriderError('database_unavailable', 'the database is a standby: it takes no writes')
  const missing = new PostriderError('schema_missing', `schema ${schemaName} has no migration ${neededMigration}`)
  if (found[0]?.table === null) throw missing
  const applied = await db.selectFrom('migrations').select('name').where('name', '=', neededMigration).executeTakeFirst()
  if (applied === undefined) throw missing

  const { rows: cluster } = await sql<{ stored: string; here: string }>`
    select m.system_identifier::text as stored, (select system_identifier::text from pg_control_system()) as here
    from ${schema}.meta as m`.execute(db)
  if (cluster[0]?.stored !== cluster[0]?.here) {
    throw new PostriderError(
      'cluster_changed',
      `the cursors belong to cluster ${cluster[0]?.stored}, this is ${cluster[0]?.here}: a restored copy`,
    )
  }

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
