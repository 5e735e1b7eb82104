import { actorOf } from '../../actor.ts'
import { confirm } from '../../confirm.ts'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { cutoverById } from '../../graduate/find.ts'
import { finishCutover } from '../../graduate/finish.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export interface FinishFlags extends DatabaseFlags {
  readonly reason?: string
  readonly yes?: true
  readonly actor?: string
}

export async function run(id: string, flags: FinishFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'graduate finish')
  const place = { database, schema: settings.schema }
  const { consumer, types, sink } = await cutoverById(id, place)
  await confirm(
    `Leave ${types.join(', ')} of ${consumer} where they are? It cannot be rolled back to ${sink} then.`,
    flags.yes === true,
  )
  const finished = await finishCutover(id, { actor: actorOf(flags), reason: flags.reason ?? null }, place)
  if (flags.json) return printJson(finished)
  say(
    `cutover ${id} is finished. When nothing of ${sink} is left, take it out of the configuration and remove it, so that it holds nothing back (postrider sinks remove, or endpoints remove).`,
  )
}
