import type { DeliveryState, LogEvent } from '@postrider/schema'
import type { Circuit } from './circuit.ts'
import { covers, type Cursor } from './cursor.ts'
import type { Verdict } from './judge.ts'
import type { SinkSettings } from './options.ts'
import type { Answer, Replay, Sink } from './sink.ts'
import type { Slots } from './slots.ts'
import { Bell } from './wait.ts'

/** A sink as this relay carries it: its settings, its filter as SQL knows it, and the one door to its destination. */
export interface Route extends Omit<SinkSettings, 'sink' | 'types' | 'circuit'> {
  /** Another one after an endpoint was changed. */
  sink: Sink
  readonly slots: Slots
  readonly circuit: Circuit
  /** Lanes of the sink as they were fixed when it was first seen. */
  readonly laneCount: number
  /** The filter on types as a regular expression of PostgreSQL, or null. */
  typeFilter: string | null
  /** Only events of this tenant, or null. */
  tenant: string | null
  /** Some of its events may have moved to another sink. */
  cutOver: boolean
  /** For an endpoint, the sink that it belongs to: relays that have that one share its lanes. */
  readonly family: string | null
}

/** An event in hand. */
export interface Carried {
  readonly event: LogEvent
  /** Id in the log. */
  readonly id: string
  readonly position: bigint
  /** Segment of the log. */
  readonly slot: number
  /** Attempts before this one. */
  readonly attempts: number
  /** Of these, written off by an operator. */
  readonly forgiven: number
  /** For how long it had been due when it was read, in milliseconds by the clock of the database. */
  readonly dueForMs: number
  /** For how long it has been tried when it was read, in milliseconds by the clock of the database; 0 before its first attempt. */
  readonly triedForMs: number
  /** When it was read, by `performance.now()`. */
  readonly readAt: number
  /** For how long it might still be delivered when it was read, in milliseconds; Infinity without an end. */
  readonly expiresInMs: number
  /** There when an operator sends it once more; then `event.id` is the id that it carries this time. */
  readonly replay: Replay | null
  /** State of its row in deliveries, or null when it has none. */
  row: DeliveryState | null
}

/** An attempt that has ended. */
export interface Result {
  readonly carried: Carried
  /** `expired`: it was not sent. */
  readonly outcome: Answer | { readonly kind: 'expired'; readonly status?: never; readonly detail?: never }
  readonly verdict: Verdict
  readonly startedAtMs: number
  readonly durationMs: number
}

/** What is known of the deaths of relays that had the lane. */
export interface Care {
  /** Events carried at once; 0 when all is well. */
  readonly pageSize: number
  /** The event that was carried alone when relays died, and how many did. */
  readonly suspect: bigint | null
  readonly strikes: number
  /** The suspect is in flight. */
  readonly atRisk: boolean
}

/** The cursor as it stands in the newest checkpoint. */
export interface Stored extends Cursor {
  /** Transactions from here on had not begun when `done` was taken; null when unknown. */
  readonly horizon: string | null
}

/** A lane that this relay holds: where it is in the log, and what is still in hand. */
export class Lane {
  readonly route: Route
  readonly number: number
  readonly anchor: string
  /** Relays have died with this lane in hand. */
  care: Care
  /** Events settled since it was claimed with care. */
  survived = 0
  /** Of the newest checkpoint; the next settle appends `fence + 1`. */
  fence: bigint
  stored: Stored
  cursor: Cursor
  /** Finished beyond the cursor: an earlier event of the page had to be left for later. */
  readonly ahead: Set<bigint> = new Set()
  /** In flight beyond their page, with their keys; their rows are in deliveries. */
  readonly parked: Map<bigint, string | null> = new Map()
  /** Attempts that ended after their page was settled. */
  late: Result[] = []
  /** Up to here events may have been sent by a relay that had the lane before; null when none can have been. */
  readonly doubtUntil: bigint | null
  /** There were large events on its last page. */
  hasLarge = false
  /** Rung when there may be something to read or to settle. */
  readonly bell: Bell = new Bell()
  /** When trouble is due next, by `performance.now()`; 0 is "look now". */
  dueAt = 0
  /** Grows when somebody says that trouble may be due, also while it is being read. */
  dueSaid = 0
  /** The life of the database in which `cursor` was read. */
  life = -1
  /** The snapshot of its newest read in this life; null before there was one. */
  seen: string | null = null
  /** A read is under way, and what the lane was told meanwhile. */
  #reads: { news: string | null } | null = null
  /** The lease, by `performance.now()`: counted from before it was asked for, so that it ends here before it ends in the database. */
  leasedUntil: number
  /** When the cursor was last written, by `performance.now()`. */
  storedAt: number = performance.now()
  /** Aborts when the lane is lost or given back. */
  readonly #release = new AbortController()
  /** Aborts when attempts in flight are to end: the lane is lost, or the relay stops hard. */
  readonly #end = new AbortController()
  lost = false
  /** An attempt was broken off, and nobody knows what came of it. */
  interrupted = false
  /** It has been given back, or is about to be. */
  returned = false

