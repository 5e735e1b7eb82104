import { Argument, type Command } from 'commander'
import { actorOf, withActor } from '../../actor.ts'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import { loadDatabase } from '../../config/load.ts'
import { cutoverById, cutoverNumber } from '../../graduate/find.ts'
import { openGraduation } from '../../graduate/open.ts'
import { rollBack } from '../../graduate/roll-back.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

interface RollbackFlags extends DatabaseFlags {
  readonly reason: string
  readonly yes?: true
  readonly actor?: string
}

export function addRollback(command: Command): void {
  withActor(withDatabase(command.command('rollback')))
    .description('move a consumer back: what its group has not read goes out by the first sink, and all that follows')
    .addArgument(new Argument('<cutover>', 'its number, as in: postrider graduate status').argParser(cutoverNumber))
    .requiredOption('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(run)
}

async function run(id: string, flags: RollbackFlags): Promise<void> {
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
