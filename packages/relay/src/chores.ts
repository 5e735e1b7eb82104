import { sql } from 'kysely'
import { publish } from './channels.ts'
import type { Database } from './database.ts'
import { discardOld, forgetKept, recycleSegments } from './segments.ts'
import { waitFor } from './wait.ts'

/** Something that is done for the whole cluster now and then, by one relay at a time. */
export interface Chore {
  /** As in `postrider.chores` and on the channel `postrider:chore`. */
  readonly name: string
  /** In every so manieth turn; default 1. */
  readonly everyTurns?: number
  /** Does a bounded piece of it; null when there was nothing to do. May be run by two relays at once, should one be late. */
  run(database: Database): Promise<ChoreReport | null>
}

export interface ChoreReport {
  /** False when it could not be done now; a later turn tries again. */
  readonly done: boolean
  /** One sentence for the log. */
  readonly detail: string
  /** Something that a sink wanted is gone. */
  readonly loss?: true
}

export interface ChoresContext {
  /** Id of this relay. */
  readonly relay: string
  readonly database: Database
  /** Time between two turns, a tenth more or less. Default 10,000 ms. */
  readonly everyMs?: number
  /** Default {@link allChores}. */
  readonly chores?: readonly Chore[]
}

/** The chores of a relay, in the order of a turn. Some remember where they were: each relay makes its own. */
export function allChores(): readonly Chore[] {
  return [endPauses, tellEndpoints, recycleSegments(), discardOld(), forgetKept(), forgetActions]
}

const endPauses: Chore = {
  name: 'pauses',
  async run({ db, schema }) {
    await sql`select ${schema}.end_pauses()`.execute(db)
    return null
  },
}

const tellEndpoints: Chore = {
  name: 'endpoints',
  async run({ db, schema }) {
    const { rows } = await sql<{ told: number }>`select ${schema}.tell_endpoints() as told`.execute(db)
    const told = rows[0]?.told ?? 0
    return told === 0
      ? null
      : { done: true, detail: `${told} ${told === 1 ? 'endpoint fails' : 'endpoints fail'}, and notices of it were written` }
  },
}

const forgetActions: Chore = {
  name: 'actions',
  everyTurns: 360,
  async run({ db, schema }) {
    const { rows } = await sql<{ n: number }>`select ${schema}.forget_actions() as n`.execute(db)
    const forgotten = rows[0]?.n ?? 0
    return forgotten === 0
      ? null
      : { done: true, detail: `${forgotten} records of actions were older than a year and were removed` }
  },
}

/**
 * Does the chores of the cluster, in turns, until the signal aborts. Every relay asks, and gets those that nobody else has
 * begun within their time: so it makes no difference how many relays there are, and none waits for another.
 * Never fails: what went wrong is published, and tried again.
 */
export async function runChores(context: ChoresContext, signal: AbortSignal): Promise<void> {
  const { relay, database, everyMs = 10_000, chores = allChores() } = context
  for (;;) {
    await waitFor(everyMs * (0.9 + Math.random() / 5), signal)
    if (signal.aborted) return
    // A database that is away is noticed and told by those who carry.
    const mine = await takeChores(database, relay, chores, everyMs).catch(() => new Set<string>())
    for (const chore of chores) {
      if (mine.has(chore.name) && !signal.aborted) await doChore(chore, database)
    }
  }
}

async function doChore(chore: Chore, database: Database): Promise<void> {
  try {
    const report = await chore.run(database)
    publish('postrider:chore', {
      chore: chore.name,
      result: report?.done === true ? 'done' : 'nothing',
      detail: report?.detail ?? null,
      loss: report?.loss ?? false,
    })
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    publish('postrider:chore', { chore: chore.name, result: 'failed', detail, loss: false })
  }
}

/** The chores whose time has come, now taken by this relay; those that another one takes at this moment are skipped. */
async function takeChores(
  { db, schema }: Database,
  relay: string,
  chores: readonly Chore[],
  everyMs: number,
): Promise<ReadonlySet<string>> {
  // A little less than the time between turns, or one that comes early would miss every other.
  const pauses = chores.map(({ everyTurns = 1 }) => (everyTurns - 0.2) * everyMs)
  const { rows } = await sql<{ name: string }>`
    with wanted as (
      select * from unnest(${chores.map(({ name }) => name)}::text[], ${pauses}::float8[]) as w (name, ms)
    ), due as (
      select c.name from ${schema}.chores as c join wanted as w on w.name = c.name
      where c.at < clock_timestamp() - w.ms * interval '1 millisecond'
      for update of c skip locked
    ), taken as (
      update ${schema}.chores as c set at = clock_timestamp(), relay = ${relay}::uuid
      from due where c.name = due.name
      returning c.name
    ), first_time as (
      insert into ${schema}.chores (name, relay)
      select w.name, ${relay}::uuid from wanted as w
      where not exists (select from ${schema}.chores as c where c.name = w.name)
      on conflict do nothing
      returning name
    )
    select name from taken union all select name from first_time`.execute(db)
  return new Set(rows.map(({ name }) => name))
}
