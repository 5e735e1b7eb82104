import type { DeliveryState } from '@postrider/schema'
import type { Page } from './claim.ts'
import type { Cursor } from './cursor.ts'
import type { Carriage } from './deliver.ts'
import type { Carried, Lane, Result } from './lane.ts'
import type { AttemptDetail } from './sink.ts'

/** Everything that one settle writes. */
export interface Settlement {
  readonly cursor: Cursor
  /** What is to be recorded, in the order in which it happened. */
  readonly records: readonly AttemptRow[]
  readonly rows: readonly TroubleRow[]
  /** Keys whose first blocked event may go, if nothing is in its way. */
  readonly keys: readonly string[]
  /** Positions whose row goes. */
  readonly gone: readonly bigint[]
  /** Where delivered events stand in a destination that keeps a log. */
  readonly appends: readonly AppendRow[]
  /** Events settled, for those who listen. */
  readonly events: number
  /** Finished beyond the cursor. */
  readonly ahead: readonly bigint[]
  /** Events of the log that this finishes, or makes rows of. */
  readonly handled: readonly Carried[]
}

/** A row of attempts as it shall be. */
export interface AttemptRow {
  readonly carried: Carried
  /** Number of the attempt; of what ends a delivery without one, how many there were. */
  readonly attempt: number
  readonly outcome: Result['outcome']['kind'] | 'discarded'
  readonly code: string | null
  readonly error: string | null
  readonly status: number | null
  readonly startedAtMs: number
  readonly durationMs: number
  readonly detail: AttemptDetail | null
}

/** Events that stand side by side in a log elsewhere: a row of appends as it shall be. */
export interface AppendRow {
  readonly slot: number
  readonly topic: string
  readonly partition: number
  /** Offset of the first. */
  readonly offset: bigint
  /** Of each event, in the order of the offsets. */
  readonly positions: readonly bigint[]
}

/** A row of deliveries as it shall be; inserted when the event had none. */
export interface TroubleRow {
  readonly carried: Carried
  readonly state: DeliveryState
  readonly attempts: number
  readonly inMs: number
  readonly code: string | null
  readonly error: string | null
  /** Status of the answer, if there was one. */
  readonly status: number | null
  /** It has been attempted: its age counts from now, if not from before. */
  readonly tried: boolean
}

/**
 * Works out what to write for a page that was carried: pure.
 *
 * Events that were never started stay in the log: the cursor stops before the first of them, and what is finished
 * beyond is remembered. When the lane is given back nobody will remember, so then they become rows.
 */