  constructor(
    route: Route,
    number: number,
    anchor: string,
    fence: bigint,
    stored: Stored,
    leasedUntil: number,
    care: Care,
    doubtUntil: bigint | null,
  ) {
    this.route = route
    this.number = number
    this.anchor = anchor
    this.fence = fence
    this.stored = stored
    this.cursor = stored
    this.leasedUntil = leasedUntil
    this.care = care
    this.doubtUntil = doubtUntil
  }

  get sink(): string {
    return this.route.name
  }

  /** The lease holds, as far as this process can know; a process that slept through it finds out here. */
  get held(): boolean {
    return this.isHeldAt(performance.now())
  }

  /** @param now by `performance.now()` */
  isHeldAt(now: number): boolean {
    return !this.lost && now < this.leasedUntil
  }

  /** First and last bucket of this lane; the inverse of `postrider.lane_of`. */
  get buckets(): { readonly first: number; readonly last: number } {
    const { laneCount } = this.route
    return {
      first: Math.ceil((this.number * 256) / laneCount),
      last: Math.ceil(((this.number + 1) * 256) / laneCount) - 1,
    }
  }

  /** Aborts when the lane must not start anything more. */
  get released(): AbortSignal {
    return this.#release.signal
  }

  /** Aborts when attempts in flight are to end. */
  get ended(): AbortSignal {
    return this.#end.signal
  }

  /** Ends attempts in flight; they do not count. */
  end(): void {
    this.#end.abort()
  }

  /** Asks the lane to finish what it has in hand and to stop. */
  release(): void {
    this.#release.abort()
    this.bell.ring()
  }

  /** Another relay has it: nothing of it may be written any more. */
  lose(): void {
    this.lost = true
    this.release()
    this.end()
  }

  /** There may be events that this snapshot shows; null when nobody knows. What the lane has read already is no news. */
  tell(snapshot: string | null): void {
    if (snapshot === null) this.bell.ring()
    else if (this.#reads !== null) this.#reads.news = snapshot
    else if (this.seen === null || !covers(this.seen, snapshot)) this.bell.ring()
  }

  /** An event was committed: somebody looks, and will tell if this comes too early. */
  hint(): void {
    if (this.#reads === null) this.bell.ring()
  }

  /** Reads, which answers the snapshot that it has read with. */
  async reads<T extends { readonly target: string }>(work: () => Promise<T>): Promise<T> {
    const reads: { news: string | null } = { news: null }
    this.#reads = reads
    try {
      const read = await work()
      this.seen = read.target
      return read
    } finally {
      this.#reads = null
      if (reads.news !== null) this.tell(reads.news)
    }
  }

  /** Trouble may be due now. */
  lookAtTrouble(): void {
    this.dueSaid++
    this.dueAt = 0
    this.bell.ring()
  }

  /** Its next owner cannot know of everything whether it was sent. */
  get doubtful(): boolean {
    return this.interrupted || (this.doubtUntil !== null && this.cursor.position < this.doubtUntil)
  }

  /** Looks at trouble again in so many milliseconds, if not sooner. */
  dueIn(ms: number): void {
    this.dueAt = Math.min(this.dueAt, performance.now() + ms)
  }

  /** Nothing to do until the bell, due trouble, or the end. */
  async rest(): Promise<void> {
    await this.bell.wait(this.dueAt - performance.now(), this.released)
  }
}
