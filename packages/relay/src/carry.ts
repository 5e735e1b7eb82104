import { isPostriderError, PostriderError } from '@postrider/schema'
import { publish } from './channels.ts'
import { claimPage, type Page } from './claim.ts'
import type { Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import { deliver, type Carriage } from './deliver.ts'
import type { Carried, Lane } from './lane.ts'
import { pruneCheckpoints, releaseLane } from './leases.ts'
import type { Settings } from './options.ts'
import { settle } from './settle.ts'
import { settlementOf } from './settlement.ts'
import { claimTrouble, knownTrouble, type Known, type Trouble } from './trouble.ts'
import { waitFor } from './wait.ts'

/** What lanes have in common. */
export interface Road {
  readonly relay: string
  readonly settings: Settings
  readonly database: Database
  /** Its own connections, so that leases are kept whatever the lanes wait for. */
  readonly leaseDatabase: Database
  /** Not even results are settled any more. */
  readonly giveUp: AbortSignal
  /** Does something with the database until it succeeds or the signal aborts. */
  readonly untilDone: <T>(signal: AbortSignal, work: () => Promise<T>) => Promise<T | undefined>
  /** Another relay has the lane. */
  readonly lose: (lane: Lane) => void
}

const nothing: Carriage = { finished: [], parked: [], blocked: [], unstarted: [] }

/** The road of a lane, from its claim until it is given back or lost. This is the loop of a relay: there is one for each lane. */
export async function carry(lane: Lane, road: Road): Promise<void> {
  while (!lane.released.aborted) {
    await readiness(lane, road)
    const claimed = await unlessLost(lane, road, () => claim(lane, road))
    if (claimed === undefined) break

    const { free, behind } = sortOut(lane, claimed)
    const inHand = [...claimed.trouble.due, ...free]
    const carriage = inHand.length === 0 ? nothing : await deliver(lane, road.relay, inHand, road.settings)
    const blocked = [...carriage.blocked, ...behind]
    await settlePage(lane, road, claimed.page, { ...carriage, blocked }, claimed.trouble.overtaken)

    // Trouble that found no slot is due as before.
    if (carriage.unstarted.some(({ row }) => row !== null)) lane.dueAt = 0
    if (!claimed.page.more && carriage.unstarted.length === 0) await lane.rest()
  }
  await finish(lane, road)
}

/** Waits until something could be carried: the lease holds and the sink has a slot. What ended late is settled meanwhile. */
async function readiness(lane: Lane, road: Road): Promise<void> {
  for (;;) {
    lane.bell.hush()
    if (lane.late.length > 0) await settlePage(lane, road, null, nothing)
    if (lane.released.aborted) return
    if (!lane.held) await waitFor(100, lane.released)
    else if (lane.route.slots.open) return
    else await lane.route.slots.vacancy(lane)
  }
}

/** Does something with the cursor of a lane; a stale fence means that the lane is lost. */
async function unlessLost<T>(lane: Lane, road: Road, work: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (!isPostriderError(error)) throw error
    road.lose(lane)
    return undefined
  }
}

interface Claimed {
  readonly page: Page
  readonly trouble: Trouble
  readonly known: Known
}

/** What a lane has to do next: trouble that is due, and a page of the log. */
function claim(lane: Lane, road: Road): Promise<Claimed | undefined> {
  const { database } = road
  const { pageSize } = road.settings
  return road.untilDone(lane.released, async () => {
    try {
      const trouble = lane.dueAt <= performance.now() ? await claimTrouble(database, lane, pageSize) : { due: [], overtaken: [] }
      const page = await claimPage(database, lane, pageSize)
      const known =
        page.troubled && page.events.length > 0
          ? await knownTrouble(database, lane, page.events)
          : { keys: new Set<string>(), positions: new Set<string>() }
      if (page.events.length + trouble.due.length > 0) {
        publish('postrider:claimed', {
          sink: lane.sink,
          lane: lane.number,
          events: page.events.length,
          trouble: trouble.due.length,
        })
      }
      return { page, trouble, known }
    } catch (error) {
      lane.dueAt = 0
      throw error
    }
  })
}

