/** What the processes of this demo are told when they start and later, and what they report. */
import type { Sales } from './shop/customers.ts'

export interface ShopSettings {
  readonly connectionString: string
  /** Orders that are placed as fast as it goes; from then on so many a second. */
  readonly history: number
  readonly perSecond: number
}

export type ShopReport = { readonly is: 'sales'; readonly pid: number } & Sales

export type Road = 'webhook' | 'kafka'

export interface BillingSettings {
  readonly connectionString: string
  readonly secret: string
}

/** `read`: as a member of a group, from where that group goes on. */
export type BillingOrder =
  | { readonly do: 'read'; readonly brokers: readonly string[]; readonly topic: string; readonly group: string }
  | { readonly do: 'stop reading' }

export type BillingReport =
  | { readonly is: 'listening'; readonly port: number }
  | { readonly is: 'reading' }
  | { readonly is: 'no longer reading' }
  | ({ readonly is: 'intake' } & Intake)

export interface Intake {
  /** Events that took effect, by the road by which they came first. */
  readonly webhook: number
  readonly kafka: number
  /** Different events that came by each road. */
  readonly both: number
}
