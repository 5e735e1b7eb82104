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
import { ping, wordPing, type Ping } from '../../endpoint/ping.ts'
import { readEndpoint, type EndpointRow } from '../../endpoint/row.ts'
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
    const answered = verification === 'none' ? null : await pingOnce(database, sink, row, flags)
    if (answered?.ok === false) {
      process.exitCode = exitCodes.checkFailed
      return tell(whole, 'pending', answered, flags, 'stays pending')
    }
    await verify(database, settings.schema, whole, verification, actorOf(flags))
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

async function pingOnce(database: Database, sink: string, row: EndpointRow, flags: EnableFlags): Promise<Ping> {
  const { talkative, settings } = await loadFamily(sink, flags)
  await allowPing(database, settings.schema, { sink, endpoint: row.sink, url: row.url, actor: actorOf(flags) })
  return await ping(talkative, row.sink, { ...row })
}

async function verify(database: Database, schema: string, name: string, verification: string, actor: string): Promise<void> {
  await database.transaction((trx) =>
    sql`select ${sql.ref(`${schema}.verify_endpoint`)}(${name}, ${verification}, ${actor})`.execute(trx),
  )
}

function tell(endpoint: string, state: string, answered: Ping | null, { json }: EnableFlags, words: string): void {
  if (json) return printJson({ endpoint, state, ping: answered })
  say(`${answered === null ? '' : `ping: ${wordPing(answered)}. `}${endpoint} ${words}.`)
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
