import { Carrying, isInTheWay } from './carrying.ts'
import { Chain } from './chain.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { Run } from './run.ts'
import { Bell } from './wait.ts'

/** What has become of the events that were carried together. */
export interface Carriage {
  readonly finished: readonly Result[]
  /** Failed together with their destination: they stay where they were, and only the attempts are recorded. */
  readonly spared: readonly Result[]
  /** Still in flight; their results arrive in `lane.late`. */
  readonly parked: readonly Carried[]
  /** Behind an event of their key that failed or is parked. */
  readonly blocked: readonly Carried[]
  /** Never tried: there was no slot in time, or the relay stops. */
  readonly unstarted: readonly Carried[]
}

export interface Pace {
  readonly pageMs: number
  readonly slowMs: number
}

/** The part of `pageMs` that a page has at least, however soon trouble comes due: one in so many. */
const shortest = 5

/** Events of one key in order; an event without a key, or of a sink that keeps no order, is alone. */
function chainsOf(events: readonly Carried[], ordered: boolean): Carried[][] {
  if (!ordered) return events.map((carried) => [carried])
  const chains: Carried[][] = []
  const byKey = new Map<string, Carried[]>()
  for (const carried of events) {
    const { key } = carried.event
    const chain = key === null ? undefined : byKey.get(key)
    if (chain !== undefined) chain.push(carried)
    else {
      const begun = [carried]
      chains.push(begun)
      if (key !== null) byKey.set(key, begun)
    }
  }
  return chains
}

/**
 * Carries events to the sink: as many at once as there are slots, one of a key at a time.
 *
 * It ends when all are finished; at the latest `pageMs + slowMs` after its start. After `pageMs` nothing is started any more,
 * and an attempt that is older than `slowMs` is parked when there is nothing left to do but to wait for it,
 * so that one slow event holds up neither its lane nor its cursor.
 */
export async function deliver(lane: Lane, relay: string, events: readonly Carried[], pace: Pace): Promise<Carriage> {
  const { route } = lane
  const carrying = new Carrying(lane, relay)
  const { queue, finished, spared, failed, blocked, unstarted, inFlight } = carrying
  const allDone = new Bell()
  const chains = chainsOf(events, route.ordering === 'key')
  const runs: Run[] = []
  let open = chains.length
  const onOver = (): void => {
    if (--open === 0) allDone.ring()
  }
  for (const chain of chains) {
    if (route.sink.pipelined !== true || chain.length === 1) new Chain(carrying, chain, onOver).go()
    else {
      const run = new Run(carrying, chain, onOver)
      runs.push(run)
      run.go()
    }
  }

  // What comes due meanwhile waits for the end of the page, so that end comes sooner.
  const begun = performance.now()
  const until = begun + Math.min(pace.pageMs, Math.max(pace.pageMs / shortest, lane.dueAt - begun))
  const stop = (): void => queue.close()
  lane.released.addEventListener('abort', stop)
  if (lane.released.aborted) stop()
  try {
    while (open > 0) {
      const now = performance.now()
      if (now >= until || route.circuit.shut) queue.close()
      if (open === 0) break
      let newest = 0
      for (const { startedAt } of inFlight.values()) if (startedAt > newest) newest = startedAt
      const slowAt = newest + pace.slowMs
      if (carrying.waiting === 0 && inFlight.size > 0 && slowAt <= now) break
      const toStop = queue.closed ? Infinity : until - now
      const toPark = carrying.waiting === 0 || queue.closed ? slowAt - now : Infinity
      await allDone.wait(Math.max(1, Math.min(toStop, toPark)))
    }
    // Nothing begins behind what ends meanwhile: it would be neither finished nor left.
    queue.close()
    // A failure of a fresh event is not written down before it is known whether it was the destination's.
    if (failed.some(({ result, charged }) => !charged && result.carried.row === null)) await route.circuit.judged(lane.released)
  } finally {
    lane.released.removeEventListener('abort', stop)
    carrying.isOver = true
  }
  for (const run of runs) run.close()
  for (const { result, rest, charged } of failed) {
    // The circuit has opened since: this was the destination's failure, not the event's.
    if (!charged && route.circuit.spareLater(result)) {
      spared.push(result)
      unstarted.push(result.carried, ...rest)
    } else {
      finished.push(result)
      if (isInTheWay(result, lane)) blocked.push(...rest)
      else unstarted.push(...rest)
    }
  }
  for (const [carried, attempt] of inFlight) {
    lane.parked.set(carried.position, carried.event.key)
    blocked.push(...attempt.rest())
  }
  return { finished, spared, parked: [...inFlight.keys()], blocked, unstarted }
}
