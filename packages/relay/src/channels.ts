import { channel } from 'node:diagnostics_channel'
import type { ErrorCode } from '@postrider/schema'
import type { Answer } from './sink.ts'
import type { Verdict } from './judge.ts'

/**
 * What a relay tells about itself, on `node:diagnostics_channel`, synchronously at the point it happens.
 * Logs, metrics and tests subscribe; the road itself knows none of them.
 */
export interface Messages {
  /** A page or due trouble has been read. */
  'postrider:claimed': { readonly sink: string; readonly lane: number; readonly events: number; readonly trouble: number }
  /** An attempt begins. */
  'postrider:attempting': { readonly sink: string; readonly eventId: string; readonly attempt: number }
  /** An attempt has ended, and has not been settled yet. */
  'postrider:attempt': {
    readonly sink: string
    readonly kind: string
    readonly relay: string
    readonly eventId: string
    readonly type: string
    readonly key: string | null
    readonly position: string
    readonly attempt: number
    readonly outcome: Answer['kind']
    /** `spared`: the destination failed, not the event; it pays nothing and stays where it was. */
    readonly verdict: Verdict['kind'] | 'spared'
    readonly errorCode: ErrorCode | null
    readonly error: string | null
    readonly status: number | null
    readonly durationMs: number
    /** From the insert (or the due time) to the start of the attempt. */
    readonly queueMs: number
    readonly nextAttemptInMs: number | null
  }
  /** A page is about to be settled. */
  'postrider:settling': { readonly sink: string; readonly lane: number; readonly fence: string }
  'postrider:settled': {
    readonly sink: string
    readonly lane: number
    readonly fence: string
    readonly events: number
    readonly position: string
  }
  'postrider:lane': {
    readonly sink: string
    readonly lane: number
    readonly relay: string
    readonly change: 'claimed' | 'released' | 'lost'
  }
  /** The circuit of a sink changes; from other relays only its end is heard. */
  'postrider:circuit': {
    readonly sink: string
    readonly state: 'closed' | 'open' | 'half_open'
    readonly errorCode: ErrorCode | null
    readonly error: string | null
  }
  /** An endpoint cannot be used, and stands still until its row is mended. */
  'postrider:endpoint': { readonly sink: string; readonly error: unknown }
  'postrider:listener': { readonly state: 'listening' | 'polling'; readonly reason: string }
  'postrider:wake': { readonly source: 'notify' | 'poll' | 'linger'; readonly news: boolean }
  /** A database that was restored from elsewhere can be carried from now: its cursors were anchored anew. Cluster identifiers. */
  'postrider:anchored': {
    readonly from: string
    readonly to: string
    /** The same cluster under another identifier (pg_upgrade): nothing had to be done. */
    readonly continued: boolean
    /** What was restored has positions up to here. */
    readonly position: string
    /** Undone events that are rows of deliveries now. */
    readonly events: number
    /** Deliveries whose events were not restored: dead letters now. */
    readonly missing: number
  }
  'postrider:database': { readonly up: boolean; readonly error: string | null }
  /** A fault of the relay itself, not of the database or a destination; it tries again. */
  'postrider:fault': { readonly error: unknown }
  /** A chore of the cluster was done by this relay. */
  'postrider:chore': {
    readonly chore: string
    readonly result: 'done' | 'nothing' | 'failed'
    readonly detail: string | null
    /** Something that a sink wanted is gone. */
    readonly loss: boolean
  }
  'postrider:relay': { readonly relay: string; readonly state: 'started' | 'stopping' | 'stopped' }
}

const channels = new Map<string, ReturnType<typeof channel>>()

function named(name: keyof Messages): ReturnType<typeof channel> {
  let found = channels.get(name)
  if (found === undefined) channels.set(name, (found = channel(name)))
  return found
}

export function publish<Name extends keyof Messages>(name: Name, message: Messages[Name]): void {
  const found = named(name)
  if (found.hasSubscribers) found.publish(message)
}

/** Somebody listens: for what is told of every event, so that it is not put together for nobody. */
export function isHeard(name: keyof Messages): boolean {
  return named(name).hasSubscribers
}

/** Hands every message of a channel to `listener`; returns what ends it. */
export function subscribe<Name extends keyof Messages>(name: Name, listener: (message: Messages[Name]) => void): () => void {
  const found = channel(name)
  const receive = (message: unknown): void => listener(message as Messages[Name])
  found.subscribe(receive)
  return () => {
    found.unsubscribe(receive)
  }
}
