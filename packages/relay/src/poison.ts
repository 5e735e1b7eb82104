import { sql } from 'kysely'
import type { Database } from './database.ts'
import type { Carried, Lane, Result } from './lane.ts'
import { Bell } from './wait.ts'

/**
 * An event can kill the process that carries it: by its size, or by a fault in the sink. Nobody is left to write down what
 * happened, so it is found by what is missing: a lane that was taken over from a relay that did not give it back is
 * carried with care, in pages of 64, then 8, then 1 event, as long as relays keep dying. An event that stands alone is
 * marked as the suspect before it is carried. When relays have died twice over the same suspect, it is dead.
 */
export const firstCare = 64
/** A smaller page was enough to hold the guilty one, so after this many pages' worth without a death it is not there. */
const enoughPages = 8
/** Deaths over one suspect that prove it. The first may be chance. */
const proof = 2

/** What came of the event that was proven to kill relays: it is not sent. */
export function provenPoison(lane: Lane, carried: Carried): Result | null {
  const { suspect, strikes } = lane.care
  if (suspect !== carried.position || strikes < proof) return null
  const error = {
    code: 'poison',
    message: `${strikes} relays died while they carried nothing but this event`,
  } as const
  return {
    carried,
    outcome: { kind: 'reject', error },
    verdict: { kind: 'dead', error },
    startedAtMs: Date.now(),
    durationMs: 0,
  }
}

/** Says, before it is carried, which event would be the guilty one. */
export async function markSuspect({ db, schema }: Database, relay: string, lane: Lane, { position }: Carried): Promise<void> {
  const same = lane.care.suspect === position
  lane.care = { ...lane.care, suspect: position, strikes: same ? lane.care.strikes : 0, atRisk: true }
  await sql`
    update ${schema}.lanes set suspect = ${String(position)}::bigint, strikes = ${lane.care.strikes}::smallint, at_risk = true
    where sink = ${lane.sink} and lane = ${lane.number} and relay = ${relay}`.execute(db)
}

/** The suspect was carried, and nobody died: what the relay may die of later is something else. */
export async function acquit({ db, schema }: Database, relay: string, lane: Lane): Promise<void> {
  await sql`
    update ${schema}.lanes set suspect = null, strikes = 0, at_risk = false
    where sink = ${lane.sink} and lane = ${lane.number} and relay = ${relay}`.execute(db)
  lane.care = { ...lane.care, suspect: null, strikes: 0, atRisk: false }
}

/** So many events were settled that none of them is guilty; only what is still in flight can be. */
export function hasSurvived({ care, survived }: Lane): boolean {
  return survived >= care.pageSize * enoughPages
}

/**
 * So many events were settled, or there was nothing to carry (0): after enough of it the lane is carried as usual again, when
 * what is in flight has ended too.
 */
export async function survived({ db, schema }: Database, relay: string, lane: Lane, events: number): Promise<void> {
  lane.survived += events
  if (lane.parked.size > 0 || (events > 0 && !hasSurvived(lane))) return
  await sql`
    update ${schema}.lanes set careful = 0, suspect = null, strikes = 0, at_risk = false
    where sink = ${lane.sink} and lane = ${lane.number} and relay = ${relay}`.execute(db)
  lane.care = { pageSize: 0, suspect: null, strikes: 0, atRisk: false }
}

/**
 * While a lane carries one event at a time, from the reading of it to its settling, this relay begins no page of another lane, so
 * that only the suspect can be to blame. It has that for a moment only: whoever waits goes on after it.
 */
export class Solo {
  #others = 0
  #alone = false
  /** Those whose turn has not come, in the order in which they came: a suspect would wait for ever among lanes that never rest. */
  readonly #waiting: Bell[] = []

  /** Waits for its turn, then carries; `alone` with nothing else at its side. */
  async carry<T>(alone: boolean, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const free = (): boolean => !this.#alone && (!alone || this.#others === 0)
    if (this.#waiting.length > 0 || !free()) {
      const bell = new Bell()
      this.#waiting.push(bell)
      while ((this.#waiting[0] !== bell || !free()) && !signal.aborted) {
        await bell.wait(Infinity, signal)
        bell.hush()
      }
      this.#waiting.splice(this.#waiting.indexOf(bell), 1)
    }
    // One whose lane is given back starts nothing any more, whatever its turn.
    const counts = free()
    if (counts && alone) this.#alone = true
    else if (counts) this.#others++
    this.#waiting[0]?.ring()
    try {
      return await work()
    } finally {
      if (counts && alone) this.#alone = false
      else if (counts) this.#others--
      this.#waiting[0]?.ring()
    }
  }
}
