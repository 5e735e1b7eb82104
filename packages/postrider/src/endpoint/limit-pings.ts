import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import type { Database } from '../connect.ts'

/** Within a minute. A person who mends an endpoint needs a few; a script that runs wild shall not become somebody's flood. */
export const pingLimits = { host: 10, sink: 300 } as const

export interface WantedPing {
  /** `hooks`. */
  readonly sink: string
  /** `hooks/acme`. */
  readonly endpoint: string
  readonly url: string
  readonly actor: string
}

/**
 * Records a ping that is about to be sent, whoever asks for it and from whichever machine: the database counts.
 *
 * @throws PostriderError `too_many_pings`; nothing may be sent then, and nothing was recorded
 */
export async function allowPing(database: Database, schema: string, { sink, endpoint, url, actor }: WantedPing): Promise<void> {
  const { hostname } = new URL(url)
  await database.transaction(async (trx) => {
    // One after the other, or two that count at once would both pass.
    await sql`select pg_advisory_xact_lock(hashtextextended(${`${schema}.pings`}, 0))`.execute(trx)
    const { rows } = await sql<{ host: number; sink: number }>`
      select count(*) filter (where a.detail ->> 'host' = ${hostname})::int as host,
        count(*) filter (where starts_with(a.sink, ${`${sink}/`}))::int as sink
      from ${sql.ref(`${schema}.actions`)} as a
      where a.action = 'pinged' and a.at > clock_timestamp() - interval '1 minute'`.execute(trx)
    const sent = rows[0] ?? { host: 0, sink: 0 }
    if (sent.host >= pingLimits.host) throw refuse(`${hostname} was pinged ${sent.host} times within a minute`, pingLimits.host)
    if (sent.sink >= pingLimits.sink)
      throw refuse(`endpoints of ${sink} were pinged ${sent.sink} times within a minute`, pingLimits.sink)
    await sql`
      insert into ${sql.ref(`${schema}.actions`)} (actor, action, sink, detail)
      values (${actor}, 'pinged', ${endpoint}, ${JSON.stringify({ host: hostname })}::jsonb)`.execute(trx)
  })
}

function refuse(problem: string, limit: number): PostriderError {
  return new PostriderError('too_many_pings', `${problem}, at most ${limit} can be. Nothing was sent`, { limit })
}
