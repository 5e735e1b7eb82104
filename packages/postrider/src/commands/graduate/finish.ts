import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { cutoverNumber, withDatabase } from '../../options.ts'
import type { FinishFlags } from '../../run/graduate/finish.ts'

export function addFinish(command: Command): void {
  withActor(withDatabase(command.command('finish')))
    .description('leave a consumer where it went; there is no rollback any more')
    .addArgument(new Argument('<cutover>', 'its number, as in: postrider graduate status').argParser(cutoverNumber))
    .option('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(async (id: string, flags: FinishFlags) => (await import('../../run/graduate/finish.ts')).run(id, flags))
}