/** Which events of a page may go now, and which wait behind an earlier event of their key. Those that were handled before are neither. */
function sortOut(
  lane: Lane,
  { page, trouble, known }: Claimed,
): { readonly free: readonly Carried[]; readonly behind: readonly Carried[] } {
  const fresh = page.events.filter(({ position, event }) => !lane.ahead.has(position) && !known.positions.has(event.position))
  if (lane.route.ordering === 'none') return { free: fresh, behind: [] }
  const inHand = [...trouble.due.map(({ event }) => event.key), ...lane.parked.values()]
  const troubled = new Set([...known.keys, ...inHand.filter((key) => key !== null)])
  if (troubled.size === 0) return { free: fresh, behind: [] }
  const waits = ({ event }: Carried): boolean => event.key !== null && troubled.has(event.key)
  return { free: fresh.filter((carried) => !waits(carried)), behind: fresh.filter(waits) }
}

/** Settles what was carried, however long the database is away; a lane with a stale fence is lost. */
async function settlePage(
  lane: Lane,
  road: Road,
  page: Page | null,
  carriage: Carriage,
  overtaken: readonly Carried[] = [],
  closing: boolean = lane.released.aborted,
): Promise<void> {
  if (lane.lost) return
  // A result can only be settled after the row that its event was parked in.
  const parkedNow = new Set(carriage.parked.map(({ position }) => position))
  const late = lane.late.filter(({ carried }) => !parkedNow.has(carried.position))
  lane.late = lane.late.filter(({ carried }) => parkedNow.has(carried.position))
  if (lane.late.length > 0) lane.bell.ring()
  if (late.length > 0) lane.dueAt = 0

  const settlement = settlementOf(lane, page, carriage, overtaken, late, closing)
  const { results, rows, keys, gone, cursor } = settlement
  if (results.length + rows.length + keys.length + gone.length === 0 && !worthStoring(lane, road, cursor)) {
    lane.cursor = cursor
    return
  }
  const settled = await unlessLost(lane, road, () =>
    road.untilDone(road.giveUp, async () => {
      if (lane.lost) throw new PostriderError('stale_fence', `lane ${lane.number} of ${lane.sink} was lost`)
      return await settle(road.database, road.relay, lane, settlement)
    }),
  )
  // Nobody knows what was written: what this lane remembers is not to be trusted any more.
  if (settled === undefined) road.lose(lane)
  if (lane.fence % 100n === 0n) await road.untilDone(lane.released, () => pruneCheckpoints(road.database, lane))
}

/**
 * An empty page moves the cursor in memory; it is written now and then, so that the next owner has less to skip.
 * A page of which nothing was finished moves nothing, and is not written either.
 */
function worthStoring(lane: Lane, road: Road, cursor: Cursor): boolean {
  const { stored } = lane
  // A window that is opened later starts from what is stored, so the end of one is never left unwritten.
  if (cursor.target !== stored.target) return true
  if (cursor.target !== null) return cursor.position !== stored.position
  return cursor.position !== stored.position || performance.now() - lane.storedAt > road.settings.leaseMs
}

/** Waits for what is still in flight, settles it, and gives the lane back with nothing that only this relay knows. */
async function finish(lane: Lane, road: Road): Promise<void> {
  const until = performance.now() + road.settings.drainMs
  while (!lane.lost && (lane.parked.size > 0 || lane.late.length > 0)) {
    lane.bell.hush()
    if (lane.late.length > 0) {
      await settlePage(lane, road, null, nothing)
      continue
    }
    if (lane.ended.aborted || performance.now() >= until) break
    await lane.bell.wait(until - performance.now(), lane.ended)
  }
  if (!lane.lost && lane.ahead.size > 0) await settleAhead(lane, road)
  if (lane.lost) return
  lane.returned = true
  await road.untilDone(AbortSignal.timeout(5_000), () => releaseLane(road.leaseDatabase, road.relay, lane.sink, lane.number))
}

/** Events beyond the cursor are finished, and only this lane remembers: what lies before them becomes rows, and the cursor passes. */
async function settleAhead(lane: Lane, road: Road): Promise<void> {
  const page = await unlessLost(lane, road, () =>
    road.untilDone(road.giveUp, () => claimPage(road.database, lane, road.settings.pageSize)),
  )
  if (page === undefined) return
  const unstarted = page.events.filter(({ position }) => !lane.ahead.has(position))
  await settlePage(lane, road, page, { ...nothing, unstarted }, [], true)
}
