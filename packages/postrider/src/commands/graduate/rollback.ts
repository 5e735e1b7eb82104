import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { cutoverNumber, withDatabase } from '../../options.ts'
import type { RollbackFlags } from '../../run/graduate/rollback.ts'

export function addRollback(command: Command): void {
  withActor(withDatabase(command.command('rollback')))
    .description('move a consumer back: what its group has not read goes out by the first sink, and all that follows')
    .addArgument(new Argument('<cutover>', 'its number, as in: postrider graduate status').argParser(cutoverNumber))
    .requiredOption('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(async (id: string, flags: RollbackFlags) => (await import('../../run/graduate/rollback.ts')).run(id, flags))
}
