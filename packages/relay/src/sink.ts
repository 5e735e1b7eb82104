import type { ErrorCode, LogEvent } from '@postrider/schema'

/** Why an attempt failed, in words that appear in logs, metrics and `attempts`. Carries no secret and no internal address. */
export interface DeliveryError {
  readonly code: ErrorCode
  readonly message: string
}

/** What a sink may keep of an exchange for the audit trail: small, redacted JSON. */
export type AttemptDetail = Readonly<Record<string, unknown>>

interface Answered {
  /** Status of the protocol, such as an HTTP status; absent when there was no answer. */
  readonly status?: number
  readonly detail?: AttemptDetail
}

/** Where an event stands in a destination that keeps a log of its own. */
export interface Appended {
  readonly topic: string
  readonly partition: number
  /** Decimal string, because it may pass 2^53. */
  readonly offset: string
}

/**
 * What a sink answers, closed: the sink knows its protocol, the relay knows the policy.
 * - `delivered`: the destination has taken the event; `appended` tells where it stands there, and is kept in `postrider.appends`.
 * - `retry`: it failed, and may succeed later. `afterMs` is a floor asked for by the destination; `maxAttempts` a ceiling for
 *   this kind of failure. `scope` tells what failed: the `destination` (default), which counts towards opening the circuit of
 *   the sink, or only this `event`. `free`: nothing could be tried, so it spends no attempt.
 * - `throttled`: the destination asked for a pause. Spends no attempt; the whole sink is quiet for `afterMs`.
 * - `reject`: the same bytes can never succeed.
 * - `behind`: not sent, because an earlier event of its key was not delivered. Only of a sink that is `pipelined`.
 * - `gone`: the destination wants nothing any more. Spends no attempt; when a later probe hears the same, the sink is gone.
 */
export type Outcome =
  | (Answered & { readonly kind: 'delivered'; readonly appended?: Appended })
  | (Answered & {
      readonly kind: 'retry'
      readonly error: DeliveryError
      readonly scope?: 'destination' | 'event'
      readonly afterMs?: number
      readonly maxAttempts?: number
      readonly free?: boolean
    })
  | (Answered & { readonly kind: 'behind' })
  | (Answered & { readonly kind: 'throttled'; readonly error: DeliveryError; readonly afterMs: number })
  | (Answered & { readonly kind: 'reject'; readonly error: DeliveryError })
  | (Answered & { readonly kind: 'gone'; readonly error: DeliveryError })

/** What a sink says about an event that it has sent, or tried to. */
export type Answer = Exclude<Outcome, { readonly kind: 'behind' }>

/** The event is sent once more by an operator. */
export interface Replay {
  /** Number of the operation. */
  readonly operation: string
  /** The id that the event has in the log, when this time it carries a new one; else null. */
  readonly originalId: string | null
}

/** One try to deliver an event. */
export interface Attempt {
  readonly event: LogEvent
  /** From 1. */
  readonly number: number
  /** There when an operator sends the event once more. */
  readonly replay?: Replay
  /** It may have been sent before, without this relay knowing what came of it: another one died with it in hand. */
  readonly doubtful?: boolean
}

/** Whether a destination can be reached. */
export type Reach =
  | {
      readonly reached: true
      /** The certificate that ends first; null without TLS, or where none can be seen. */
      readonly certificateEnds: Date | null
    }
  | { readonly reached: false; readonly error: DeliveryError }

/**
 * A destination. One verb: it sends one event and answers what came of it.
 *
 * `deliver` is called for many events at once, up to the slots of the sink, never for two events of one key at once,
 * unless the sink is {@link Sink.pipelined}.
 * It must end soon after `signal` aborts: the relay is stopping, and whatever it answers then is not recorded as a failure.
 * It keeps its own total deadline, below {@link Sink.deadlineMs}. It should not throw; a throw counts as `retry` with `sink_threw`.
 */
export interface Sink extends AsyncDisposable {
  readonly name: string
  /** What it is: `webhook`, `kafka`, or a word of your own; stands in `postrider.sinks.kind`. */
  readonly kind: string
  /** After this many milliseconds a call of `deliver` has certainly ended, whatever the destination does. */
  readonly deadlineMs: number
  /**
   * It keeps the order of a key by itself: it is called for later events of a key, in order, before earlier ones have ended.
   * When one of them was not delivered, those of its key that were called for behind it must not be sent, and are answered
   * `behind`, all in one go. Default false.
   */
  readonly pipelined?: boolean
  deliver(attempt: Attempt, signal: AbortSignal): Promise<Outcome>
  /**
   * Whether the destination can be reached as for a delivery, without one: for people who look for what is wrong. The relay
   * never asks. It ends soon after `signal` aborts, or by a deadline of its own.
   */
  reach?(signal: AbortSignal): Promise<Reach>
}

/** A destination that is described by a row of `postrider.endpoints`. */
export interface Endpoint {
  /** `<sink>/<endpoint>`: its name as a sink. */
  readonly name: string
  /** The row, as JSON. */
  readonly settings: Readonly<Record<string, unknown>>
}

/**
 * Destinations that come, change and go while the relay runs: the endpoints of one sink. Each is a sink in every respect,
 * with its own lanes, circuit and limits. The relay opens those that are active, and closes them again.
 */
export interface SinkFamily extends AsyncDisposable {
  readonly name: string
  readonly kind: string
  /** @throws PostriderError `invalid_options`: this endpoint cannot be used; it stands still until its row is mended. */
  open(endpoint: Endpoint): Sink
}
