import { publish } from './channels.ts'
import { judge } from './judge.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { outcomeOf, threw } from './outcome.ts'
import type { Outcome } from './sink.ts'
import { Queue } from './slots.ts'
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

/** An attempt that ended, and whether its event is spared: it was not its fault. */
interface Ended {
  readonly result: Result
  readonly spared: boolean
  /** Not spared although the circuit was open: it was the probe too often. */
  readonly charged: boolean
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
  const queue = new Queue()
  const finished: Result[] = []
  const spared: Result[] = []
  /** Failed, with what comes behind them. */
  const failed: { readonly result: Result; readonly rest: readonly Carried[]; readonly charged: boolean }[] = []
  const blocked: Carried[] = []
  const unstarted: Carried[] = []
  const inFlight = new Map<Carried, { readonly rest: readonly Carried[]; readonly startedAt: number }>()
  const allDone = new Bell()
  let waiting = 0
  let settled = false

  const carryChain = async (chain: readonly Carried[]): Promise<void> => {
    for (const [index, carried] of chain.entries()) {
      const rest = chain.slice(index + 1)
      const over = expiryOf(carried)
      if (over !== null) {
        finished.push(over)
        continue
      }
      let started = route.slots.take(queue)
      if (typeof started !== 'boolean') {
        waiting++
        started = await started
        waiting--
      }
      if (!started) {
        unstarted.push(carried, ...rest)
        return
      }
      inFlight.set(carried, { rest, startedAt: performance.now() })
      const ended = await attempt(lane, relay, carried)
      inFlight.delete(carried)
      route.slots.give()
      if (ended === null || ended.result.outcome.kind === 'expired') route.circuit.unused()
      if (route.circuit.shut) queue.close()
      if (settled) {
        // Parked meanwhile: its row is there, and what is behind it waits in deliveries.
        if (ended !== null) lane.late.push(ended.spared ? asSpared(ended.result) : ended.result)
        lane.parked.delete(carried.position)
        lane.bell.ring()
        return
      }
      if (ended === null) {
        unstarted.push(carried, ...rest)
        return
      }
      const { result } = ended
      if (ended.spared) {
        spared.push(result)
        unstarted.push(carried, ...rest)
        return
      }
      if (isInTheWay(result, lane) || (!ended.charged && isInDoubt(result))) {
        failed.push({ result, rest, charged: ended.charged })
        return
      }
      finished.push(result)
    }
  }

  const chains = chainsOf(events, route.ordering === 'key')
  let open = chains.length
  for (const chain of chains) {
    void carryChain(chain).finally(() => {
      if (--open === 0) allDone.ring()
    })
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
      const slowAt = Math.max(0, ...[...inFlight.values()].map(({ startedAt }) => startedAt)) + pace.slowMs
      if (waiting === 0 && inFlight.size > 0 && slowAt <= now) break
      const toStop = queue.closed ? Infinity : until - now
      const toPark = waiting === 0 || queue.closed ? slowAt - now : Infinity
      await allDone.wait(Math.max(1, Math.min(toStop, toPark)))
    }
    // Nothing begins behind what ends meanwhile: it would be neither finished nor left.
    queue.close()
    // A failure of a fresh event is not written down before it is known whether it was the destination's.
    if (failed.some(({ result, charged }) => !charged && result.carried.row === null)) await route.circuit.judged(lane.released)
  } finally {
    lane.released.removeEventListener('abort', stop)
    settled = true
  }
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
  for (const [carried, { rest }] of inFlight) {
    lane.parked.set(carried.position, carried.event.key)
    blocked.push(...rest)
  }
  return { finished, spared, parked: [...inFlight.keys()], blocked, unstarted }
}

/** It came too late to stay in the log: its row waits on, and has paid nothing. */
function asSpared(result: Result): Result {
  const { outcome } = result
  return outcome.kind === 'retry' || outcome.kind === 'throttled' || outcome.kind === 'gone'
    ? { ...result, verdict: { kind: 'retry', delayMs: 0, counts: false, error: outcome.error } }
    : result
}

/** True when later events of the key must wait behind this one. */
function isInTheWay({ verdict }: Result, lane: Lane): boolean {
  return verdict.kind === 'retry' || (verdict.kind === 'dead' && lane.route.onDead === 'block')
}

/** Dead, and perhaps not by its own fault: what is behind it, and may pass it, waits until that is known. */
function isInDoubt({ outcome, verdict }: Result): boolean {
  return verdict.kind === 'dead' && outcome.kind === 'retry' && outcome.scope !== 'event'
}

/** One attempt, judged and told; null when it was interrupted, and so does not count. */
async function attempt(lane: Lane, relay: string, carried: Carried): Promise<Ended | null> {
  const { route } = lane
  const number = carried.attempts + 1
  if (lane.ended.aborted || !lane.held) return null
  const startedAtMs = Date.now()
  const startedAt = performance.now()
  const heldMs = startedAt - carried.readAt
  const over = expiryOf(carried)
  if (over !== null) return { result: over, spared: false, charged: false }
  publish('postrider:attempting', { sink: route.name, eventId: carried.id, attempt: number })
  const triedForMs = carried.triedForMs === 0 ? 0 : carried.triedForMs + heldMs
  let outcome: Outcome
  try {
    const { event, replay } = carried
    outcome = outcomeOf(await route.sink.deliver({ event, number, ...(replay === null ? {} : { replay }) }, lane.ended))
  } catch (error) {
    outcome = threw(error)
  }
  const durationMs = performance.now() - startedAt
  // Aborted by us: whatever the sink made of that says nothing about the destination.
  if (lane.ended.aborted && outcome.kind !== 'delivered') return null

  const verdict = judge(outcome, number - carried.forgiven, triedForMs, route.retry, Math.random())
  const spared = route.circuit.heard(carried, outcome, verdict)
  const charged = route.circuit.shut
  publish('postrider:attempt', {
    sink: route.name,
    kind: route.sink.kind,
    relay,
    eventId: carried.id,
    type: carried.event.type,
    key: carried.event.key,
    position: carried.event.position,
    attempt: number,
    outcome: outcome.kind,
    verdict: spared ? 'spared' : verdict.kind,
    errorCode: 'error' in outcome ? outcome.error.code : null,
    error: 'error' in outcome ? outcome.error.message : null,
    status: outcome.status ?? null,
    durationMs,
    queueMs: carried.dueForMs + heldMs,
    nextAttemptInMs: verdict.kind === 'retry' && !spared ? verdict.delayMs : null,
  })
  return { result: { carried, outcome, verdict, startedAtMs, durationMs }, spared, charged }
}

/** What comes of an event whose time is over: it is not sent, and needs no slot; null for one that may still go. */
function expiryOf(carried: Carried): Result | null {
  return isOver(carried)
    ? { carried, outcome: { kind: 'expired' }, verdict: { kind: 'expired' }, startedAtMs: Date.now(), durationMs: 0 }
    : null
}

/** The time of this event is over. */
export function isOver({ readAt, expiresInMs }: Carried): boolean {
  return performance.now() - readAt >= expiresInMs
}
