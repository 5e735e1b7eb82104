import { PostriderError } from '@postrider/schema'
import { actorOf } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { allowPing } from '../../endpoint/limit-pings.ts'
import { ping, showPing } from '../../endpoint/ping.ts'
import { readEndpoint } from '../../endpoint/row.ts'
import { exitCodes } from '../../exit.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson } from '../../print.ts'

export async function pingOnce({ sink, whole }: EndpointName, flags: DatabaseFlags & { readonly actor?: string }): Promise<void> {
  const { settings, talkative } = await loadFamily(sink, flags)
  await using database = openDatabase(settings, 'endpoints ping')
  const row = await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
  if (row.state === 'pending' && row.verification === 'cloudevents') {
    throw new PostriderError(
      'invalid_endpoint',
      `${whole} has not consented yet, so nothing is sent there: postrider endpoints enable ${whole}`,
    )
  }
  await allowPing(database, settings.schema, { sink, endpoint: whole, url: row.url, actor: actorOf(flags) })
  const answered = await ping(talkative, whole, { ...row })
  if (flags.json) printJson({ endpoint: whole, ...answered })
  else showPing(answered)
  if (!answered.ok) process.exitCode = exitCodes.checkFailed
}
