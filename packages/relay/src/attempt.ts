import { isHeard, publish } from './channels.ts'
import { judge } from './judge.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { outcomeOf, threw } from './outcome.ts'
import type { Answer, Attempt } from './sink.ts'

/** An attempt that ended, and whether its event is spared: it was not its fault. */
export interface Ended {
  readonly result: Result
  readonly spared: boolean
  /** Not spared although the circuit was open: it was the probe too often. */
  readonly charged: boolean
}

/**
 * One attempt, judged and told. It calls `onEnd` once, and never before it returns; with null when the attempt was interrupted,
 * or not sent because of an earlier event of its key, and so does not count. Callbacks rather than promises: this is done
 * for every event.
 * @param onUndelivered called as soon as the sink answers anything but `delivered`, before anybody else can hear of it
 */
export function attempt(
  lane: Lane,
  relay: string,
  carried: Carried,
  onEnd: (ended: Ended | null) => void,
  onUndelivered?: () => void,
): void {
  const { route } = lane
  const startedAt = performance.now()
  if (lane.ended.aborted || !lane.isHeldAt(startedAt)) return queueMicrotask(() => onEnd(null))
  const over = expiryOf(carried)
  if (over !== null) return queueMicrotask(() => onEnd({ result: over, spared: false, charged: false }))
  const startedAtMs = Date.now()
  const number = carried.attempts + 1
  if (isHeard('postrider:attempting')) {
    publish('postrider:attempting', { sink: route.name, eventId: carried.id, attempt: number })
  }

  const answered = (answer: Answer | { readonly kind: 'behind' }): void => {
    if (answer.kind !== 'delivered') onUndelivered?.()
    if (answer.kind !== 'behind') return onEnd(endOf(lane, relay, carried, answer, startedAt, startedAtMs))
    if (route.sink.pipelined !== true) return answered(threw(new Error('the sink answered behind, and is not pipelined')))
    // Not sent, because of an earlier event of its key.
    if (lane.ended.aborted) lane.interrupted = true
    onEnd(null)
  }
  const failed = (error: unknown): void => answered(threw(error))
  let answering: Promise<unknown>
  try {
    // A sink may be anybody's: what it returns need not be a promise.
    answering = Promise.resolve(route.sink.deliver(attemptOf(lane, carried, number), lane.ended))
  } catch (error) {
    answering = Promise.reject(error)
  }
  answering.then((answer) => answered(outcomeOf(answer)), failed)
}

/** What the sink is given. */
function attemptOf({ doubtUntil }: Lane, { event, replay, position, row }: Carried, number: number): Attempt {
  if (replay !== null) return { event, number, replay }
  const doubtful = row === 'retrying' || row === 'blocked' || (doubtUntil !== null && position <= doubtUntil)
  return doubtful ? { event, number, doubtful } : { event, number }
}

function endOf(
  lane: Lane,
  relay: string,
  carried: Carried,
  outcome: Answer,
  startedAt: number,
  startedAtMs: number,
): Ended | null {
  const { route } = lane
  const now = performance.now()
  // Aborted by us: whatever the sink made of that says nothing about the destination.
  if (outcome.kind !== 'delivered' && lane.ended.aborted) {
    lane.interrupted = true
    return null
  }
  const durationMs = now - startedAt
  const heldMs = startedAt - carried.readAt
  const number = carried.attempts + 1
  const triedForMs = carried.triedForMs === 0 ? 0 : carried.triedForMs + heldMs
  const verdict = judge(outcome, number - carried.forgiven, triedForMs, route.retry, Math.random)
  const spared = route.circuit.heard(carried, outcome, verdict, now)
  const charged = route.circuit.shut
  if (isHeard('postrider:attempt')) {
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
  }
  return { result: { carried, outcome, verdict, startedAtMs, durationMs }, spared, charged }
}

/** What comes of an event whose time is over: it is not sent, and needs no slot; null for one that may still go. */
export function expiryOf(carried: Carried): Result | null {
  return isOver(carried)
    ? { carried, outcome: { kind: 'expired' }, verdict: { kind: 'expired' }, startedAtMs: Date.now(), durationMs: 0 }
    : null
}

/** The time of this event is over. */
export function isOver({ readAt, expiresInMs }: Carried): boolean {
  return expiresInMs !== Infinity && performance.now() - readAt >= expiresInMs
}
