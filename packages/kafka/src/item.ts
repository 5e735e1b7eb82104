import type { Attempt, Outcome } from '@postrider/relay'
import type { StreamRecord } from './records.ts'

/** An event between the call of `deliver` and its answer. */
export interface Item {
  readonly attempt: Attempt
  readonly topic: string
  /** null: it cannot be sent, and `refusal` says why. */
  readonly record: StreamRecord | null
  readonly refusal: Outcome | null
  readonly bytes: number
  readonly leastBytes: number
  /** By `performance.now()`: then it has its answer. */
  readonly expiresAt: number
  readonly answer: (outcome: Outcome) => void
  /** It is in the batch that the driver has now. */
  inFlight: boolean
  settled: boolean
}
