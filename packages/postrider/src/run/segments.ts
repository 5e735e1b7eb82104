import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { sql, type RawBuilder } from 'kysely'
import { actorOf } from '../actor.ts'
import { loadDatabase } from '../config/load.ts'
import type { Settings } from '../config.ts'
import { openDatabase, openSession } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, printJson, say, style } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

type Target = Pick<Settings, 'database' | 'schema'>

export interface SegmentsFlags extends DatabaseFlags {
  readonly count?: number
  readonly width?: number
  readonly keep?: number
  readonly keepDead?: number
  readonly hold?: number
  readonly passLagging?: boolean
  readonly dryRun?: true
  readonly reason?: string
  readonly actor?: string
}

interface Ring {
  readonly slots: number
  readonly width: number
  readonly keep: number
  readonly keepDead: number
  readonly hold: number
  readonly passLagging: boolean
}

interface Segment {
  readonly slot: number
  readonly state: string
  readonly why: string | null
  readonly oldest: Date | null
  readonly newest: Date | null
  readonly rows: string
  readonly bytes: string
}

/** How long to go on trying for a lock. */
const deadlineMs = 60_000
const dayMs = 86_400_000

export async function segments(flags: SegmentsFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  const changes = [flags.count, flags.width, flags.keep, flags.keepDead, flags.hold, flags.passLagging]
  if (changes.some((change) => change !== undefined)) {
    if (flags.dryRun) return await plan(settings, flags)
    await change(settings, flags)
  }
  await show(settings, flags)
}

/** The arguments that the functions of the ring share. */
function cutOf({ count, width, keep, keepDead, hold }: SegmentsFlags): (number | string | null)[] {
  return [count ?? null, intervalOf(width), intervalOf(keep), intervalOf(keepDead), intervalOf(hold)]
}

/** A time as PostgreSQL shall show it: days as days. */
function intervalOf(ms: number | undefined): string | null {
  if (ms === undefined) return null
  return ms % dayMs === 0 ? `${ms / dayMs} days` : `${ms / 1_000} seconds`
}

async function plan(target: Target, flags: SegmentsFlags): Promise<void> {
  await using database = openDatabase(target, 'migrate segments')
  const [count, width, keep, keepDead, hold] = cutOf(flags)
  const cut = sql`${count}::int, ${width}::interval, ${keep}::interval, ${keepDead}::interval, ${hold}::interval`
  const of = (name: string): RawBuilder<unknown> => sql.ref(`${target.schema}.${name}`)
  const { rows } = await database.transaction(async (trx) => {
    await sql`select ${of('check_segments')}(${cut})`.execute(trx).catch(refuse)
    return await sql<{ step: number; statement: string }>`
      select step, statement from ${of('plan_segments')}(${cut}, ${flags.passLagging ?? null}::boolean)`.execute(trx)
  })
  if (flags.json) return printJson({ plan: rows })
  if (rows.length === 0) return say('nothing to change')
  for (const step of new Set(rows.map((row) => row.step))) {
    print(['begin;', ...rows.filter((row) => row.step === step).map(({ statement }) => `${statement};`), 'commit;'].join('\n'))
  }
}

async function change(target: Target, flags: SegmentsFlags): Promise<void> {
  await using session = await openSession(target)
  const values = [...cutOf(flags), flags.passLagging ?? null, flags.reason ?? null, actorOf(flags)]
  for (const until = Date.now() + deadlineMs; ; await sleep(250)) {
    try {
      // Not in a transaction of ours: it takes two of its own.
      await session.query(
        `call ${target.schema}.set_segments($1::int, $2::interval, $3::interval, $4::interval, $5::interval, $6::boolean, $7, $8)`,
        values,
      )
      return
    } catch (error) {
      if (!isLocked(error)) refuse(error)
      if (Date.now() >= until) {
        throw new PostriderError('migration_locked', 'the log stayed locked by somebody else', {}, { cause: error })
      }
    }
  }
}

async function show(target: Target, flags: SegmentsFlags): Promise<void> {
  const ms = (column: string): RawBuilder<number> => sql<number>`extract(epoch from ${sql.ref(column)})::float8 * 1000`
  const table = (name: string): RawBuilder<unknown> => sql.table(`${target.schema}.${name}`)
  await using database = openDatabase(target, 'migrate segments')
  const [ring, rows] = await database.transaction(async (trx) => {
    const rings = await sql<Ring>`
      select slots, ${ms('width')} as width, ${ms('keep')} as keep, ${ms('keep_dead')} as "keepDead", ${ms('hold')} as hold,
        pass_lagging as "passLagging" from ${table('ring')}`.execute(trx)
    const found = await sql<Segment>`
      select slot, state, why, oldest, newest, rows, bytes from ${table('segments')} order by slot = -1, slot`.execute(trx)
    return [rings.rows[0], found.rows] as const
  })
  if (ring === undefined) throw new PostriderError('schema_missing', `the schema "${target.schema}" has no ring`)
  if (flags.json) {
    const { slots, width, keep, keepDead, hold, passLagging } = ring
    return printJson({
      ring: { slots, widthMs: width, keepMs: keep, keepDeadMs: keepDead, holdMs: hold, passLagging },
      segments: rows,
    })
  }
  const now = Date.now()
  const age = (at: Date | null): string => (at === null ? '-' : wordDuration(now - at.getTime()))
  print(
    renderTable(rows, [
      { title: 'segment', align: 'right', cell: ({ slot }) => (slot === -1 ? 'kept' : String(slot)) },
      { title: 'state', cell: ({ state }) => (state === 'waiting' ? style('yellow', state) : state) },
      { title: 'events', align: 'right', cell: ({ rows }) => `~${Number(rows).toLocaleString('en')}` },
      { title: 'MB', align: 'right', cell: ({ bytes }) => (Number(bytes) / 1_000_000).toFixed(1) },
      { title: 'oldest', align: 'right', cell: ({ oldest }) => age(oldest) },
      { title: 'newest', align: 'right', cell: ({ newest }) => age(newest) },
      { title: 'why', cell: ({ why }) => why ?? '' },
    ]),
  )
  say(
    `${ring.slots} segments of ${wordDuration(ring.width)}; events are kept for ${wordDuration(ring.keep)}, dead letters for ` +
      `${wordDuration(ring.keepDead)}; a sink that is not active is waited for ${wordDuration(ring.hold)}, an active one ` +
      (ring.passLagging ? 'not at all' : 'for as long as it takes'),
  )
}

/** What the database refuses is a wrong option. */
function refuse(error: unknown): never {
  if (!(error instanceof Error) || !('code' in error) || error.code !== '22023') throw error
  const hint = 'hint' in error && typeof error.hint === 'string' ? ` (${error.hint})` : ''
  throw new PostriderError('invalid_options', `${error.message}${hint}`, {}, { cause: error })
}

function isLocked(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '55P03' || error.code === '40P01')
}
