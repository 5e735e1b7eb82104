import { attempt, expiryOf, type Ended } from './attempt.ts'
import type { Carried, Lane, Result } from './lane.ts'
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

/** An attempt that failed, with what waits behind it. */
interface Failure {
  readonly result: Result
  readonly rest: Carried[]
  readonly charged: boolean
}

/** Events of a key on their way to a sink that keeps their order by itself. */
interface Run {
  /** Handed over, and not ended. */
  inFlight: number
  /** Nothing more of the key is handed over. */
  broken: boolean
  failure: Failure | null
  /** Handed over and not sent, or never handed over. */
  readonly left: Carried[]
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
  const failed: Failure[] = []
  const blocked: Carried[] = []
  const unstarted: Carried[] = []
  const inFlight = new Map<Carried, { readonly rest: readonly Carried[]; readonly startedAt: number }>()
  const allDone = new Bell()
  let waiting = 0
  let settled = false

  /** One attempt, from its slot to its end; one that ended after its page is left to be settled with another. */
  const tryOnce = async (carried: Carried, undelivered?: () => void): Promise<Ended | null> => {
    const ended = await attempt(lane, relay, carried, undelivered)
    inFlight.delete(carried)
    route.slots.give()
    if (ended === null || ended.result.outcome.kind === 'expired') route.circuit.unused()
    if (route.circuit.shut) queue.close()
    if (settled) {
      // Parked meanwhile: its row is there, and what is behind it waits in deliveries.
      if (ended !== null) lane.late.push(ended.spared ? asSpared(ended.result) : ended.result)
      lane.parked.delete(carried.position)
      lane.bell.ring()
    }
    return ended
  }

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
      const ended = await tryOnce(carried)
      if (settled) return
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

  const runs: Run[] = []
  /** Hands over one event of a key after the other, without waiting for their ends. */
  const carryRun = async (chain: readonly Carried[]): Promise<void> => {
    const run: Run = { inFlight: 0, broken: false, failure: null, left: [] }
    runs.push(run)
    const ends: Promise<void>[] = []
    for (const carried of chain) {
      const over = run.broken ? null : expiryOf(carried)
      if (over !== null) {
        finished.push(over)
        continue
      }
      let started = !run.broken && route.slots.take(queue)
      if (typeof started !== 'boolean') {
        waiting++
        started = await started
        waiting--
        if (started && run.broken) {
          route.slots.give()
          route.circuit.unused()
          started = false
        }
      }
      if (!started) {
        run.broken = true
        run.left.push(carried)
        continue
      }
      run.inFlight++
      inFlight.set(carried, { rest: [], startedAt: performance.now() })
      ends.push(endOf(run, carried))
    }
    await Promise.all(ends)
  }

  const endOf = async (run: Run, carried: Carried): Promise<void> => {
    // A slot that is given back here must not be taken by one that comes behind.
    const ended = await tryOnce(carried, () => (run.broken = true))
    run.inFlight--
    if (settled) return
    if (ended === null) {
      run.broken = true
      run.left.push(carried)
      return
    }
    const { result, charged } = ended
    if (ended.spared) {
      spared.push(result)
      run.left.push(carried)
    } else if (isInTheWay(result, lane) || (!charged && isInDoubt(result))) {
      // A second one of the key is the fault of the sink: it waits behind the first.
      const failure: Failure = { result, rest: [], charged }
      run.failure ??= failure
      failed.push(failure)
    } else finished.push(result)
  }

  const chains = chainsOf(events, route.ordering === 'key')
  let open = chains.length
  for (const chain of chains) {
    void (route.sink.pipelined === true && chain.length > 1 ? carryRun(chain) : carryChain(chain)).finally(() => {
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
  for (const run of runs) {
    const left = run.left.sort((a, b) => (a.position < b.position ? -1 : 1))
    if (run.failure !== null) run.failure.rest.push(...left)
    else if (run.inFlight > 0) blocked.push(...left)
    else unstarted.push(...left)
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
