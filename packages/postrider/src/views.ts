/** What the commands read; migrations/0010_views.sql and 0003_sinks.sql are the source. Counts and positions come as decimal strings. */
export interface Views {
  backlog: {
    sink: string
    state: 'pending' | 'active' | 'paused' | 'disabled' | 'gone'
    pending: string
    scheduled: string
    retrying: string
    blocked: string
    dead: string
    oldest_pending_at: Date | null
    counted_all: boolean
  }
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
