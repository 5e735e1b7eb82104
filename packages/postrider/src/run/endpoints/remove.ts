import { sql } from 'kysely'
import { actorOf } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { noEndpoint, readEndpoint } from '../../endpoint/row.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export type RemoveFlags = DatabaseFlags & { readonly reason: string; readonly yes?: true; readonly actor?: string }

export async function remove({ whole }: EndpointName, flags: RemoveFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints remove')
  await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
  await confirm(`Remove ${whole}, and all that waits for it?`, flags.yes === true)
  const dropped = await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: string | null }>`
      select ${sql.ref(`${settings.schema}.remove_endpoint`)}(${whole}, ${flags.reason}, ${actorOf(flags)}) as n`.execute(trx)
    return rows[0]?.n ?? null
  })
  if (dropped === null) throw noEndpoint(whole)
  if (flags.json) printJson({ endpoint: whole, removed: true, deliveries: Number(dropped) })
  else say(`${whole} is gone for good${dropped === '0' ? '' : `, with ${dropped} deliveries that were in trouble`}.`)
}
