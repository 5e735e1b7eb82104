import { Argument, type Command } from 'commander'
import { sql } from 'kysely'
import { actorOf, withActor } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { endpointName, type EndpointName } from '../../endpoint/family.ts'
import { readEndpoint } from '../../endpoint/row.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export function addDisable(command: Command): void {
  withActor(withDatabase(command.command('disable')))
    .description('send an endpoint nothing more until it is enabled; its events wait in the log')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .requiredOption('--reason <text>', 'why; kept in the record, and told in a notice')
    .action(async ({ whole }: EndpointName, flags: DatabaseFlags & { readonly reason: string; readonly actor?: string }) => {
      const { settings } = await loadDatabase(flags)
      await using database = openDatabase(settings, 'endpoints disable')
      await database.transaction(async (trx) => {
        await readEndpoint(trx, settings.schema, whole)
        await sql`select ${sql.ref(`${settings.schema}.set_state`)}(${whole}, 'disabled', ${flags.reason}, ${actorOf(flags)})`.execute(
          trx,
        )
      })
      if (flags.json) printJson({ endpoint: whole, state: 'disabled' })
      else say(`${whole} is disabled. Let it go on: postrider endpoints enable ${whole} --from all`)
    })
}
