import type { DeliveryState } from '@postrider/schema'
import type { Page } from './claim.ts'
import type { Cursor } from './cursor.ts'
import type { Carriage } from './deliver.ts'
import type { Carried, Lane, Result } from './lane.ts'

/** Everything that one settle writes. */
export interface Settlement {
  readonly cursor: Cursor
  readonly results: readonly Result[]
  readonly rows: readonly TroubleRow[]
  /** Keys whose first blocked event may go, if nothing is in its way. */
  readonly keys: readonly string[]
  /** Positions whose row goes. */
  readonly gone: readonly bigint[]
  /** Events settled, for those who listen. */
  readonly events: number
  /** Finished beyond the cursor. */
  readonly ahead: readonly bigint[]
}

/** A row of deliveries as it shall be; inserted when the event had none. */
export interface TroubleRow {
  readonly carried: Carried
  readonly state: DeliveryState
  readonly attempts: number
  readonly inMs: number
  readonly code: string | null
  readonly error: string | null
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
  const touch = ({ event }: Carried): void => {
    if (event.key !== null && lane.route.ordering === 'key') keys.add(event.key)
  }
  const wait = (
    carried: Carried,
    state: DeliveryState,
    inMs: number,
    code: string | null = null,
    error: string | null = null,
  ): void => {
    // A follower that was read with its head and waits on: its row says so already.
    if (carried.row !== 'blocked' || state !== 'blocked')
      rows.push({ carried, state, attempts: carried.attempts, inMs, code, error })
    touch(carried)
  }
  const ordered = (carried: Carried): boolean => carried.event.key !== null && lane.route.ordering === 'key'

  const results = [...carriage.finished, ...late]
  for (const { carried, verdict } of results) {
    switch (verdict.kind) {
      case 'delivered':
        if (carried.row !== null) {
          gone.push(carried.position)
          touch(carried)
        }
        break
      case 'retry': {
        const attempts = carried.attempts + (verdict.counts ? 1 : 0)
        rows.push({
          carried,
          state: 'retrying',
          attempts,
          inMs: verdict.delayMs,
          code: verdict.error.code,
          error: verdict.error.message,
        })
        break
      }
      case 'dead':
        rows.push({
          carried,
          state: 'dead',
          attempts: carried.attempts + 1,
          inMs: 0,
          code: verdict.error.code,
          error: verdict.error.message,
        })
        touch(carried)
        break
    }
  }
  const parkedMs = lane.route.sink.deadlineMs + 1_000
  for (const carried of carriage.parked)
    rows.push({ carried, state: 'retrying', attempts: carried.attempts, inMs: parkedMs, code: 'slow', error: null })
  for (const carried of carriage.blocked) wait(carried, 'blocked', 0)
  for (const carried of overtaken) wait(carried, 'blocked', 0)
  for (const { carried, inMs } of page?.scheduled ?? [])
    rows.push({ carried, state: 'scheduled', attempts: 0, inMs, code: null, error: null })

  let cursor = page?.after ?? lane.cursor
  let ahead: bigint[] = []
  const left = carriage.unstarted.filter(({ row }) => row === null).sort(byPosition)
  const first = left[0]
  if (page !== null && first !== undefined) {
    const cut = first.position - 1n
    const beyond = page.events.filter(({ position }) => position > cut)
    const leftHere = new Set(left)
    const handled = [...beyond.filter((carried) => !leftHere.has(carried)), ...page.scheduled.map(({ carried }) => carried)]
    ahead = [...lane.ahead, ...handled.map(({ position }) => position)].filter((position) => position > cut)
    const highest = ahead.reduce((high, position) => (position > high ? position : high), -1n)
    if (closing && highest > cut) {
      // Give back a clean cut: up to the highest finished event everything is finished or a row.
      for (const carried of left) {
        if (carried.position < highest) wait(carried, ordered(carried) ? 'blocked' : 'retrying', 0, 'interrupted')
      }
      const next = left.find(({ position }) => position > highest)
      cursor = next === undefined ? page.after : { done: lane.cursor.done, target: page.target, position: next.position - 1n }
      ahead = []
    } else {
      cursor = { done: lane.cursor.done, target: page.target, position: cut }
    }
  }
  return { cursor, results, rows, keys: [...keys], gone, events: page?.events.length ?? 0, ahead }
}

function byPosition(a: Carried, b: Carried): number {
  return a.position < b.position ? -1 : a.position > b.position ? 1 : 0
}
