import { Argument, type Command } from 'commander'
import { withActor } from '../actor.ts'
import { exportLetters } from '../dead/export.ts'
import { listGroups } from '../dead/groups.ts'
import { importLetters } from '../dead/import.ts'
import { listLetters } from '../dead/list.ts'
import { showLetter } from '../dead/show.ts'
import { withDeliveryFilter, withIds } from '../filter.ts'
import { uuid, wholeNumber, withDatabase } from '../options.ts'
import { addDiscard } from './discard.ts'
import { addRetry } from './retry.ts'

export function addDead(program: Command): void {
  const command = program.command('dead').description('dead letters: events that will not be tried again by themselves')
  withDatabase(command.command('groups'))
    .description('the dead letters by cause, with how many there are of each')
    .option('--sink <name>', 'only of this sink')
    .option('--limit <n>', 'at most so many causes', wholeNumber(1, 10_000), 50)
    .action(listGroups)
  withDeliveryFilter(withDatabase(withIds(command.command('list'))))
    .description('the dead letters, by sink, oldest events first')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 10_000), 50)
    .action(listLetters)
  withDatabase(command.command('show'))
    .description('all about one: the event, and every attempt')
    .addArgument(new Argument('<event-id>').argParser(uuid))
    .option('--sink <name>', 'only at this sink')
    .option('--full', 'the whole payload')
    .action(showLetter)
  addRetry(command)
  addDiscard(command, true)
  withDeliveryFilter(withDatabase(withIds(command.command('export'))))
    .description('dead letters with their events and attempts on stdout, a line of JSON for each')
    .action(exportLetters)
  withActor(withDatabase(command.command('import')))
    .description('put exported letters back as dead letters, all or none; those that are there stay as they are')
    .argument('<file>', 'as exported; - is the standard input')
    .option('-y, --yes', 'do not ask')
    .option('--reason <text>', 'why; kept in the record of actions')
    .action(importLetters)
}
