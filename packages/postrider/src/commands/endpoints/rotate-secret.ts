import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { overlap, withSecret } from '../../endpoint/options.ts'
import { withDatabase } from '../../options.ts'
import type { RotateFlags } from '../../run/endpoints/rotate-secret.ts'

export function addRotateSecret(command: Command): void {
  withActor(withSecret(withDatabase(command.command('rotate-secret'))))
    .description('give an endpoint a new secret; the old one signs too for a while')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .option('--overlap <time>', 'how long the old one signs too; 0 when it is known to strangers', overlap, overlap('24h'))
    .option('--reason <text>', 'why; kept in the record')
    .action(async (name: EndpointName, flags: RotateFlags) =>
      (await import('../../run/endpoints/rotate-secret.ts')).rotate(name, flags),
    )
}
