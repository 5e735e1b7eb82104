/** What the commands read; migrations/0011_views.sql and 0003_sinks.sql are the source. Counts and positions come as decimal strings. */
export interface Views {
  sink_status: {
    sink: string
    kind: string
    family: string | null
    tenant: string | null
    state: 'pending' | 'active' | 'degraded' | 'paused' | 'disabled' | 'gone'
    since: Date | null
    by: string | null
    reason: string | null
    until: Date | null
    circuit: 'closed' | 'open' | 'half_open'
    quiet_until: Date | null
    concurrency: number
    rate: number | null
    limits_are_live: boolean
    pending: string
    scheduled: string
    retrying: string
    blocked: string
    dead: string
    oldest_pending_at: Date | null
    counted_all: boolean
  }
  recent_rates: { sink: string; delivered: number; failed: number }
  lanes: { sink: string; lane: number; relay: string | null; leased_until: Date }
  relays: { id: string; name: string; version: string; started_at: Date; seen_at: Date }
  dead_letters: {
    sink: string
    position: string
    event_id: string
    type: string | null
    key: string | null
    attempts: number
    error_code: string | null
    error: string | null
    dead_since: Date
    created_at: Date | null
  }
}
