import { createInterface } from 'node:readline/promises'
import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { actorOf } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase, type Database } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import { startingPoint, type VerificationFlags } from '../../endpoint/options.ts'
import { allowPing } from '../../endpoint/limit-pings.ts'
import { readEndpoint, type EndpointRow } from '../../endpoint/row.ts'
import { storeVerified, verify, type Verified } from '../../endpoint/verify.ts'
import { exitCodes } from '../../exit.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'

export type EnableFlags = DatabaseFlags &
  VerificationFlags & { readonly from?: string; readonly reason?: string; readonly actor?: string }

export async function enable({ sink, whole }: EndpointName, flags: EnableFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'endpoints enable')
  const row = await database.transaction((trx) => readEndpoint(trx, settings.schema, whole))
  if (row.state === 'active') return tell(whole, 'active', null, flags, 'is active already')
  if (row.state === 'pending') {
    const verification = flags.verification ?? row.verification
    const answered = verification === 'none' ? null : await verifyOnce(database, sink, { ...row, verification }, flags)
    if (answered?.ok === false) {
      process.exitCode = exitCodes.checkFailed
      return tell(whole, 'pending', answered, flags, 'stays pending')
    }
    await database.transaction((trx) => storeVerified(trx, settings.schema, whole, answered, actorOf(flags)))
    return tell(whole, 'active', answered, flags, 'is active; it gets what was written since it was added')
  }
  const since = sinceOf(flags.from ?? (await ask(whole)))
  await database.transaction((trx) =>
    sql`select ${sql.ref(`${settings.schema}.resume`)}(${whole}, ${flags.reason ?? null}, ${since}::timestamptz, ${actorOf(flags)})`.execute(
      trx,
    ),
  )
  tell(whole, 'active', null, flags, 'goes on')
}

async function verifyOnce(database: Database, sink: string, row: EndpointRow, flags: EnableFlags): Promise<Verified | null> {
  const family = await loadFamily(sink, flags)
  const endpoint = { name: row.sink, settings: { ...row }, rate: row.rate }
  // What cannot be asked as it is described is no request, and is not counted as one.
  await family.endpoints.open(endpoint)[Symbol.asyncDispose]()
  await allowPing(database, family.settings.schema, { sink, endpoint: row.sink, url: row.url, actor: actorOf(flags) })
  return await verify(family, row.verification, endpoint)
}

function tell(endpoint: string, state: string, answered: Verified | null, { json }: EnableFlags, words: string): void {
  if (json) return printJson({ endpoint, state, ...(answered?.shown ?? { ping: null }) })
  say(`${answered === null ? '' : `${answered.words}. `}${endpoint} ${words}.`)
}

/** What lies between its cursor and the end of the log, is either sent or left out: nobody but the operator can know. */
async function ask(endpoint: string): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new PostriderError(
      'not_confirmed',
      `Say what becomes of the events that have come meanwhile for ${endpoint}: --from all, --from skip, or --from <time>.`,
    )
  }
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = (
      await asking.question(`Send ${endpoint} what has come meanwhile? [all, skip, or a time such as 2026-01-31T08:30:00Z] `)
    ).trim()
    return startingPoint(answer)
  } catch {
    throw new PostriderError('not_confirmed', 'The answer was none of these; nothing was changed.')
  } finally {
    asking.close()
  }
}

function sinceOf(choice: string): string {
  return { all: '-infinity', skip: 'infinity' }[choice] ?? choice
}
