import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import { confirm } from '../confirm.ts'
import { openDatabase, type Database } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { printJson, say } from '../print.ts'
import { wordDuration } from '../table.ts'
import { everything, nothing } from '../whence.ts'

export interface PauseFlags extends DatabaseFlags {
  readonly all?: true
  readonly for?: number
  readonly reason: string
  readonly actor?: string
}

export interface ResumeFlags extends DatabaseFlags {
  readonly all?: true
  /** `-infinity`: all that has come; `infinity`: nothing of it; or a time. */
  readonly from: string
  readonly reason?: string
  readonly yes?: true
  readonly actor?: string
}

export async function pause(sink: string | undefined, flags: PauseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'pause')
  const forMs = flags.for ?? null
  const paused = await database.transaction(async (trx) => {
    const names = sink === undefined ? await namesOf(trx, settings.schema, ['active', 'paused']) : [sink]
    const { rows } = await sql<{ n: number }>`
      select coalesce(sum(${sql.ref(`${settings.schema}.pause`)}(
        name, ${flags.reason}, ${forMs}::float8 * interval '1 millisecond', ${actorOf(flags)})), 0)::int as n
      from unnest(${names}::text[]) as name`.execute(trx)
    return rows[0]?.n ?? 0
  })
  if (paused === 0) throw noneOf(sink, 'active')
  if (flags.json) return printJson({ paused })
  const how = forMs === null ? 'until somebody resumes it' : `for ${wordDuration(forMs)}`
  say(`${paused === 1 ? (sink ?? 'one sink') : `${paused} sinks`} paused ${how}. Go on: postrider resume ${sink ?? '--all'}`)
}

export async function resume(sink: string | undefined, flags: ResumeFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  if (flags.from !== everything) {
    const left = flags.from === nothing ? 'all that has come until now' : `what was written before ${flags.from}`
    await confirm(`Leave out ${left} at ${sink ?? 'every paused sink'}? It will not be delivered there.`, flags.yes === true)
  }
  await using database = openDatabase(settings, 'resume')
  const resumed = await database.transaction(async (trx) => {
    const names = sink === undefined ? await namesOf(trx, settings.schema, ['paused']) : [sink]
    const { rows } = await sql<{ n: number }>`
      select coalesce(sum(${sql.ref(`${settings.schema}.resume`)}(
        name, ${flags.reason ?? null}, ${flags.from}::timestamptz, ${actorOf(flags)})), 0)::int as n
      from unnest(${names}::text[]) as name`.execute(trx)
    return rows[0]?.n ?? 0
  })
  if (resumed === 0) throw noneOf(sink, 'paused, disabled or gone')
  if (flags.json) return printJson({ resumed })
  say(`${resumed === 1 ? (sink ?? 'one sink') : `${resumed} sinks`} on the way again; watch with: postrider status`)
}

type Transaction = Parameters<Parameters<Database['transaction']>[0]>[0]

/** Sinks and endpoints that are in one of these states. */
async function namesOf(trx: Transaction, schema: string, states: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select name from ${sql.ref(`${schema}.sinks`)} where state = any(${states}::text[]) and not fans_out order by name`.execute(
    trx,
  )
  return rows.map(({ name }) => name)
}

function noneOf(sink: string | undefined, state: string): PostriderError {
  return new PostriderError(
    'not_found',
    sink === undefined
      ? `No sink is ${state}.`
      : `There is no sink ${sink} that is ${state}. Which there are: postrider sinks list`,
  )
}