export function settlementOf(
  lane: Lane,
  page: Page | null,
  carriage: Carriage,
  overtaken: readonly Carried[],
  late: readonly Result[],
  closing: boolean,
): Settlement {
  const rows: TroubleRow[] = []
  const gone: bigint[] = []
  const keys = new Set<string>()
  const ordered = ({ event }: Carried): boolean => event.key !== null && lane.route.ordering === 'key'
  const touch = (carried: Carried): void => {
    if (carried.event.key !== null && ordered(carried)) keys.add(carried.event.key)
  }
  const row = (carried: Carried, state: DeliveryState, more: Partial<TroubleRow> = {}): void => {
    rows.push({
      carried,
      state,
      attempts: carried.attempts,
      inMs: 0,
      code: null,
      error: null,
      status: null,
      tried: false,
      ...more,
    })
  }
  const block = (carried: Carried): void => {
    touch(carried)
    // A follower that was read with its head and waits on: its row says so already.
    if (carried.row !== 'blocked') row(carried, 'blocked')
  }

  const settled = (carried: Carried): void => {
    if (carried.row === null) return
    gone.push(carried.position)
    touch(carried)
  }

  const results = [...carriage.finished, ...late]
  for (const { carried, outcome, verdict } of results) {
    const status = outcome.status ?? null
    switch (verdict.kind) {
      case 'delivered':
      case 'expired':
        settled(carried)
        break
      case 'retry': {
        const { code, message } = verdict.error
        const attempts = carried.attempts + (verdict.counts ? 1 : 0)
        // Not later than its end, so that it is seen to be over in time.
        const inMs = Math.min(verdict.delayMs, leftMs(carried))
        row(carried, 'retrying', { attempts, inMs, code, error: message, status, tried: true })
        break
      }
      case 'dead':
        if (lane.route.onDead === 'skip') {
          settled(carried)
          break
        }
        row(carried, 'dead', {
          attempts: carried.attempts + 1,
          code: verdict.error.code,
          error: verdict.error.message,
          status,
          tried: true,
        })
        touch(carried)
        break
    }
  }
  const heldFrom = new Map<string | null, bigint>()
  const holds = ({ event, position }: Carried): void => {
    const known = heldFrom.get(event.key)
    if (known === undefined || position < known) heldFrom.set(event.key, position)
  }
  for (const { carried, state } of rows) if (state === 'retrying' || state === 'dead') holds(carried)
  for (const carried of carriage.parked) {
    // Behind an earlier one of its key: due when that one has ended, should nobody be told how this one does.
    const from = heldFrom.get(carried.event.key)
    if (ordered(carried) && from !== undefined && from < carried.position) block(carried)
    else row(carried, 'retrying', { inMs: lane.route.sink.deadlineMs + 1_000, code: 'slow', tried: true })
    holds(carried)
  }
  for (const carried of [...carriage.blocked, ...overtaken]) block(carried)
  for (const { carried, inMs } of page?.scheduled ?? []) {
    if (!lane.ahead.has(carried.position)) row(carried, 'scheduled', { inMs })
  }

  const left = carriage.unstarted.filter((carried) => carried.row === null).sort(byPosition)
  const progress = progressOf(lane, page, left, closing)
  for (const carried of progress.rest) {
    if (ordered(carried)) block(carried)
    else row(carried, 'retrying', { code: 'interrupted' })
  }
  const { cursor, ahead } = progress
  const ofPage = [...(page?.events ?? []), ...(page?.scheduled ?? []).map(({ carried }) => carried)]
  const stays = new Set(left.filter((carried) => !progress.rest.includes(carried)))
  const handled = stays.size === 0 ? ofPage : ofPage.filter((one) => !stays.has(one))
  const records = recordsOf(lane, results, carriage.spared)
  const appends = appendsOf(results)
  return { cursor, records, rows, keys: [...keys], gone, appends, events: page?.events.length ?? 0, ahead, handled }
}

/**
 * What may be written of a settlement when the database may have lost its last moments since the page was read: of events that
 * it still has, everything; but the cursor stays where it was stored, and they are remembered as finished beyond it. For the
 * snapshot that they were read with may name transactions whose ids are given out a second time, and hide those.
 */
export function settlementWithoutProof(lane: Lane, settlement: Settlement, present: ReadonlySet<bigint>): Settlement {
  const { done, target, position } = lane.stored
  const there = ({ carried }: { readonly carried: Carried }): boolean => present.has(carried.position)
  return {
    ...settlement,
    cursor: { done, target, position },
    records: settlement.records.filter(there),
    rows: settlement.rows.filter(there),
    gone: settlement.gone.filter((one) => present.has(one)),
    appends: settlement.appends.flatMap((run) => piecesOf(run, present)),
    ahead: [...new Set([...lane.ahead, ...settlement.handled.map((one) => one.position).filter((one) => present.has(one))])],
  }
}

/** How long an event might still be delivered, in milliseconds. */
function leftMs({ expiresInMs, readAt }: Carried): number {
  return expiresInMs === Infinity ? Infinity : Math.max(0, expiresInMs - (performance.now() - readAt))
}

function recordsOf(lane: Lane, results: readonly Result[], spared: readonly Result[]): AttemptRow[] {
  const { audit, onDead } = lane.route
  const records: AttemptRow[] = []
  for (const result of [...results, ...spared]) {
    const { carried, outcome, verdict, startedAtMs, durationMs } = result
    const sent = outcome.kind !== 'expired'
    const failed = 'error' in outcome
    const record: AttemptRow = {
      carried,
      attempt: carried.attempts + (sent ? 1 : 0),
      outcome: outcome.kind,
      code: failed ? outcome.error.code : null,
      error: failed ? outcome.error.message : null,
      status: outcome.status ?? null,
      startedAtMs,
      durationMs,
      detail: outcome.detail ?? null,
    }
    // How an event ended without being delivered is told whatever the audit is.
    if (!sent || audit === 'all' || (audit === 'failures' && outcome.kind !== 'delivered')) records.push(record)
    // What was spared goes again, whatever its verdict would have been.
    if (verdict.kind === 'dead' && onDead === 'skip' && !spared.includes(result)) {
      const { code, message } = verdict.error
      const detail = { actor: 'postrider', reason: `the sink skips what cannot be delivered (${code}: ${message})` }
      records.push({ ...record, outcome: 'discarded', code: null, error: null, status: null, durationMs: 0, detail })
    }
  }
  return records
}

