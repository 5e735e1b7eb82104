import { Argument, Option, type Command } from 'commander'
import { withEventFilter } from '../filter.ts'
import { listedStates } from '../inspect/listed-states.ts'
import { position, uuid, wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import type { GetFlags, ListFlags } from '../run/events.ts'

export function addEvents(program: Command): void {
  const command = program.command('events').description('events of the log')
  withEventFilter(withDatabase(command.command('list')))
    .description('the newest events, or those after a position or a time, in the order of the log')
    .option('--sink <name>', 'only what this sink takes; with --state, what is in that state there')
    .addOption(new Option('--state <state>', 'only what is in this state at a sink').choices(listedStates))
    .option('--after <position>', 'those that come after this position', position)
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(async (flags: ListFlags) => (await import('../run/events.ts')).list(flags))
  withDatabase(command.command('get'))
    .description('an event with its payload, and every attempt')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .option('--sink <name>', 'only attempts at this sink')
    .option('--curl', 'print the request of the sink instead, for a shell')
    .action(async (id: string, flags: GetFlags) => (await import('../run/events.ts')).get(id, flags))
  withDatabase(command.command('explain'))
    .description('where an event is at every sink, and why it is not delivered')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .action(async (id: string, flags: DatabaseFlags) => (await import('../run/events.ts')).explain(id, flags))
}
