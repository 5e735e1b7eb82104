import { Argument, type Command } from 'commander'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addShow(command: Command): void {
  withDatabase(command.command('show'))
    .description('one endpoint: where it sends, what it gets, how it is, and what waits for it')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .action(async (name: EndpointName, flags: DatabaseFlags) => (await import('../../run/endpoints/show.ts')).show(name, flags))
}
