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
  const blocked: Carried[] = []
  const unstarted: Carried[] = []
  const inFlight = new Map<Carried, { readonly rest: readonly Carried[]; readonly startedAt: number }>()
  const allDone = new Bell()
  let waiting = 0
  let settled = false

  const carryChain = async (chain: readonly Carried[]): Promise<void> => {
    for (const [index, carried] of chain.entries()) {
      const rest = chain.slice(index + 1)
      const admitted = route.slots.take(queue)
      if (admitted !== true) {
        waiting++
        const started = await admitted
        waiting--
        if (!started) {
          unstarted.push(carried, ...rest)
          return
        }
      }
      inFlight.set(carried, { rest, startedAt: performance.now() })
      const result = await attempt(lane, relay, carried)
      inFlight.delete(carried)
      route.slots.give()
      if (settled) {
        // Parked meanwhile: its row is there, and what is behind it waits in deliveries.
        if (result !== null) lane.late.push(result)
        lane.parked.delete(carried.position)
        lane.bell.ring()
        return
      }
      if (result === null) {
        unstarted.push(carried, ...rest)
        return
      }
      finished.push(result)
      if (isInTheWay(result, lane)) {
        blocked.push(...rest)
        return
      }
    }
  }

  const chains = chainsOf(events, route.ordering === 'key')
  let open = chains.length
  for (const chain of chains) {
    void carryChain(chain).finally(() => {
      if (--open === 0) allDone.ring()
    })
  }

  const until = performance.now() + pace.pageMs
  const stop = (): void => queue.close()
  lane.released.addEventListener('abort', stop)
  if (lane.released.aborted) stop()
  try {
    while (open > 0) {
      const now = performance.now()
      if (now >= until) queue.close()
      const slowAt = Math.max(0, ...[...inFlight.values()].map(({ startedAt }) => startedAt)) + pace.slowMs
      if (waiting === 0 && inFlight.size > 0 && slowAt <= now) break
      const toStop = queue.closed ? Infinity : until - now
      const toPark = waiting === 0 || queue.closed ? slowAt - now : Infinity
      await allDone.wait(Math.max(1, Math.min(toStop, toPark)))
    }
  } finally {
    lane.released.removeEventListener('abort', stop)
    settled = true
  }
  for (const [carried, { rest }] of inFlight) {
    lane.parked.set(carried.position, carried.event.key)
    blocked.push(...rest)
  }
  return { finished, parked: [...inFlight.keys()], blocked, unstarted }
}

/** True when later events of the key must wait behind this one. */
function isInTheWay({ verdict }: Result, lane: Lane): boolean {
  return verdict.kind === 'retry' || (verdict.kind === 'dead' && lane.route.onDead === 'block')
}

/** One attempt, judged and told; null when it was interrupted, and so does not count. */
async function attempt(lane: Lane, relay: string, carried: Carried): Promise<Result | null> {
  const { route } = lane
  const number = carried.attempts + 1
  if (lane.ended.aborted || !lane.held) return null
  publish('postrider:attempting', { sink: route.name, eventId: carried.event.id, attempt: number })
  const startedAtMs = Date.now()
  const startedAt = performance.now()
  const heldMs = startedAt - carried.readAt
  const triedForMs = carried.triedForMs === 0 ? 0 : carried.triedForMs + heldMs
  let outcome: Outcome
  try {
    outcome = outcomeOf(await route.sink.deliver({ event: carried.event, number }, lane.ended))
  } catch (error) {
    outcome = threw(error)
  }
  const durationMs = performance.now() - startedAt
  // Aborted by us: whatever the sink made of that says nothing about the destination.
  if (lane.ended.aborted && outcome.kind !== 'delivered') return null

  const verdict = judge(outcome, number - carried.forgiven, triedForMs, route.retry, Math.random())
  if (outcome.kind === 'throttled') route.slots.quiet(outcome.afterMs)
  if (outcome.kind === 'reject' && outcome.quietMs !== undefined) route.slots.quiet(outcome.quietMs)
  publish('postrider:attempt', {
    sink: route.name,
    kind: route.sink.kind,
    relay,
    eventId: carried.event.id,
    type: carried.event.type,
    key: carried.event.key,
    position: carried.event.position,
    attempt: number,
    outcome: outcome.kind,
    verdict: verdict.kind,
    errorCode: 'error' in outcome ? outcome.error.code : null,
    error: 'error' in outcome ? outcome.error.message : null,
    status: outcome.status ?? null,
    durationMs,
    queueMs: carried.dueForMs + heldMs,
    nextAttemptInMs: verdict.kind === 'retry' ? verdict.delayMs : null,
  })
  return { carried, outcome, verdict, startedAtMs, durationMs }
}
