/**
 * The tables for which the relay builds statements; those of the road itself are written as SQL.
 * migrations/*.sql are the source. Fences are decimal strings.
 */
export interface Tables {
  checkpoints: { sink: string; lane: number; fence: string; relay: string | null }
  relays: { id: string; seen_at: Date }
  migrations: { name: string }
}
