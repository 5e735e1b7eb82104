import { Argument, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { startingPoint, withVerification } from '../../endpoint/options.ts'
import { withDatabase } from '../../options.ts'
import type { EnableFlags } from '../../run/endpoints/enable.ts'

export function addEnable(command: Command): void {
  withActor(withVerification(withDatabase(command.command('enable'))))
    .description('verify an endpoint that is pending; let one go on that is paused, disabled or gone')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .option('--from <where>', 'what has come meanwhile: all, skip, or what was written since an ISO 8601 time', startingPoint)
    .option('--reason <text>', 'why; kept in the record')
    .action(async (name: EndpointName, flags: EnableFlags) => (await import('../../run/endpoints/enable.ts')).enable(name, flags))
}
