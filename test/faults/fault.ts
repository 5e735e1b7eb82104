import type { Random } from './random.ts'
import type { Blow, Plan } from './plan.ts'
import type { Stage } from './stage.ts'
import type { Ground } from './theatre.ts'

/** A promise that a fault attacks. */
export type Attacked =
  | 'nothing is lost'
  | 'no phantom'
  | 'order'
  | 'bounded repeats'
  | 'same bytes and id'
  | 'fence'
  | 'back at once'

/** Something that goes wrong in a run, again and again. */
export interface Fault {
  /** As in `--only`. */
  readonly name: string
  /** What it does, in a few words. */
  readonly does: string
  readonly attacks: readonly Attacked[]
  /** How often it strikes in a run, at most. */
  readonly blows: number
  /** All its blows are struck, however long that takes. */
  readonly allBlows?: boolean
  /** How long it lasts, from and to, in ms. */
  readonly lastsMs: readonly [number, number]
  /** What the run must have so that the fault can do its work: what the seed decides is kept within. */
  readonly limits?: Limits
  /** Where its database is; default: on the server that runs share. */
  readonly ground?: Ground
  /** After it is healed, an event that is written then arrives within this time, in ms. */
  readonly backWithinMs: number
  /** No event waits longer than this from its commit to its arrival, in ms; default: as long as the fault lasts. */
  readonly waitsWithinMs?: number
  /** The committed end of the log may be gone. */
  readonly losesHistory?: true
  /** Transaction ids are not those under which the fences were watched. */
  readonly losesFences?: true
  /** Relays may tell of faults that seem to be their own. */
  readonly complains?: true
  /** Why it cannot be done on this machine; null when it can. */
  missing?(): Promise<string | null> | string | null
  /** Before the relays start. */
  arrange?(stage: Stage, random: Random): Promise<void>
  act(stage: Stage, random: Random, blow: Blow): Promise<void>
  /** Resolves when what it did is undone. Called after each `act`, also one that failed. */
  heal(stage: Stage, random: Random): Promise<void>
}

/** From and to. */
export type Limits = Partial<Record<Exclude<keyof Plan, 'seed' | 'fault' | 'seconds' | 'blows'>, readonly [number, number]>>

/** All promises of the road, which no fault may break. */
export const road: readonly Attacked[] = ['nothing is lost', 'no phantom', 'order', 'bounded repeats', 'same bytes and id']
