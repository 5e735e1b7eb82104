import { sql } from 'kysely'
import { actorOf } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { readEndpoint } from '../../endpoint/row.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export async function disable(
  { whole }: EndpointName,
  flags: DatabaseFlags & { readonly reason: string; readonly actor?: string },
): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints disable')
  await database.transaction(async (trx) => {
    await readEndpoint(trx, settings.schema, whole)
    await sql`select ${sql.ref(`${settings.schema}.set_state`)}(${whole}, 'disabled', ${flags.reason}, ${actorOf(flags)})`.execute(
      trx,
    )
  })
  if (flags.json) printJson({ endpoint: whole, state: 'disabled' })
  else say(`${whole} is disabled. Let it go on: postrider endpoints enable ${whole} --from all`)
}
