import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addDisable(command: Command): void {
  withActor(withDatabase(command.command('disable')))
    .description('send an endpoint nothing more until it is enabled; its events wait in the log')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .requiredOption('--reason <text>', 'why; kept in the record, and told in a notice')
    .action(async (name: EndpointName, flags: DatabaseFlags & { readonly reason: string; readonly actor?: string }) =>
      (await import('../../run/endpoints/disable.ts')).disable(name, flags),
    )
}
