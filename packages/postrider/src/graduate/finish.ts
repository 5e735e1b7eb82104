import { sql } from 'kysely'
import { columns, type Cutover, type Graduation } from './cutover.ts'

/**
 * The consumer stays where it went.
 * @throws PostriderError `cutover_refused` when it is not done yet, or ended already
 */
export async function finishCutover(
  id: string,
  { actor, reason }: { readonly actor: string; readonly reason: string | null },
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<Cutover> {
  const { rows } = await database.transaction((trx) =>
    sql<Cutover>`select ${columns} from ${sql.ref(`${schema}.finish_cutover`)}(${id}::bigint, ${reason}, ${actor}) as c`.execute(
      trx,
    ),
  )
  if (rows[0] === undefined) throw new TypeError('a function that always answers did not')
  return rows[0]
}
