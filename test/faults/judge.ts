import type { Emitted, History, Receipt } from './history.ts'
import { digest, payloadOf } from './payload.ts'

/** What a run has shown. Every list says which events it was. */
export interface Verdict {
  /** Committed, and never taken. */
  readonly lost: readonly string[]
  /** Taken, and never committed. */
  readonly phantom: readonly string[]
  /** Taken for the first time after an event of its key that comes behind it. */
  readonly outOfOrder: readonly string[]
  /** Taken with another payload than was written, or with two different bodies. */
  readonly wrongBytes: readonly string[]
  /** Taken under another id than it was written with. */
  readonly changedId: readonly string[]
  /** Taken before its time. */
  readonly early: readonly string[]
  /** Taken once more, without the receiver having asked for it. */
  readonly repeats: number
  /** How many of those the promise allows. */
  readonly bound: number
}

/** Lists of a verdict: each is empty, or a promise is broken. */
export const promises = ['lost', 'phantom', 'outOfOrder', 'wrongBytes', 'changedId', 'early'] as const

/** Clocks of one machine, read by two processes, in whole milliseconds. */
const clockMs = 2

/** Compares what writers did with what receivers took; `bound` is how many repeats the promise allows. */
export function judge({ emitted, receipts }: History, bound: number): Verdict {
  const written = new Map(emitted.map((event) => [event.id, event]))
  const first = new Map<string, Receipt>()
  const wrongBytes: string[] = []
  const changedId: string[] = []
  const phantom: string[] = []
  const early: string[] = []
  for (const receipt of receipts) {
    const { id, writtenId, at } = receipt
    if (id !== writtenId) changedId.push(`${writtenId} came as ${id}`)
    const event = written.get(writtenId)
    const before = first.get(writtenId)
    if (event === undefined || event.fate === 'rolled back') phantom.push(writtenId)
    if (before !== undefined) {
      if (before.body !== receipt.body) wrongBytes.push(`${writtenId} came with two bodies`)
      continue
    }
    first.set(writtenId, receipt)
    if (event === undefined) continue
    if (event.n !== null && receipt.payload !== digest(payloadOf({ ...event, n: event.n }))) wrongBytes.push(writtenId)
    if (event.dueAt !== null && at < event.dueAt - clockMs) early.push(`${writtenId}: ${event.dueAt - at} ms`)
  }
  return {
    lost: emitted.filter(({ id, fate }) => fate === 'committed' && !first.has(id)).map(({ id }) => id),
    phantom: [...new Set(phantom)],
    outOfOrder: disorderOf(written, [...first.keys()]),
    wrongBytes,
    changedId,
    early,
    repeats: repeatsOf(receipts),
    bound,
  }
}

/** Of events with a time of their own nothing can be said; of the others of a key, in the order in which they came, everything that is not in order. */
function disorderOf(written: ReadonlyMap<string, Emitted>, inOrder: readonly string[]): string[] {
  const disorder: string[] = []
  const keys = new Map<string, { turn: number; began: number }>()
  for (const id of inOrder) {
    const event = written.get(id)
    if (event === undefined || event.key === null || event.dueAt !== null || event.fate !== 'committed') continue
    const seen = keys.get(event.key) ?? { turn: -Infinity, began: -Infinity }
    keys.set(event.key, seen)
    if (event.turn !== null && event.turn < seen.turn)
      disorder.push(`${event.key}: turn ${event.turn} after ${seen.turn} (${id})`)
    else if (event.ended !== null && event.ended < seen.began)
      disorder.push(`${event.key}: committed ${seen.began - event.ended} ms before one that came first began (${id})`)
    if (event.turn !== null) seen.turn = Math.max(seen.turn, event.turn)
    seen.began = Math.max(seen.began, event.began)
  }
  return disorder
}

/** A receiver that does not say that it has taken an event asks for it again. */
function repeatsOf(receipts: readonly Receipt[]): number {
  let repeats = 0
  for (const of of Map.groupBy(receipts, ({ writtenId }) => writtenId).values()) {
    const asked = of.slice(0, -1).filter(({ harmed }) => harmed).length
    repeats += of.length - 1 - asked
  }
  return repeats
}

/** Every promise that a verdict breaks, in words. */
export function broken(verdict: Verdict): string[] {
  const found = promises.flatMap((promise) => {
    const which = verdict[promise]
    return which.length === 0 ? [] : [`${promise}: ${which.length} (${which.slice(0, 3).join('; ')})`]
  })
  if (verdict.repeats > verdict.bound) found.push(`repeats: ${verdict.repeats}, at most ${verdict.bound} are allowed`)
  return found
}
