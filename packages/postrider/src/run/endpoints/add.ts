import { sql } from 'kysely'
import { actorOf } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { storedHeaders, type HeaderFlags, type VerificationFlags, type SecretFlags } from '../../endpoint/options.ts'
import { allowPing } from '../../endpoint/limit-pings.ts'
import { newSecret } from '../../endpoint/secret.ts'
import { storeVerified, verify, type Verified } from '../../endpoint/verify.ts'
import { exitCodes } from '../../exit.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say } from '../../print.ts'

export type AddFlags = DatabaseFlags &
  SecretFlags &
  HeaderFlags &
  VerificationFlags & {
    readonly url: string
    readonly types?: readonly string[]
    readonly tenant?: string
    readonly format?: string
    readonly starts: 'now' | 'beginning'
    readonly lanes?: number
    readonly actor?: string
  }

export async function add(name: EndpointName, flags: AddFlags): Promise<void> {
  const { settings, endpoints, talkative, sealer } = await loadFamily(name.sink, flags)
  const verification = flags.verification ?? 'ping'
  const secret = newSecret(flags, name.whole, name.sink, sealer)
  const row = {
    url: flags.url,
    secrets: { current: [secret.stored] },
    headers: storedHeaders(flags, name.whole, sealer),
    format: flags.format ?? null,
    verification,
  }
  // Nothing is written that the relay could not use.
  await endpoints.open({ name: name.whole, settings: row })[Symbol.asyncDispose]()

  await using database = openDatabase(settings, 'endpoints add')
  const by = actorOf(flags)
  if (verification !== 'none')
    await allowPing(database, settings.schema, { sink: name.sink, endpoint: name.whole, url: row.url, actor: by })
  const { rate } = await database.transaction(async (trx) => {
    const { rows } = await sql<{ rate: number | null }>`
      select rate from ${sql.ref(`${settings.schema}.add_endpoint`)}(
        sink => ${name.sink}, name => ${name.name}, url => ${row.url}, secrets => ${JSON.stringify(row.secrets)}::jsonb,
        types => ${flags.types ?? null}::text[], tenant => ${flags.tenant ?? null}, headers => ${JSON.stringify(row.headers)}::jsonb,
        state => ${verification === 'none' ? 'active' : 'pending'}, starts => ${flags.starts}, lanes => ${flags.lanes ?? null}::int,
        format => ${row.format}, verification => ${verification}, actor => ${by})`.execute(trx)
    return rows[0] ?? { rate: null }
  })

  // Before anything else can fail: it is shown this once.
  if (!flags.json && secret.shown !== null) {
    say(`${name.whole} is there. Its secret, which is not shown again:`)
    print(secret.shown)
  }
  const answered = await verify({ endpoints, talkative }, verification, { name: name.whole, settings: row, rate })
  if (answered?.ok === true) {
    await database.transaction((trx) => storeVerified(trx, settings.schema, name.whole, answered, by))
  }
  tell(name.whole, answered, secret.shown, flags)
  if (answered?.ok === false) process.exitCode = exitCodes.checkFailed
}

function tell(endpoint: string, answered: Verified | null, shown: string | null, { json }: AddFlags): void {
  const state = answered?.ok === false ? 'pending' : 'active'
  if (json)
    return printJson({ endpoint, state, ...(shown !== null && { secret: shown }), ...(answered?.shown ?? { ping: null }) })
  if (answered === null) return say(`${endpoint} is active.`)
  if (answered.ok) return say(`${answered.words}. ${endpoint} is active.`)
  say(`${answered.words}. ${endpoint} stays pending, and what is written meanwhile waits for it.`)
  const closer = answered.by === 'ping' ? `Look closer: postrider endpoints ping ${endpoint}. ` : ''
  say(`${closer}Try again: postrider endpoints enable ${endpoint}`)
}
