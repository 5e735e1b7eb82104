import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { confirm } from '../confirm.ts'
import { openDatabase } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { printJson, say } from '../print.ts'

export type RemoveFlags = DatabaseFlags & { readonly reason: string; readonly yes?: true; readonly actor?: string }

export async function remove(name: string, flags: RemoveFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'sinks remove')
  await confirm(`Remove ${name}, and all that waits for it?`, flags.yes === true)
  const dropped = await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: string | null }>`
      select ${sql.ref(`${settings.schema}.remove_sink`)}(${name}, ${flags.reason}, ${actorOf(flags)}) as n`.execute(trx)
    return rows[0]?.n ?? null
  })
  if (dropped === null) {
    throw new PostriderError(
      'not_found',
      `There is no sink ${name}. Which there are: postrider sinks list. An endpoint goes by postrider endpoints remove`,
    )
  }
  if (flags.json) printJson({ sink: name, removed: true, deliveries: Number(dropped) })
  else say(`${name} is gone for good${dropped === '0' ? '' : `, with ${dropped} deliveries that were in trouble`}.`)
}
