import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import type pg from 'pg'

/** What a figure was measured on; without it a figure says nothing. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  readonly postgres: string
  /** Load of the machine before the run, over a minute: above 0.5 somebody else was there. */
  readonly loadBefore: number
  readonly settings: Readonly<Record<string, string>>
}

const told = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'shared_buffers',
  'max_wal_size',
  'checkpoint_timeout',
  'autovacuum',
]

export async function describeMachine(client: pg.Client): Promise<Machine> {
  const { rows } = await client.query<{ version: string; settings: Record<string, string> }>(
    `select current_setting('server_version') as version,
       (select json_object_agg(name, current_setting(name)) from unnest($1::text[]) as name) as settings`,
    [told],
  )
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.versions.node,
    postgres: rows[0]!.version,
    loadBefore: Math.round(loadavg()[0]! * 10) / 10,
    settings: rows[0]!.settings,
  }
}
