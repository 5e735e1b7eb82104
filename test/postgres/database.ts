import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { inject } from 'vitest'
import { administer, databaseUrl } from './cluster.ts'

export interface TestDatabase extends AsyncDisposable {
  readonly url: string
  readonly name: string
  /** Major version of the server. */
  readonly version: number
  /** A new connection; closed with the database. */
  client(): Promise<pg.Client>
}

export interface TestDatabaseOptions {
  /** With the schema of Postrider in it. Default true. */
  readonly migrated?: boolean
}

/**
 * A database of one's own on the cluster of the project, made from the migrated template in about 10 ms.
 * `await using db = await testDatabase()` drops it at the end, whoever is still connected.
 */
export async function testDatabase({ migrated = true }: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const cluster = inject('postgres')
  if (migrated && cluster.migrationError !== undefined) {
    throw new Error(`The template database could not be migrated: ${cluster.migrationError}`)
  }
  const name = `postrider_test_${randomBytes(6).toString('hex')}`
  // Copying the files is the faster way for a small template; PostgreSQL 14 knows no other.
  const strategy = cluster.version >= 15 ? ' strategy file_copy' : ''
  const empty = `template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'`
  await administer(cluster.url, `create database ${name} ${migrated ? `template ${cluster.template}` : empty}${strategy}`)
  const url = databaseUrl(cluster.url, name)
  const clients: pg.Client[] = []
  return {
    url,
    name,
    version: cluster.version,
    async client() {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
      clients.push(client)
      await client.connect()
      return client
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(clients.map((client) => client.end()))
      const admin = new pg.Client({ connectionString: cluster.url, connectionTimeoutMillis: 10_000 })
      await admin.connect()
      try {
        await forgetPrepared(admin, url, name)
        await sessionsEnd(admin, name)
        await admin.query(`drop database ${name} with (force)`)
      } finally {
        await admin.end()
      }
    },
  }
}

/**
 * A pool says that it has ended before its connections have: one that is terminated then has nobody to hear of it, and that
 * would count as a fault of whatever test runs. So they get a moment.
 */
async function sessionsEnd(admin: pg.Client, database: string): Promise<void> {
  for (const end = performance.now() + 500; performance.now() < end; await sleep(10)) {
    const { rowCount } = await admin.query('select from pg_stat_activity where datname = $1', [database])
    if (rowCount === 0) return
  }
}

/** A prepared transaction outlives its session and would keep the database from being dropped. */
async function forgetPrepared(admin: pg.Client, url: string, database: string): Promise<void> {
  const { rows } = await admin.query<{ gid: string }>('select gid from pg_prepared_xacts where database = $1', [database])
  if (rows.length > 0) await administer(url, ...rows.map(({ gid }) => `rollback prepared ${pg.escapeLiteral(gid)}`))
}
