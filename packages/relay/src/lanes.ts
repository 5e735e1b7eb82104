import { carry, type Road } from './carry.ts'
import { publish } from './channels.ts'
import type { Lane } from './lane.ts'
import { beat, claimLanes, releaseLane, renewLeases, shareOf, type Beat } from './leases.ts'
import type { Routes } from './routes.ts'
import { version } from './version.ts'
import { Bell, waitFor, within } from './wait.ts'

/** How often every lane looks at the log, whatever it is told. */
const sweepMs = 60_000

interface Carrying {
  readonly lane: Lane
  readonly ended: Promise<void>
}

/** What others of this relay should know. */
interface LanesNews {
  /** There are more lanes to look at the log for. */
  claimed(): void
  /** There are operations to work off. */
  operations(): void
}

/** The lanes that this relay holds: keeps their leases, takes its share of the free ones, and gives back what is above it. */
export class Lanes {
  readonly #road: Omit<Road, 'lose'>
  readonly #routes: Routes
  readonly #tell: LanesNews
  readonly #held = new Map<string, Carrying>()
  #sweptAt = performance.now()
  /** The life of the database that was made sure of. */
  #life = 0
  /** Rung when leases should be looked at before their time. */
  readonly bell: Bell = new Bell()

  constructor(road: Omit<Road, 'lose'>, routes: Routes, tell: LanesNews) {
    this.#road = road
    this.#routes = routes
    this.#tell = tell
  }

