import type { Command } from 'commander'
import { withActor } from '../actor.ts'
import { wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import type { KeyFlags } from '../run/keys.ts'

export function addKeys(program: Command): void {
  const command = program.command('keys').description('keys whose events wait behind one that cannot be delivered')
  withDatabase(command.command('blocked'))
    .description('keys that cannot go on, and the event behind which the others wait')
    .option('--sink <name>', 'only at this sink')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(async (flags: DatabaseFlags & { readonly sink?: string; readonly limit: number }) =>
      (await import('../run/keys.ts')).blocked(flags),
    )
  withHead(command.command('release'))
    .description('let a dead head step aside: it stays a dead letter, and later events of its key go on')
    .action(async (sink: string, key: string, flags: KeyFlags) => (await import('../run/keys.ts')).release(sink, key, flags))
  withHead(command.command('skip'))
    .description('give the head of a key up; the next event of the key goes on')
    .action(async (sink: string, key: string, flags: KeyFlags) => (await import('../run/keys.ts')).skip(sink, key, flags))
}

function withHead(command: Command): Command {
  return withActor(
    withDatabase(command.argument('<sink>').argument('<key>'))
      .requiredOption('--reason <text>', 'why; kept in the record')
      .option('-y, --yes', 'do not ask'),
  )
}
