import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import type pg from 'pg'

/** Where a figure was measured; without it a figure says nothing. */
export interface Host {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  /** Load of the machine before the run, over a minute: above 0.5 somebody else was there. */
  readonly loadBefore: number
}

export interface Server {
  readonly postgres: string
  readonly settings: Readonly<Record<string, string>>
}

export interface Machine extends Host, Server {}

const told = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'data_checksums',
  'shared_buffers',
  'max_wal_size',
  'checkpoint_timeout',
  'autovacuum',
]

export function describeHost(): Host {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.versions.node,
    loadBefore: Math.round(loadavg()[0]! * 10) / 10,
  }
}

export async function describeServer(client: pg.Client): Promise<Server> {
  const { rows } = await client.query<{ version: string; settings: Record<string, string> }>(
    `select current_setting('server_version') as version,
       (select json_object_agg(name, current_setting(name)) from unnest($1::text[]) as name) as settings`,
    [told],
  )
  return { postgres: rows[0]!.version, settings: rows[0]!.settings }
}

export async function describeMachine(client: pg.Client): Promise<Machine> {
  return { ...describeHost(), ...(await describeServer(client)) }
}
