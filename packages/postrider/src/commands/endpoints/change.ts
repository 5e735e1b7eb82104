import { Argument, Option, type Command } from 'commander'
import { withActor } from '../../actor.ts'
import { endpointName, type EndpointName } from '../../endpoint/name.ts'
import { formats, types, withHeaders, withVerification } from '../../endpoint/options.ts'
import { collect, withDatabase } from '../../options.ts'
import type { ChangeFlags } from '../../run/endpoints/change.ts'

const changing = ['url', 'types', 'allTypes', 'tenant', 'anyTenant', 'header', 'dropHeader', 'format'] as const

export function addChange(command: Command): void {
  withActor(withVerification(withHeaders(withDatabase(command.command('change')))))
    .description('change an endpoint; it holds at once, for what waits too')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .option('--url <url>', 'where to POST; it is verified there first, as it was before')
    .option('--types <filters>', 'event types that it gets, joined by commas', types)
    .addOption(new Option('--all-types', 'it gets all').conflicts('types'))
    .option('--tenant <tenant>', 'only events of this tenant')
    .addOption(new Option('--any-tenant', 'events of all').conflicts('tenant'))
    .option('--drop-header <name>', 'no longer send this header; may be given several times', collect(String))
    .addOption(new Option('--format <format>', 'what is sent').choices([...formats, 'default']))
    .option('--reason <text>', 'why; kept in the record')
    .action(async (name: EndpointName, flags: ChangeFlags, command: Command) => {
      const verifies = flags.verification !== undefined && flags.verification !== 'none'
      if (!verifies && changing.every((option) => flags[option] === undefined)) {
        command.error(
          'error: nothing to change: give --url, --types, --tenant, --header, --drop-header, --format or --verification',
        )
      }
      await (await import('../../run/endpoints/change.ts')).change(name, flags)
    })
}
