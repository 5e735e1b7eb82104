import { PostriderError } from '@postrider/schema'
import { isSealed, type Sealer } from '@postrider/webhook'
import { sql } from 'kysely'
import { actorOf } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import { changeEndpoint, readEndpoint, type EndpointRow } from '../../endpoint/row.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export async function reseal(sink: string, flags: DatabaseFlags & { readonly actor?: string }): Promise<void> {
  const { settings, sealer } = await loadFamily(sink, flags)
  if (sealer === null) throw new PostriderError('invalid_options', `sinks.${sink}.endpoints.secretKey: is missing`)
  await using database = openDatabase(settings, 'endpoints reseal')
  const names = await database.transaction(async (trx) => {
    const { rows } = await sql<{ endpoint: string }>`
      select endpoint from ${sql.ref(`${settings.schema}.endpoint_status`)} where sink = ${sink} order by endpoint`.execute(trx)
    return rows.map(({ endpoint }) => endpoint)
  })
  const by = { actor: actorOf(flags), reason: 'sealed with the current key' }
  const sealed: string[] = []
  for (const name of names) {
    await database.transaction(async (trx) => {
      const row = await readEndpoint(trx, settings.schema, name, true)
      const anew = resealed(row, sealer)
      if (JSON.stringify(anew) === JSON.stringify({ secrets: row.secrets, headers: row.headers })) return
      await changeEndpoint(trx, settings.schema, name, anew, by)
      sealed.push(name)
    })
  }
  if (flags.json) printJson({ sink, endpoints: names.length, sealed })
  else say(`${sealed.length} of ${names.length} endpoints were sealed with a former key, and are not any more.`)
}

function resealed({ sink, secrets, headers }: EndpointRow, sealer: Sealer): Pick<EndpointRow, 'secrets' | 'headers'> {
  const one = (text: string): string =>
    isSealed(text) && !sealer.isCurrent(text) ? sealer.seal(sealer.open(text, sink), sink) : text
  return {
    secrets: {
      ...secrets,
      current: secrets.current.map(one),
      ...(secrets.previous !== undefined && {
        previous: secrets.previous.map((former) => ({ ...former, secret: one(former.secret) })),
      }),
    },
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, one(value)])),
  }
}
