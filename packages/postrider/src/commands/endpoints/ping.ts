import { Argument, type Command } from 'commander'
import { actorOf, withActor } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { endpointName, loadFamily, type EndpointName } from '../../endpoint/family.ts'
import { allowPing } from '../../endpoint/limit-pings.ts'
import { ping, showPing } from '../../endpoint/ping.ts'
import { readEndpoint } from '../../endpoint/row.ts'
import { exitCodes } from '../../exit.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'
import { printJson } from '../../print.ts'

export function addPing(command: Command): void {
  withActor(withDatabase(command.command('ping')))
    .description('send a signed ping, and show the whole exchange; it is no attempt, and no circuit takes note of it')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .action(async ({ sink, whole }: EndpointName, flags: DatabaseFlags & { readonly actor?: string }) => {
      const { settings, talkative } = await loadFamily(sink, flags)
      await using database = openDatabase(settings, 'endpoints ping')
      const row = await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
      await allowPing(database, settings.schema, { sink, endpoint: whole, url: row.url, actor: actorOf(flags) })
      const answered = await ping(talkative, whole, { ...row })
      if (flags.json) printJson({ endpoint: whole, ...answered })
      else showPing(answered)
      if (!answered.ok) process.exitCode = exitCodes.checkFailed
    })
}
