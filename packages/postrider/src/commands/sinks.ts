import type { Command } from 'commander'
import { withActor } from '../actor.ts'
import { rate } from '../filter.ts'
import { wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import type { RemoveFlags } from '../run/remove-sink.ts'
import type { LimitFlags } from '../run/sinks.ts'

export function addSinks(program: Command): void {
  const command = program.command('sinks').description('where events go')
  withDatabase(command.command('list'))
    .description('all of them, with state and limits')
    .action(async (flags: DatabaseFlags) => (await import('../run/sinks.ts')).list(flags))
  withDatabase(command.command('show'))
    .description('one of them: settings, state, and what was done to it')
    .argument('<sink>')
    .action(async (name: string, flags: DatabaseFlags) => (await import('../run/sinks.ts')).show(name, flags))
  withActor(withDatabase(command.command('limits')))
    .description('change the limits of a sink at once, over all relays, until they are changed again')
    .argument('<sink>')
    .option('--concurrency <n>', 'deliveries in flight at most', wholeNumber(1, 10_000))
    .option('--rate <rate>', 'deliveries begun in a time at most, such as 10/s; none lifts the limit', rateOrNone)
    .option('--reset', 'as configured again')
    .option('--reason <text>', 'why; kept in the record')
    .action(async (name: string, flags: LimitFlags, command: Command) => {
      const given = flags.concurrency !== undefined || flags.rate !== undefined
      if (given === (flags.reset === true)) command.error('error: give --concurrency, --rate or both; or --reset')
      await (await import('../run/sinks.ts')).limits(name, flags)
    })
  withActor(withDatabase(command.command('remove')))
    .description('remove a sink that no configuration names any more, with all that waits for it; its attempts stay on record')
    .argument('<sink>')
    .requiredOption('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(async (name: string, flags: RemoveFlags) => (await import('../run/remove-sink.ts')).remove(name, flags))
}

function rateOrNone(text: string): number {
  return text === 'none' ? Infinity : rate(text)
}
