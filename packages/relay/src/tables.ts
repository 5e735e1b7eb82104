import type { DeliveryState } from '@postrider/schema'
import type { ColumnType, Generated } from 'kysely'

/** The tables that the relay reads and writes; migrations/*.sql are their source. Positions and fences are decimal strings. */
export interface Tables {
  sinks: SinksTable
  lanes: LanesTable
  checkpoints: CheckpointsTable
  deliveries: DeliveriesTable
  relays: RelaysTable
  migrations: { name: string }
}

interface SinksTable {
  name: string
  state: 'active' | 'paused'
  lanes: number
}

interface LanesTable {
  sink: string
  lane: number
  relay: string | null
  leased_until: ColumnType<Date, never, Date>
  anchor: string
}

interface CheckpointsTable {
  sink: string
  lane: number
  fence: string
  done: string
  target: string | null
  position: string
  relay: string | null
}

interface DeliveriesTable {
  sink: string
  lane: number
  position: string
  key: string | null
  state: DeliveryState
  attempts: number
  forgiven: number
  available_at: Date
}

interface RelaysTable {
  id: string
  name: string
  version: string
  started_at: Generated<Date>
  seen_at: Generated<Date>
}
