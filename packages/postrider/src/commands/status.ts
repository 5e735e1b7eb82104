import type { Command } from 'commander'
import { sql } from 'kysely'
import { loadDatabase } from '../config/load.ts'
import { openDatabase, type Database } from '../connect.ts'
import { withDatabase, type DatabaseFlags } from '../options.ts'
import { print, printJson, say, style } from '../print.ts'
import { renderTable, wordDuration } from '../table.ts'

/** The views stop counting here. */
const countedUpTo = 10_000
/** A relay that has not been seen for so long is gone: three times the longest pause between two signs of life. */
const aliveSeconds = 30

interface Status {
  readonly schema: string
  readonly sinks: readonly SinkStatus[]
  readonly relays: readonly RelayStatus[]
}

interface SinkStatus {
  readonly name: string
  readonly state: 'pending' | 'active' | 'paused' | 'disabled' | 'gone'
  /** Events that the sink has not reached; at most 10,001, which means more than 10,000. So are the other counts. */
  readonly pending: number
  /** False when the backlog is so long that not all of it was looked at: `pending` is then a lower bound. */
  readonly pendingIsAll: boolean
  readonly oldestPendingSeconds: number | null
  readonly scheduled: number
  readonly retrying: number
  readonly blocked: number
  readonly dead: number
  /** `relay` is the name of who carries the lane now, or null. */
  readonly lanes: readonly { readonly lane: number; readonly relay: string | null }[]
}

interface RelayStatus {
  readonly id: string
  readonly name: string
  readonly version: string
  readonly startedAt: Date
  readonly seenSecondsAgo: number
  readonly alive: boolean
}

export function addStatus(program: Command): void {
  withDatabase(program.command('status'))
    .description('sinks with their backlog and dead letters, and the relays that live')
    .action(async (flags: DatabaseFlags) => {
      const { settings } = await loadDatabase(flags)
      await using database = openDatabase(settings, 'status')
      const status = await readStatus(database, settings.schema)
      if (flags.json) printJson(status)
      else show(status)
    })
}

async function readStatus(database: Database, schema: string): Promise<Status> {
  const secondsSince = (column: string): ReturnType<typeof sql<number>> =>
    sql<number>`extract(epoch from clock_timestamp() - ${sql.ref(column)})::float8`
  return await database.transaction(async (trx) => {
    const backlog = await trx
      .selectFrom('backlog')
      .selectAll()
      .select(secondsSince('oldest_pending_at').as('age'))
      .orderBy('sink')
      .execute()
    const lanes = await trx
      .selectFrom('lanes as l')
      .leftJoin('relays as r', (join) =>
        join.onRef('r.id', '=', 'l.relay').on('l.leased_until', '>', sql<Date>`clock_timestamp()`),
      )
      .select(['l.sink', 'l.lane', 'r.name as relay'])
      .orderBy('l.lane')
      .execute()
    const relays = await trx
      .selectFrom('relays')
      .selectAll()
      .select(secondsSince('seen_at').as('ago'))
      .orderBy('started_at')
      .execute()
    return {
      schema,
      sinks: backlog.map((row) => ({
        name: row.sink,
        state: row.state,
        pending: Number(row.pending),
        pendingIsAll: row.counted_all,
        oldestPendingSeconds: row.oldest_pending_at === null ? null : Math.max(0, row.age),
        scheduled: Number(row.scheduled),
        retrying: Number(row.retrying),
        blocked: Number(row.blocked),
        dead: Number(row.dead),
        lanes: lanes.filter(({ sink }) => sink === row.sink).map(({ lane, relay }) => ({ lane, relay })),
      })),
      relays: relays.map((row) => ({
        id: row.id,
        name: row.name,
        version: row.version,
        startedAt: row.started_at,
        seenSecondsAgo: Math.max(0, row.ago),
        alive: row.ago < aliveSeconds,
      })),
    }
  })
}

function show({ schema, sinks, relays }: Status): void {
  if (sinks.length === 0) {
    say(`The schema "${schema}" is there, and no sink has been seen yet. A relay brings its sinks: postrider start`)
    return
  }
  const count = (value: number): string =>
    value > countedUpTo ? `${countedUpTo.toLocaleString('en')}+` : value.toLocaleString('en')
  const alarming = (value: number): string => (value > 0 ? style('red', count(value)) : '0')
  print(
    renderTable(sinks, [
      { title: 'sink', cell: ({ name, state }) => (state === 'paused' ? `${name} ${style('yellow', '(paused)')}` : name) },
      { title: 'pending', align: 'right', cell: ({ pending, pendingIsAll }) => (pendingIsAll ? '' : '≥ ') + count(pending) },
      {
        title: 'oldest',
        align: 'right',
        cell: ({ oldestPendingSeconds: age }) => (age === null ? '-' : wordDuration(age * 1_000)),
      },
      { title: 'scheduled', align: 'right', cell: ({ scheduled }) => count(scheduled) },
      { title: 'retrying', align: 'right', cell: ({ retrying }) => count(retrying) },
      { title: 'blocked', align: 'right', cell: ({ blocked }) => count(blocked) },
      { title: 'dead', align: 'right', cell: ({ dead }) => alarming(dead) },
      { title: 'lanes', cell: ({ lanes }) => wordLanes(lanes) },
    ]),
  )
  print('')
  if (relays.length > 0) {
    print(
      renderTable(relays, [
        { title: 'relay', cell: ({ name }) => name },
        { title: 'version', cell: ({ version }) => version },
        { title: 'up since', cell: ({ startedAt }) => startedAt.toISOString() },
        { title: 'seen', align: 'right', cell: ({ seenSecondsAgo }) => `${wordDuration(seenSecondsAgo * 1_000)} ago` },
        { title: '', cell: ({ alive }) => (alive ? style('green', 'alive') : style('red', 'gone')) },
      ]),
    )
  }
  if (!relays.some(({ alive }) => alive)) say('No relay is alive, so nothing is delivered. Start one: postrider start')
  if (sinks.some(({ dead }) => dead > 0)) say('There are dead letters: postrider dead list')
}

/** `host:1 0-3`, or `nobody 2`. */
function wordLanes(lanes: SinkStatus['lanes']): string {
  const carriers = Map.groupBy(lanes, ({ relay }) => relay)
  return [...carriers]
    .map(([relay, carried]) => `${relay ?? style('yellow', 'nobody')} ${wordRanges(carried.map(({ lane }) => lane))}`)
    .join(', ')
}

/** `0-2+5`. */
function wordRanges(numbers: readonly number[]): string {
  const ranges: [number, number][] = []
  for (const number of numbers) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join('+')
}
