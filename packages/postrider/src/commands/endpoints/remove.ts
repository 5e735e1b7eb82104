import { Argument, type Command } from 'commander'
import { sql } from 'kysely'
import { actorOf, withActor } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import { endpointName, type EndpointName } from '../../endpoint/family.ts'
import { noEndpoint, readEndpoint } from '../../endpoint/row.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

type RemoveFlags = DatabaseFlags & { readonly reason: string; readonly yes?: true; readonly actor?: string }

export function addRemove(command: Command): void {
  withActor(withDatabase(command.command('remove')))
    .description('remove an endpoint with all that waits for it; its attempts stay on record')
    .addArgument(new Argument('<name>', 'such as hooks/acme').argParser(endpointName))
    .requiredOption('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask')
    .action(remove)
}

async function remove({ whole }: EndpointName, flags: RemoveFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints remove')
  await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
  await confirm(`Remove ${whole}, and all that waits for it?`, flags.yes === true)
  const dropped = await database.transaction(async (trx) => {
    const { rows } = await sql<{ n: string | null }>`
      select ${sql.ref(`${settings.schema}.remove_endpoint`)}(${whole}, ${flags.reason}, ${actorOf(flags)}) as n`.execute(trx)
    return rows[0]?.n ?? null
  })
  if (dropped === null) throw noEndpoint(whole)
  if (flags.json) printJson({ endpoint: whole, removed: true, deliveries: Number(dropped) })
  else say(`${whole} is gone for good${dropped === '0' ? '' : `, with ${dropped} deliveries that were in trouble`}.`)
}
