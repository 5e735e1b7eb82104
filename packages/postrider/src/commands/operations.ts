import { Argument, InvalidArgumentError, type Command } from 'commander'
import { withActor } from '../actor.ts'
import { wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'

export function addOps(program: Command): void {
  const command = program
    .command('ops')
    .description('operations: retries, replays and the like on everything that matches a filter')
  withDatabase(command.command('list'))
    .description('operations that go on, then the newest')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 1_000), 20)
    .action(async (flags: DatabaseFlags & { readonly limit: number }) => (await import('../run/operations.ts')).list(flags))
  withDatabase(command.command('watch'))
    .description('wait for the end of an operation and show its progress; where no relay is alive, work it off')
    .addArgument(operationId())
    .action(async (id: string, flags: DatabaseFlags & { readonly quiet?: true }) =>
      (await import('../run/operations.ts')).watch(id, flags),
    )
  withActor(withDatabase(command.command('cancel')))
    .description('end an operation; what it has done stays done')
    .addArgument(operationId())
    .option('--reason <text>', 'why; kept in the record of actions')
    .action(async (id: string, flags: DatabaseFlags & { readonly actor?: string; readonly reason?: string }) =>
      (await import('../run/operations.ts')).cancel(id, flags),
    )
}

function operationId(): Argument {
  return new Argument('<operation>', 'its number').argParser((text) => {
    if (!/^[1-9]\d{0,17}$/.test(text)) throw new InvalidArgumentError('Expected the number of an operation.')
    return text
  })
}
