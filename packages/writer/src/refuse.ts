import { type ErrorCode, type ErrorDetails, PostriderError } from '@postrider/schema'

/** Which event of the call is meant. */
export interface Place {
  /** From 0. */
  readonly index: number
  readonly type: string
}

/** Throws: every error about an event names the event, and the path and the limit where there is one. */
export function refuse(code: ErrorCode, place: Place, problem: string, details: ErrorDetails = {}, cause?: unknown): never {
  throw new PostriderError(
    code,
    `event ${place.index} (${place.type}): ${problem}`,
    { index: place.index, type: place.type, ...details },
    cause === undefined ? undefined : { cause },
  )
}
