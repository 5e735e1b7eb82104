import { publish } from './channels.ts'
import { judge } from './judge.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { outcomeOf, threw } from './outcome.ts'
import type { Answer } from './sink.ts'

/** An attempt that ended, and whether its event is spared: it was not its fault. */
export interface Ended {
  readonly result: Result
  readonly spared: boolean
  /** Not spared although the circuit was open: it was the probe too often. */
  readonly charged: boolean
}

/**
 * One attempt, judged and told; null when it was interrupted, and so does not count.
 * @param undelivered called as soon as the sink answers anything but `delivered`, before anybody else can hear of it
 */
export async function attempt(lane: Lane, relay: string, carried: Carried, undelivered?: () => void): Promise<Ended | null> {
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
  const outcome = await answerOf(lane, carried, number, undelivered)
  // Not sent, because of an earlier event of its key.
  if (outcome === null) {
    if (lane.ended.aborted) lane.interrupted = true
    return null
  }
  const durationMs = performance.now() - startedAt
  // Aborted by us: whatever the sink made of that says nothing about the destination.
  if (lane.ended.aborted && outcome.kind !== 'delivered') {
    lane.interrupted = true
    return null
  }

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

/** What the sink says; null when it has not sent the event because of an earlier one of its key. */
async function answerOf(
  lane: Lane,
  carried: Carried,
  number: number,
  undelivered: (() => void) | undefined,
): Promise<Answer | null> {
  const {
    route: { sink },
    ended,
    doubtUntil,
  } = lane
  const { event, replay, position, row } = carried
  const doubtful = replay === null && (row === 'retrying' || row === 'blocked' || (doubtUntil !== null && position <= doubtUntil))
  try {
    const answering = sink.deliver(
      { event, number, ...(replay === null ? {} : { replay }), ...(doubtful ? { doubtful } : {}) },
      ended,
    )
    if (undelivered !== undefined)
      answering.then((answer: unknown) => outcomeOf(answer).kind === 'delivered' || undelivered(), undelivered)
    const outcome = outcomeOf(await answering)
    if (outcome.kind !== 'behind') return outcome
    return sink.pipelined === true ? null : threw(new Error('the sink answered behind, and is not pipelined'))
  } catch (error) {
    return threw(error)
  }
}

/** What comes of an event whose time is over: it is not sent, and needs no slot; null for one that may still go. */
export function expiryOf(carried: Carried): Result | null {
  return isOver(carried)
    ? { carried, outcome: { kind: 'expired' }, verdict: { kind: 'expired' }, startedAtMs: Date.now(), durationMs: 0 }
    : null
}

/** The time of this event is over. */
export function isOver({ readAt, expiresInMs }: Carried): boolean {
  return performance.now() - readAt >= expiresInMs
}
