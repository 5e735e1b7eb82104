import { sql } from 'kysely'
import type { Database } from '../connect.ts'
import type { Filter } from '../filter.ts'

/** Where a dead letter is. */
export interface Place {
  readonly sink: string
  readonly position: string
}

/** Rows that one statement looks at. */
const look = 500

/**
 * Dead letters that match a filter, in the order of sinks and positions, page by page: no statement takes long, however
 * many there are. Letters that come or go meanwhile are there or not.
 */
export async function* findLetters(database: Database, schema: string, filter: Filter): AsyncGenerator<readonly Place[]> {
  await database.transaction((trx) =>
    sql`select ${sql.ref(`${schema}.check_filter`)}(${JSON.stringify(filter)}::jsonb, 'retry')`.execute(trx),
  )
  let last: Place | undefined
  do {
    const page = await pageAfter(database, schema, filter, last)
    const matching = page.filter(({ matches }) => matches)
    if (matching.length > 0) yield matching
    last = page.length < look ? undefined : page.at(-1)
  } while (last !== undefined)
}

type Found = Place & { readonly matches: boolean }

async function pageAfter(database: Database, schema: string, filter: Filter, last: Place | undefined): Promise<Found[]> {
  return await database.transaction(async (trx) => {
    const { rows } = await sql<Found>`
      select f.sink, f.position::text as position, f.matches
      from ${sql.ref(`${schema}.find_deliveries`)}(
        ${JSON.stringify(filter)}::jsonb, '{dead}', ${look}, ${last?.sink ?? null}, ${last?.position ?? null}::bigint) as f
      order by f.sink, f.position`.execute(trx)
    return rows
  })
}
