import { Argument, type Command } from 'commander'
import { withActor } from '../actor.ts'
import { withDeliveryFilter, withIds } from '../filter.ts'
import { uuid, wholeNumber, withDatabase } from '../options.ts'
import type { ExportFlags } from '../run/dead/export.ts'
import type { GroupFlags } from '../run/dead/groups.ts'
import type { ImportFlags } from '../run/dead/import.ts'
import type { ListFlags } from '../run/dead/list.ts'
import type { ShowFlags } from '../run/dead/show.ts'
import { addDiscard } from './discard.ts'
import { addRetry } from './retry.ts'

export function addDead(program: Command): void {
  const command = program.command('dead').description('dead letters: events that will not be tried again by themselves')
  withDatabase(command.command('groups'))
    .description('the dead letters by cause, with how many there are of each')
    .option('--sink <name>', 'only of this sink')
    .option('--limit <n>', 'at most so many causes', wholeNumber(1, 10_000), 50)
    .action(async (flags: GroupFlags) => (await import('../run/dead/groups.ts')).listGroups(flags))
  withDeliveryFilter(withDatabase(withIds(command.command('list'))))
    .description('the dead letters, by sink, oldest events first')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(async (ids: readonly string[] | undefined, flags: ListFlags) =>
      (await import('../run/dead/list.ts')).listLetters(ids, flags),
    )
  withDatabase(command.command('show'))
    .description('all about one: the event, and every attempt')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .option('--sink <name>', 'only at this sink')
    .option('--full', 'the whole payload')
    .action(async (id: string, flags: ShowFlags) => (await import('../run/dead/show.ts')).showLetter(id, flags))
  addRetry(command)
  addDiscard(command, true)
  withDeliveryFilter(withDatabase(withIds(command.command('export'))))
    .description('dead letters with their events and attempts on stdout, a line of JSON for each')
    .action(async (ids: readonly string[] | undefined, flags: ExportFlags) =>
      (await import('../run/dead/export.ts')).exportLetters(ids, flags),
    )
  withActor(withDatabase(command.command('import')))
    .description('put exported letters back as dead letters, all or none; those that are there stay as they are')
    .argument('<file>', 'as exported; - is the standard input')
    .option('-y, --yes', 'do not ask')
    .option('--reason <text>', 'why; kept in the record of actions')
    .action(async (file: string, flags: ImportFlags) => (await import('../run/dead/import.ts')).importLetters(file, flags))
}
