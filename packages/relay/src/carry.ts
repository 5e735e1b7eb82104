import { isPostriderError, PostriderError } from '@postrider/schema'
import { isOver } from './attempt.ts'
import { publish } from './channels.ts'
import { claimPage, type Page } from './claim.ts'
import type { Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import { deliver, type Carriage } from './deliver.ts'
import type { Carried, Lane } from './lane.ts'
import { pruneCheckpoints, releaseLane } from './leases.ts'
import type { Settings } from './options.ts'
import { acquit, hasSurvived, markSuspect, provenPoison, survived, type Solo } from './poison.ts'
import { settle } from './settle.ts'
import { settlementOf } from './settlement.ts'
import { claimTrouble, knownTrouble, type Known, type Trouble } from './trouble.ts'
import { waitFor } from './wait.ts'

/** What lanes have in common. */
export interface Road {
  readonly relay: string
  readonly settings: Settings
  readonly database: Database
  readonly solo: Solo
  /** Its own connections, so that leases are kept whatever the lanes wait for. */
  readonly leaseDatabase: Database
  /** Not even results are settled any more. */
  readonly giveUp: AbortSignal
  /** Does something with the database until it succeeds or the signal aborts. */
  readonly untilDone: <T>(signal: AbortSignal, work: () => Promise<T>) => Promise<T | undefined>
  /** Makes sure of the database and of the sinks in it, as at the start. */
  readonly open: (signal: AbortSignal) => Promise<void>
  /** Another relay has the lane. */
  readonly lose: (lane: Lane) => void
}

const nothing: Carriage = { finished: [], spared: [], parked: [], blocked: [], unstarted: [] }

/** The road of a lane, from its claim until it is given back or lost. This is the loop of a relay: there is one for each lane. */
export async function carry(lane: Lane, road: Road): Promise<void> {
  while (!lane.released.aborted) {
    await readiness(lane, road)
    // From its reading on: a page of large events can kill before any of them is sent.
    const after = await road.solo.carry(lane.care.pageSize === 1, lane.released, () => carryPage(lane, road))
    if (after === 'ended') break
    if (after === 'rest') await lane.rest()
  }
  await finish(lane, road)
}

/** Claims, delivers and settles what is next, and tells what the lane does then. */
async function carryPage(lane: Lane, road: Road): Promise<'ended' | 'rest' | 'go on'> {
  const claimed = await unlessLost(lane, road, () => claim(lane, road))
  if (claimed === undefined) return 'ended'

  const { free, behind } = sortOut(lane, claimed)
  const inHand = [...claimed.trouble.due, ...free]
  const isIdle = inHand.length + behind.length === 0 && !claimed.page.more && lane.parked.size === 0
  const carriage = inHand.length === 0 ? nothing : await carryTogether(lane, road, inHand)
  const whole = withBehind(carriage, behind, lane.route.circuit.shut && inHand.length > 0)
  await settlePage(lane, road, claimed.page, whole, claimed.trouble.overtaken)
  if (lane.care.pageSize > 0 && !lane.lost) await takeCare(lane, road, isIdle, carriage)

  // Trouble that found no slot is due as before.
  if (carriage.unstarted.some(({ row }) => row !== null)) lane.dueAt = 0
  // A careful lane looks once more: when there is nothing left, nothing killed.
  const isDone = !claimed.page.more && carriage.unstarted.length === 0
  return isDone && (lane.care.pageSize === 0 || lane.parked.size > 0) ? 'rest' : 'go on'
}

/**
 * What waits behind its key becomes a row. While the circuit is open the log keeps it, unless there is nothing else on the
 * page: then the event that could be the probe lies beyond, and would never be reached.
 */
function withBehind(carriage: Carriage, behind: readonly Carried[], kept: boolean): Carriage {
  return kept
    ? { ...carriage, unstarted: [...carriage.unstarted, ...behind] }
    : { ...carriage, blocked: [...carriage.blocked, ...behind] }
}

/**
 * Waits until something could be carried: the lease holds and the sink has a slot, or may be probed. What ended late is settled
 * meanwhile. With care no more is in flight than a careful page holds, so that what kills is among so many.
 */
async function readiness(lane: Lane, road: Road): Promise<void> {
  const { slots, circuit } = lane.route
  for (;;) {
    lane.bell.hush()
    if (lane.late.length > 0) await settlePage(lane, road, null, nothing)
    await acquitIfEnded(lane, road)
    await endCare(lane, road)
    if (lane.released.aborted) return
    if (!lane.held) await waitFor(100, lane.released)
    else if (withinCare(lane) === 0) await lane.bell.wait(Infinity, lane.released)
    else if (slots.open || circuit.probeInMs === 0) return
    else await slots.vacancy(lane, circuit.probeInMs)
  }
}

/** How many events a lane may start beside what is in flight, as far as care goes. */
function withinCare(lane: Lane): number {
  const { care, parked } = lane
  if (care.pageSize === 0) return Infinity
  // So many have survived beside what is in flight that only that can be guilty: it ends first.
  if (parked.size > 0 && hasSurvived(lane)) return 0
  return Math.max(0, care.pageSize - parked.size)
}

/** Carries what is in hand; while the circuit is open one event at most, and after relays have died here with care. */
async function carryTogether(lane: Lane, road: Road, inHand: readonly Carried[]): Promise<Carriage> {
  const { circuit } = lane.route
  let carried = inHand
  if (circuit.shut) {
    // What is over needs no destination, and can be no probe.
    const over = inHand.filter(isOver)
    const rest = over.length === 0 ? inHand : inHand.filter((one) => !over.includes(one))
    const granted =
      rest.length > 0 &&
      (await road.untilDone(lane.released, () => circuit.probe(road.database, road.relay, lane.route.sink.deadlineMs)))
    const probe = granted === true ? probeOf(lane, rest) : undefined
    carried = probe === undefined ? over : [...over, probe]
  }
  if (lane.care.pageSize > 0) carried = carried.slice(0, withinCare(lane))
  const alone = lane.care.pageSize === 1 ? carried[0] : undefined
  const poison = alone === undefined ? null : provenPoison(lane, alone)
  const carriage = poison === null ? await deliverWithCare(lane, road, carried, alone) : { ...nothing, finished: [poison] }
  if (carried === inHand) return carriage
  const left = inHand.filter((one) => !carried.includes(one))
  return left.length === 0 ? carriage : { ...carriage, unstarted: [...carriage.unstarted, ...left] }
}

async function deliverWithCare(
  lane: Lane,
  road: Road,
  carried: readonly Carried[],
  alone: Carried | undefined,
): Promise<Carriage> {
  if (carried.length === 0) return nothing
  if (alone !== undefined) await road.untilDone(lane.released, () => markSuspect(road.leaseDatabase, road.relay, lane, alone))
  const carriage = await deliver(lane, road.relay, carried, road.settings)
  // Before anything else is started that could kill.
  await acquitIfEnded(lane, road)
  return carriage
}

async function acquitIfEnded(lane: Lane, road: Road): Promise<void> {
  if (lane.care.atRisk && lane.parked.size === 0) {
    await road.untilDone(lane.released, () => acquit(road.leaseDatabase, road.relay, lane))
  }
}

/**
 * The event that goes first to a destination that was down: of the log, and not one that has failed as the probe before,
 * as long as there are others, for it may be its own fault; or else the row that was tried least. Of one key only the first.
 */
function probeOf({ route: { circuit } }: Lane, inHand: readonly Carried[]): Carried | undefined {
  const keys = new Set<string>()
  const first = inHand.filter(({ event: { key } }) => {
    if (key === null) return true
    const known = keys.has(key)
    keys.add(key)
    return !known
  })
  const least = (events: readonly Carried[], cost: (one: Carried) => number): Carried | undefined =>
    events.toSorted((a, b) => cost(a) - cost(b))[0]
  return (
    least(
      first.filter(({ row }) => row === null),
      (one) => circuit.timesSpared(one),
    ) ?? least(first, ({ attempts }) => attempts)
  )
}

/** All that was in flight has ended, and enough had survived before. */
async function endCare(lane: Lane, road: Road): Promise<void> {
  if (lane.lost || lane.care.pageSize === 0 || lane.parked.size > 0 || !hasSurvived(lane)) return
  await road.untilDone(lane.released, () => survived(road.leaseDatabase, road.relay, lane, 0))
}

/** Nothing died of the events that were carried, or there was nothing to carry. What had to wait says nothing. */
async function takeCare(lane: Lane, road: Road, idle: boolean, { finished, spared }: Carriage): Promise<void> {
  const events = finished.length + spared.length
  if (!idle && events === 0) return
  await road.untilDone(lane.released, () => survived(road.leaseDatabase, road.relay, lane, events))
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
  const { pageMs } = road.settings
  const { slots } = lane.route
  // No more than could be started: the rest would be read again.
  const pageSize = Math.max(1, Math.min(road.settings.pageSize, withinCare(lane), slots.within(pageMs)))
  return road.untilDone(lane.released, async () => {
    try {
      const trouble = lane.dueAt <= performance.now() ? await claimTrouble(database, lane, pageSize) : { due: [], overtaken: [] }
      const page = await lane.reads(() => claimPage(database, lane, pageSize))
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
  const handled = ({ position, event }: Carried): boolean => lane.ahead.has(position) || known.positions.has(event.position)
  const isFresh = lane.ahead.size + known.positions.size === 0
  const fresh = isFresh ? page.events : page.events.filter((carried) => !handled(carried))
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
  const { records, rows, keys, gone, appends, cursor } = settlement
  if (records.length + rows.length + keys.length + gone.length + appends.length === 0 && !worthStoring(lane, road, cursor)) {
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
  // A page for each window that they are of; of one that does not come to them they are left as they are.
  for (let left = Infinity; !lane.lost && lane.ahead.size > 0 && lane.ahead.size < left;) {
    left = lane.ahead.size
    await settleAhead(lane, road)
  }
  if (lane.lost) return
  lane.returned = true
  await road.untilDone(AbortSignal.timeout(5_000), () =>
    releaseLane(road.leaseDatabase, road.relay, lane.sink, lane.number, lane.doubtful),
  )
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
