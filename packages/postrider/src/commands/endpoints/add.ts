import { Argument, Option, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { formats, types, withHeaders, withVerification, withSecret } from '../../endpoint/options.ts'
import { wholeNumber, withDatabase } from '../../options.ts'
import type { AddFlags } from '../../run/endpoints/add.ts'

export function addAdd(command: Command): void {
  withActor(withVerification(withSecret(withHeaders(withDatabase(command.command('add'))))))
    .description('add an endpoint, verify it, and print its secret once')
    .addArgument(new Argument('<name>', 'the sink and its new endpoint, such as hooks/acme').argParser(endpointName))
    .requiredOption('--url <url>', 'where to POST')
    .option('--types <filters>', 'event types that it gets, joined by commas (default: all)', types)
    .option('--tenant <tenant>', 'only events of this tenant')
    .addOption(new Option('--format <format>', 'what is sent (default: as the sink)').choices(formats))
    .addOption(new Option('--starts <where>', 'where it begins to read the log').choices(['now', 'beginning']).default('now'))
    .option('--lanes <n>', 'ordered shares of its stream (default: as the sink, mostly 1)', wholeNumber(1, 64))
    .action(async (name: EndpointName, flags: AddFlags) => (await import('../../run/endpoints/add.ts')).add(name, flags))
}
