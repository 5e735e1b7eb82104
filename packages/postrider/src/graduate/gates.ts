import { PostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import { wordDuration } from '../table.ts'
import type { Graduation } from './cutover.ts'
import { standardGates } from './standard-gates.ts'

/** A condition that holds before a consumer is moved. */
export interface Gate {
  readonly gate: 'verified' | 'lag' | 'dead letters' | 'group' | 'idle'
  readonly open: boolean
  readonly detail: string
  /** What opens it; null when it is open. */
  readonly next: string | null
}

export interface GateOptions {
  readonly sink: string
  readonly types: readonly string[]
  readonly toSink: string
  /** Null: those that have to do with the group are left out. */
  readonly consumer: string | null
  /** The last comparison is no older; default 86,400,000 ms. */
  readonly maxAgeMs?: number
  /** Comparisons of that age cover so many events; default 1. */
  readonly minEvents?: number
  /** The group need not exist. */
  readonly newGroup?: boolean
}

/** Every gate, open or not, in the order in which one would see to them. */
export async function readGates(options: GateOptions, graduation: Graduation): Promise<readonly Gate[]> {
  return [...(await readLogGates(options, graduation)), ...(await readGroupGates(options, graduation))]
}

/** Those that the database answers. */
export async function readLogGates(
  options: GateOptions,
  graduation: Pick<Graduation, 'database' | 'schema'>,
): Promise<readonly Gate[]> {
  return [await verified(options, graduation), await lag(options, graduation), await deadLetters(options, graduation)]
}

/** Those that the cluster answers. */
export async function readGroupGates(
  { consumer, newGroup = false }: GateOptions,
  { stream }: Pick<Graduation, 'stream'>,
): Promise<readonly Gate[]> {
  if (consumer === null) return []
  const group = await stream.group(consumer)
  if (group === null) {
    const gate = newGroup
      ? open('group', `${consumer} is new`)
      : closed(
          'group',
          `the cluster knows no group ${consumer}`,
          'Mend its name; or say --new-group when nobody has read in it yet.',
        )
    return [gate, open('idle', 'nobody reads in it')]
  }
  return [
    open('group', `${consumer} is there`),
    group.idle
      ? open('idle', 'nobody reads in it')
      : closed('idle', `${consumer} is ${group.state}`, 'Stop its consumers, so that its offsets can be set.'),
  ]
}

/** @throws PostriderError `cutover_refused` with every gate that is closed */
export function requireOpen(gates: readonly Gate[]): void {
  const red = gates.filter((gate) => !gate.open)
  if (red.length === 0) return
  const list = red.map(({ gate, detail, next }) => `- ${gate}: ${detail}. ${next}`).join('\n')
  throw new PostriderError('cutover_refused', `${red.length === 1 ? 'A gate is' : `${red.length} gates are`} closed:\n${list}`, {
    problems: red.map(({ gate, detail }) => `${gate}: ${detail}`),
  })
}

interface Verified {
  readonly unmended: string | null
  readonly equal: boolean | null
  readonly age_ms: number | null
  readonly events: string
}

/** A difference counts until a later comparison of the same events has found none. */
async function verified(
  { sink, toSink, maxAgeMs = standardGates.maxAgeMs, minEvents = standardGates.minEvents }: GateOptions,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<Gate> {
  const { rows } = await database.transaction((trx) =>
    sql<Verified>`
      with known as (
        select * from ${sql.ref(`${schema}.verifications`)} as v where v.to_sink = ${toSink} and (v.sink is null or v.sink = ${sink})
      ), newest as (select * from known as v order by v.id desc limit 1)
      select
        (select format('%s to %s', v.from_position, v.to_position) from known as v
         where not v.equal and not exists (
           select from known as later
           where later.id > v.id and later.equal and later.from_position <= v.from_position and later.to_position >= v.to_position
             and (v.sink is null or later.sink = v.sink))
         order by v.id desc limit 1) as unmended,
        (select n.equal from newest as n) as equal,
        (select extract(epoch from clock_timestamp() - n.at)::float8 * 1000 from newest as n) as age_ms,
        (select coalesce(sum(v.events), 0)::text from known as v
         where v.equal and v.at > clock_timestamp() - ${maxAgeMs}::float8 * interval '1 millisecond') as events`.execute(trx),
  )
  const { unmended, equal, age_ms: ageMs, events } = rows[0] ?? { unmended: null, equal: null, age_ms: null, events: '0' }
  const again = `postrider graduate verify --to ${toSink} --sink ${sink}`
  if (equal === null || ageMs === null) return closed('verified', `${toSink} has never been compared with the log`, again)
  if (unmended !== null) {
    return closed(
      'verified',
      `a comparison has found differences (positions ${unmended})`,
      `Repair them, then compare again: ${again} --from ${unmended.split(' ')[0]}`,
    )
  }
  if (ageMs > maxAgeMs)
    return closed('verified', `the last comparison is ${wordDuration(ageMs)} old, ${wordDuration(maxAgeMs)} is allowed`, again)
  const counted = `${Number(events).toLocaleString('en')} events`
  if (Number(events) < minEvents) {
    return closed(
      'verified',
      `${counted} were compared in the last ${wordDuration(maxAgeMs)}, ${minEvents.toLocaleString('en')} are asked for`,
      `Wait for more events, then: ${again}`,
    )
  }
  return open('verified', `equal, ${wordDuration(ageMs)} ago; ${counted} in the last ${wordDuration(maxAgeMs)}`)
}

async function lag({ toSink }: GateOptions, { database, schema }: Pick<Graduation, 'database' | 'schema'>): Promise<Gate> {
  const { rows } = await database.transaction((trx) =>
    sql<{ state: string; lag_ms: number | null; counted_all: boolean }>`
      select b.state, extract(epoch from clock_timestamp() - b.oldest_pending_at)::float8 * 1000 as lag_ms, b.counted_all
      from ${sql.ref(`${schema}.backlog`)} as b where b.sink = ${toSink}`.execute(trx),
  )
  const row = rows[0]
  if (row === undefined)
    return closed('lag', `no relay has brought the sink ${toSink} yet`, 'Configure it and restart the relays.')
  if (row.state !== 'active') return closed('lag', `${toSink} is ${row.state}`, `postrider sinks show ${toSink}`)
  if (row.lag_ms !== null && row.lag_ms >= standardGates.lagMs) {
    return closed('lag', `${toSink} lags by ${wordDuration(row.lag_ms)}`, `Wait until it has come up: postrider status --watch`)
  }
  return open('lag', row.lag_ms === null ? 'nothing waits' : wordDuration(row.lag_ms))
}

async function deadLetters(
  { sink, toSink, types }: GateOptions,
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
): Promise<Gate> {
  const { rows } = await database.transaction((trx) =>
    sql<{ sink: string; dead: number }>`
      select d.sink, count(*)::int as dead
      from ${sql.ref(`${schema}.deliveries`)} as d join ${sql.ref(`${schema}.events`)} as e on e.position = d.position and e.slot = d.slot
      where d.sink in (${sink}, ${toSink}) and d.state = 'dead' and e.type ~ ${sql.ref(`${schema}.type_filter`)}(${types}::text[])
      group by d.sink order by d.sink`.execute(trx),
  )
  const [first] = rows
  if (first === undefined) return open('dead letters', 'none of these types')
  const list = rows.map(({ sink: at, dead }) => `${dead} at ${at}`).join(', ')
  return closed('dead letters', list, `Retry or discard them: postrider dead list --sink ${first.sink}`)
}

function open(gate: Gate['gate'], detail: string): Gate {
  return { gate, open: true, detail, next: null }
}

function closed(gate: Gate['gate'], detail: string, next: string): Gate {
  return { gate, open: false, detail, next }
}
