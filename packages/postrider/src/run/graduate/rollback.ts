import { actorOf } from '../../actor.ts'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import { loadDatabase } from '../../config/load.ts'
import { cutoverById } from '../../graduate/find.ts'
import { openGraduation } from '../../graduate/open.ts'
import { rollBack } from '../../graduate/roll-back.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export interface RollbackFlags extends DatabaseFlags {
  readonly reason: string
  readonly yes?: true
  readonly actor?: string
}

export async function run(id: string, flags: RollbackFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'graduate rollback')
  const cutover = await cutoverById(id, { database, schema: settings.schema })
  await using graduation = await openGraduation(cutover.to_sink, flags, 'graduate rollback')
  await confirm(
    `Move ${cutover.types.join(', ')} of ${cutover.consumer} back from ${cutover.to_sink} to ${cutover.sink}? Its group must have stopped.`,
    flags.yes === true,
  )
  const { consumed, givenBack } = await rollBack(cutover, { actor: actorOf(flags), reason: flags.reason }, graduation)
  if (flags.json) return printJson({ cutover: id, givenBack, consumed })
  say(`cutover ${id} is rolled back: ${givenBack.toLocaleString('en')} events go out by ${cutover.sink} now, and all that follow`)
}
