import { PostriderError } from '@postrider/schema'
import { actorOf } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { storedHeaders, type HeaderFlags, type VerificationFlags } from '../../endpoint/options.ts'
import { allowPing } from '../../endpoint/limit-pings.ts'
import { changeEndpoint, readEndpoint } from '../../endpoint/row.ts'
import { storeVerified, verify } from '../../endpoint/verify.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export type ChangeFlags = DatabaseFlags &
  HeaderFlags &
  VerificationFlags & {
    readonly url?: string
    readonly types?: readonly string[]
    readonly allTypes?: true
    readonly tenant?: string
    readonly anyTenant?: true
    readonly dropHeader?: readonly string[]
    readonly format?: string
    readonly reason?: string
    readonly actor?: string
  }

export async function change({ sink, whole }: EndpointName, flags: ChangeFlags): Promise<void> {
  const { url, format } = flags
  const filters = {
    ...((flags.types !== undefined || flags.allTypes) && { types: flags.types ?? null }),
    ...((flags.tenant !== undefined || flags.anyTenant) && { tenant: flags.tenant ?? null }),
  }
  const touchesHeaders = flags.header !== undefined || flags.dropHeader !== undefined
  const { settings, endpoints, talkative, sealer } = await loadFamily(sink, flags)
  await using database = openDatabase(settings, 'endpoints change')
  const row = await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
  const changes = {
    ...filters,
    ...(url !== undefined && { url }),
    ...(format !== undefined && { format: format === 'default' ? null : format }),
    ...(touchesHeaders && { headers: { ...without(row.headers, namesOf(flags)), ...storedHeaders(flags, whole, sealer) } }),
  }
  const moves = url !== undefined && url !== row.url
  const asked = flags.verification ?? (moves ? row.verification : 'none')
  // Which way it has been verified stays on record where nothing is asked now; but the consent of one address is not that of another.
  const hasMovedAway = moves && asked === 'none' && row.verification === 'cloudevents'
  const changed = { ...row, ...changes, verification: asked !== 'none' || hasMovedAway ? asked : row.verification }
  await endpoints.open({ name: whole, settings: changed })[Symbol.asyncDispose]()

  if (asked !== 'none')
    await allowPing(database, settings.schema, { sink, endpoint: whole, url: changed.url, actor: actorOf(flags) })
  const answered = await verify({ endpoints, talkative }, asked, { name: whole, settings: changed, rate: row.rate })
  if (answered?.ok === false) {
    const where = moves ? 'at the new address' : 'where it is'
    const way = moves ? '; --verification none changes it all the same' : ''
    throw new PostriderError('invalid_endpoint', `${where}, ${answered.words}. Nothing was changed${way}`)
  }
  const by = { actor: actorOf(flags), reason: flags.reason ?? null }
  await database.transaction(async (trx) => {
    const now = await readEndpoint(trx, settings.schema, whole, true)
    if (JSON.stringify([now.url, now.headers]) !== JSON.stringify([row.url, row.headers])) {
      throw new PostriderError('invalid_endpoint', 'it was changed by somebody else meanwhile; nothing was changed here')
    }
    if (Object.keys(changes).length > 0) await changeEndpoint(trx, settings.schema, whole, changes, by)
    if (answered !== null || hasMovedAway) await storeVerified(trx, settings.schema, whole, answered, by.actor)
  })
  if (flags.json) printJson({ endpoint: whole, changed: Object.keys(changes).toSorted(), ...(answered?.shown ?? { ping: null }) })
  else say(`${answered === null ? '' : `${answered.words}. `}${whole} is changed, for what waits too.`)
}

/** Headers that are set anew or go. */
function namesOf({ header = [], dropHeader = [] }: ChangeFlags): ReadonlySet<string> {
  return new Set([...header.map(([name]) => name), ...dropHeader].map((name) => name.toLowerCase()))
}

function without(headers: Readonly<Record<string, string>>, names: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.has(name.toLowerCase())))
}
