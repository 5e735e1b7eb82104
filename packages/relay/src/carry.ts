import { isPostriderError } from '@postrider/schema'
import { publish } from './channels.ts'
import { claimPage, type Page } from './claim.ts'
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
  /** Attempts in flight are to end. */
  readonly hard: AbortSignal
  /** A while later: not even results are settled any more. */
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
    await lane.route.slots.vacancy(lane.released)
    lane.bell.hush()
    const claimed = await claim(lane, road)
    if (claimed === undefined) break

    const { free, behind } = sortOut(lane, claimed)
    const inHand = [...claimed.trouble.due, ...free]
    const carriage = inHand.length === 0 ? nothing : await deliver(lane, road.relay, inHand, road.settings, road.hard)
    await settlePage(
      lane,
      road,
      claimed.page,
      { ...carriage, blocked: [...carriage.blocked, ...behind] },
      claimed.trouble.overtaken,
    )

    if (!lane.held) await waitFor(null, 50, lane.released)
    else if (!claimed.page.more && carriage.unstarted.length === 0) await lane.rest()
  }
  await finish(lane, road)
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
  })
}

/** Which events of a page may go now, and which wait behind an earlier event of their key. Those that were handled before are neither. */
function sortOut(
  lane: Lane,
  { page, trouble, known }: Claimed,
): { readonly free: readonly Carried[]; readonly behind: readonly Carried[] } {
  const fresh = page.events.filter(({ position, event }) => !lane.ahead.has(position) && !known.positions.has(event.position))
  if (lane.route.ordering === 'none') return { free: fresh, behind: [] }
  const troubled = new Set([...known.keys, ...trouble.due.flatMap(({ event }) => event.key ?? [])])
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
  // A result can only be settled after the row that its event was parked in.
  const parkedNow = new Set(carriage.parked.map(({ position }) => position))
  const late = lane.late.filter(({ carried }) => !parkedNow.has(carried.position))
  lane.late = lane.late.filter(({ carried }) => parkedNow.has(carried.position))
  if (lane.late.length > 0) lane.bell.ring()

  const settlement = settlementOf(lane, page, carriage, overtaken, late, closing)
  const { results, rows, keys, gone, ahead } = settlement
  if (results.length + rows.length + keys.length + gone.length === 0 && !worthStoring(lane, road, page, ahead)) {
    lane.cursor = settlement.cursor
    return
  }
  try {
    const settled = await road.untilDone(road.giveUp, () => settle(road.database, road.relay, lane, settlement))
    if (settled === undefined) road.lose(lane)
  } catch (error) {
    if (!isPostriderError(error)) throw error
    road.lose(lane)
  }
  if (lane.fence % 100n === 0n) await road.untilDone(lane.released, () => pruneCheckpoints(road.database, lane))
}

/** An empty page moves the cursor in memory; it is written now and then, so that the next owner has less to skip. */
function worthStoring(lane: Lane, road: Road, page: Page | null, ahead: readonly bigint[]): boolean {
  if (page === null) return false
  if (page.events.length > 0 || ahead.length > 0) return true
  // A window that is opened later starts from what is stored, so the end of one is never left unwritten.
  if (page.after.target !== lane.stored.target) return true
  return page.after.done !== lane.stored.done && performance.now() - lane.storedAt > road.settings.leaseMs
}

/** Waits for what is still in flight, settles it, and gives the lane back. */
async function finish(lane: Lane, road: Road): Promise<void> {
  const until = performance.now() + road.settings.drainMs
  while (!lane.lost && (lane.parked.size > 0 || lane.late.length > 0)) {
    lane.bell.hush()
    if (lane.late.length > 0) {
      await settlePage(lane, road, null, nothing, [], true)
      continue
    }
    if (road.hard.aborted || performance.now() >= until) break
    await lane.bell.wait(until - performance.now(), road.hard)
  }
  if (!lane.lost) {
    lane.returned = true
    await road.untilDone(AbortSignal.timeout(5_000), () => releaseLane(road.database, road.relay, lane.sink, lane.number))
  }
}
