import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addPing(command: Command): void {
  withActor(withDatabase(command.command('ping')))
    .description('send a signed ping, and show the whole exchange; it is no attempt, and no circuit takes note of it')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .action(async (name: EndpointName, flags: DatabaseFlags & { readonly actor?: string }) =>
      (await import('../../run/endpoints/ping.ts')).pingOnce(name, flags),
    )
}
