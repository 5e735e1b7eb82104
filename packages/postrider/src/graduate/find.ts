import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { columns, type Cutover, type Graduation } from './cutover.ts'

type Place = Pick<Graduation, 'database' | 'schema'>

/**
 * A cutover by its number.
 * @throws PostriderError `not_found`
 */
export async function cutoverById(id: string, { database, schema }: Place): Promise<Cutover> {
  const { rows } = await database.transaction((trx) =>
    sql<Cutover>`select ${columns} from ${sql.ref(`${schema}.cutovers`)} as c where c.id = ${id}::bigint`.execute(trx),
  )
  if (rows[0] === undefined)
    throw new PostriderError('not_found', `There is no cutover ${id}. Which there are: postrider graduate status`)
  return rows[0]
}

/** The same move, begun and not completed; null when there is none. */
export async function unfinishedCutover(
  move: { readonly sink: string; readonly types: readonly string[]; readonly toSink: string; readonly consumer: string },
  { database, schema }: Place,
): Promise<Cutover | null> {
  const { rows } = await database.transaction((trx) =>
    sql<Cutover>`
      select ${columns} from ${sql.ref(`${schema}.cutovers`)} as c
      where c.state = 'switching' and c.sink = ${move.sink} and c.to_sink = ${move.toSink} and c.consumer = ${move.consumer}
        and c.types @> ${move.types}::text[] and c.types <@ ${move.types}::text[]`.execute(trx),
  )
  return rows[0] ?? null
}