/** Runs of offsets without a gap, by partition and segment. */
function appendsOf(results: readonly Result[]): AppendRow[] {
  const placed = results.flatMap(({ carried, outcome }) => {
    const at = outcome.kind === 'delivered' ? outcome.appended : undefined
    return at === undefined ? [] : [{ ...at, offset: BigInt(at.offset), carried }]
  })
  if (placed.length === 0) return []
  placed.sort((a, b) =>
    a.topic !== b.topic ? (a.topic < b.topic ? -1 : 1) : a.partition - b.partition || (a.offset < b.offset ? -1 : 1),
  )
  const runs: { slot: number; topic: string; partition: number; offset: bigint; positions: bigint[] }[] = []
  for (const { topic, partition, offset, carried } of placed) {
    const last = runs.at(-1)
    const follows =
      last !== undefined &&
      last.topic === topic &&
      last.partition === partition &&
      last.slot === carried.slot &&
      last.offset + BigInt(last.positions.length) === offset
    if (follows) last.positions.push(carried.position)
    else runs.push({ slot: carried.slot, topic, partition, offset, positions: [carried.position] })
  }
  return runs
}

/** The parts of a run whose events are there. */
function piecesOf({ positions, offset, ...at }: AppendRow, present: ReadonlySet<bigint>): AppendRow[] {
  const pieces: { offset: bigint; positions: bigint[] }[] = []
  for (const [index, position] of positions.entries()) {
    if (!present.has(position)) continue
    const last = pieces.at(-1)
    const here = offset + BigInt(index)
    if (last !== undefined && last.offset + BigInt(last.positions.length) === here) last.positions.push(position)
    else pieces.push({ offset: here, positions: [position] })
  }
  return pieces.map((piece) => ({ ...at, ...piece }))
}

interface Progress {
  readonly cursor: Cursor
  readonly ahead: readonly bigint[]
  /** Events that must become rows, because the cursor passes them. */
  readonly rest: readonly Carried[]
}

/** Where the cursor can go when these events of the page were left. */
function progressOf(lane: Lane, page: Page | null, left: readonly Carried[], closing: boolean): Progress {
  if (page === null) return { cursor: lane.cursor, ahead: [...lane.ahead], rest: [] }
  const first = left[0]
  if (first === undefined) {
    const { target, position } = page.after
    return { cursor: page.after, ahead: target === null ? [] : [...lane.ahead].filter((done) => done > position), rest: [] }
  }

  const cut = first.position - 1n
  const stays = new Set(left)
  const handled = [...page.events.filter((carried) => !stays.has(carried)), ...page.scheduled.map(({ carried }) => carried)]
  // Nothing has moved: the next page is read as if this one had not been, with what has come meanwhile.
  if (handled.length === 0 && lane.ahead.size === 0) return { cursor: lane.cursor, ahead: [], rest: [] }
  const ahead = [...new Set([...lane.ahead, ...handled.map(({ position }) => position)])].filter((position) => position > cut)
  const highest = ahead.reduce((high, position) => (position > high ? position : high), cut)
  if (!closing || highest === cut) {
    return { cursor: { done: lane.cursor.done, target: page.target, position: cut }, ahead, rest: [] }
  }
  // A clean cut for the next owner: up to the highest finished event everything is finished or a row.
  const next = left.find(({ position }) => position > highest)
  return {
    cursor: next === undefined ? page.after : { done: lane.cursor.done, target: page.target, position: next.position - 1n },
    ahead: [],
    rest: left.filter(({ position }) => position < highest),
  }
}

function byPosition(a: Carried, b: Carried): number {
  return a.position < b.position ? -1 : a.position > b.position ? 1 : 0
}
