import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { withDatabase } from '../../options.ts'
import type { RemoveFlags } from '../../run/endpoints/remove.ts'

export function addRemove(command: Command): void {
  withActor(withDatabase(command.command('remove')))
    .description('remove an endpoint with all that waits for it; its attempts stay on record')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .requiredOption('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(async (name: EndpointName, flags: RemoveFlags) => (await import('../../run/endpoints/remove.ts')).remove(name, flags))
}