  get held(): readonly Lane[] {
    return [...this.#held.values()].map(({ lane }) => lane)
  }

  /** Beats until the signal aborts: five times in a lease, and at the moment when a lease of another relay ends. */
  async keep(signal: AbortSignal): Promise<void> {
    const { untilDone } = this.#road
    while (!signal.aborted) {
      this.bell.hush()
      const sleepMs = await untilDone(signal, () => this.#beat(signal))
      await this.bell.wait(sleepMs ?? 0, signal)
    }
  }

  /** Lets every lane finish what it has in hand, and give itself back. */
  release(): void {
    for (const lane of this.held) lane.release()
  }

  /** Ends the attempts in flight. */
  end(): void {
    for (const lane of this.held) {
      lane.release()
      lane.end()
    }
  }

  /** Waits until all lanes are given back, and keeps their leases until then. */
  async drained(): Promise<void> {
    const { leaseDatabase, relay, settings, giveUp, untilDone } = this.#road
    const all = [...this.#held.values()]
    const ended = new AbortController()
    const stopRenewing = (): void => ended.abort()
    giveUp.addEventListener('abort', stopRenewing)
    const renewing = (async () => {
      while (!ended.signal.aborted) {
        await waitFor(settings.leaseMs / 5, ended.signal)
        const asked = performance.now()
        const mine = await untilDone(ended.signal, () => renewLeases(leaseDatabase, relay, settings.leaseMs))
        if (mine !== undefined) this.#renewed(mine, asked)
      }
    })()
    await Promise.all(all.map((carrying) => carrying.ended))
    stopRenewing()
    giveUp.removeEventListener('abort', stopRenewing)
    await within(1_000, renewing)
  }

  /**
   * There are events in these buckets (null: in any), visible in this snapshot (null: nobody knows in which). Answers whether
   * lanes of other relays should know too.
   */
  wake(buckets: readonly number[] | null, snapshot: string | null): boolean {
    const ours = this.#of(buckets)
    // What was seen in another life of the server says nothing about this one.
    const life = this.#road.database.life()
    for (const lane of ours) lane.tell(lane.life === life ? snapshot : null)
    return ours.length < this.#routes.all.reduce((sum, route) => sum + lanesOf(buckets, route.laneCount), 0)
  }

  /** An event of this bucket was committed. */
  hint(bucket: number): void {
    for (const lane of this.#of([bucket])) lane.hint()
  }

  #of(buckets: readonly number[] | null): readonly Lane[] {
    const held = [...this.#held.values()].map(({ lane }) => lane)
    if (buckets === null) return held
    return held.filter(({ buckets: { first, last } }) => buckets.some((bucket) => bucket >= first && bucket <= last))
  }

  /** Trouble may be due in these lanes (null: in any). */
  lookAtTrouble(due: readonly { readonly sink: string; readonly lane: number }[] | null): void {
    const names = due === null ? null : new Set(due.map(({ sink, lane }) => nameOf(sink, lane)))
    for (const [name, { lane }] of this.#held) {
      if (names === null || names.has(name)) lane.lookAtTrouble()
    }
  }

  async #beat(signal: AbortSignal): Promise<number> {
    const { leaseDatabase, relay, settings } = this.#road
    const { leaseMs, name } = settings
    const life = leaseDatabase.life()
    if (life !== this.#life) {
      // It may be another by now: one that was restored.
      await this.#road.open(signal)
      this.#life = life
    }
    await this.#routes.save(leaseDatabase, relay)
    const asked = performance.now()
    const now = await beat(leaseDatabase, { id: relay, name, version, sinks: this.#routes.names }, leaseMs)
    this.#renewed(now.mine, asked)
    await this.#routes.loadEndpoints(leaseDatabase, now.endpoints)
    this.#routes.apply(now.sinks)
    if (this.#routes.isMissing(now.sinks)) await this.#road.open(signal)
    for (const { sink, lane, renewed } of now.mine) {
      // Ours by name, but nobody here carries it any more.
      if (renewed && !this.#held.has(nameOf(sink, lane))) await releaseLane(leaseDatabase, relay, sink, lane, true)
    }
    this.lookAtTrouble(now.due)
    if (now.operations) this.#tell.operations()
    const routes = this.#routes.all
    // An endpoint that is no longer carried.
    for (const lane of this.held) if (!routes.includes(lane.route)) lane.release()
    for (const route of routes) {
      const share = shareOf(route, now.relays, relay)
      const held = this.held.filter((lane) => lane.route === route)
      for (const lane of held.slice(share)) lane.release()
      if (held.length >= share || signal.aborted) continue
      const numbers = held.map(({ number }) => number)
      const claimed = await claimLanes(leaseDatabase, relay, route, share - held.length, numbers, leaseMs)
      for (const lane of claimed) this.#begin(lane, signal)
      if (claimed.length > 0) this.#tell.claimed()
    }
    this.#sweep()
    const nextPauseEnd = Math.min(...now.sinks.map(({ resumes_in_ms: ms }) => (ms !== null && ms > 0 ? ms : Infinity)))
    return Math.min(leaseMs / 5, (now.nextExpiryMs ?? Infinity) + 10, nextPauseEnd + 10)
  }

  /** A lane that gets no events looks now and then all the same, so that its cursor does not hold back the log. */
  #sweep(): void {
    if (performance.now() - this.#sweptAt < sweepMs) return
    this.#sweptAt = performance.now()
    for (const lane of this.held) lane.bell.ring()
  }

  /** The leases of these lanes were renewed, at a time after `asked`; the others are not ours any more. */
  #renewed(mine: Beat['mine'], asked: number): void {
    const names = new Map(mine.map(({ sink, lane, renewed }) => [nameOf(sink, lane), renewed]))
    for (const [name, { lane }] of this.#held) {
      const renewed = names.get(name)
      if (renewed === true) lane.leasedUntil = asked + this.#road.settings.leaseMs
      else if (renewed === undefined && !lane.returned) this.#lose(lane)
    }
  }

  #begin(lane: Lane, signal: AbortSignal): void {
    const name = nameOf(lane.sink, lane.number)
    const ended = carry(lane, { ...this.#road, lose: (lost) => this.#lose(lost) })
      .catch((error: unknown) => {
        // A fault of our own: what this lane remembers is not to be trusted any more; its cursor and its rows are.
        publish('postrider:fault', { error })
        this.#lose(lane)
      })
      .finally(() => {
        if (this.#held.get(name)?.lane === lane) this.#held.delete(name)
        this.#reckonShares()
      })
    this.#held.set(name, { lane, ended })
    this.#reckonShares()
    // Claimed by a beat that was under way when the relay was told to stop.
    if (signal.aborted) lane.release()
  }

  /** The limits of a sink are shared by the lanes that relays hold. */
  #reckonShares(): void {
    const held = this.held
    for (const route of this.#routes.all) {
      route.slots.share(held.filter((lane) => lane.route === route).length / route.laneCount)
    }
  }

  #lose(lane: Lane): void {
    if (lane.lost) return
    lane.lose()
    publish('postrider:lane', { sink: lane.sink, lane: lane.number, relay: this.#road.relay, change: 'lost' })
  }
}

function nameOf(sink: string, lane: number): string {
  return `${sink}/${lane}`
}

function lanesOf(buckets: readonly number[] | null, laneCount: number): number {
  return buckets === null ? laneCount : new Set(buckets.map((bucket) => Math.floor((bucket * laneCount) / 256))).size
}
