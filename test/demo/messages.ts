/** What the processes of the demo are told when they start, and what they report. */
import type { Messages } from '@postrider/relay'
import type { Fault } from './receiver-faults.ts'

export interface RelaySettings {
  readonly connectionString: string
  readonly name: string
  readonly sink: string
  readonly lanes: number
  readonly leaseMs: number
  readonly url: string
  readonly secret: string
}

export type RelayReport =
  | { readonly is: 'lane'; readonly change: Messages['postrider:lane']['change'] }
  | { readonly is: 'attempt'; readonly verdict: Messages['postrider:attempt']['verdict'] }
  | { readonly is: 'fault'; readonly message: string }

export interface ReceiverSettings {
  readonly connectionString: string
  readonly secret: string
  /** 0 takes a free one. */
  readonly port: number
  /** Orders in another currency are refused for good. */
  readonly currencies: readonly string[]
  readonly faults: readonly Fault[]
}

export type ReceiverReport =
  | { readonly is: 'listening'; readonly port: number }
  | {
      readonly is: 'request'
      readonly result: ReceiverResult
      readonly id: string
      readonly orderId: number | null
      readonly atMs: number
    }

/**
 * What became of a request: `taken`, or taken before; `refused` for good; not verified; or, on purpose,
 * `failed` with a 500, or `silent`: never answered.
 */
export type ReceiverResult = 'taken' | 'duplicate' | 'refused' | 'bad signature' | 'failed' | 'silent'
