import { CompiledQuery, Kysely, PostgresDialect, sql, type PostgresPool, type PostgresPoolClient, type RawBuilder } from 'kysely'
import pg from 'pg'
import type { Tables } from './tables.ts'

/** The database as the relay sees it, and the name of the schema for statements written as SQL. */
export interface Database {
  readonly db: Kysely<Tables>
  /** The schema, to be put before a table or function: sql`select … from ${schema}.events`. */
  readonly schema: RawBuilder<unknown>
  readonly schemaName: string
  close(): Promise<void>
}

/** No statement of a relay takes longer than this, however large the backlog. */
const statementTimeoutMs = 30_000

/** How every connection of a relay is made: each wait has a deadline, a dead peer is noticed. */
export function connectionConfig(connectionString: string, name: string): pg.ClientConfig {
  return {
    connectionString,
    application_name: `postrider ${name}`.slice(0, 63),
    connectionTimeoutMillis: 5_000,
    query_timeout: statementTimeoutMs + 5_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
  }
}

export function openDatabase(connectionString: string, schemaName: string, name: string, connections: number): Database {
  const pool = new pg.Pool({ ...connectionConfig(connectionString, name), max: connections, idleTimeoutMillis: 60_000 })
  // An idle connection that breaks needs no answer: the next statement opens another.
  pool.on('error', () => undefined)
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: prepared(pool), onCreateConnection: (connection) => prepareSession(connection) }),
  })
  return { db: db.withSchema(schemaName), schema: sql.raw(schemaName), schemaName, close: () => db.destroy() }
}

/**
 * The plans of a relay must not depend on statistics of tables that are empty and huge by turns:
 * every statement has one right index, and takes it.
 */
async function prepareSession(connection: { executeQuery(query: CompiledQuery): Promise<unknown> }): Promise<void> {
  await connection.executeQuery(
    CompiledQuery.raw(
      `set statement_timeout = ${statementTimeoutMs}; set plan_cache_mode = force_generic_plan;` +
        'set enable_seqscan = off; set enable_bitmapscan = off; set jit = off; set client_min_messages = warning',
    ),
  )
}

/** Gives each distinct statement a name, so that PostgreSQL parses and plans it once in a session. */
function prepared(pool: pg.Pool): PostgresPool {
  const clients = new WeakMap<pg.PoolClient, PostgresPoolClient>()
  const names = new Map<string, string>()
  const nameOf = (text: string): string => {
    const known = names.get(text)
    if (known !== undefined) return known
    const name = `p${names.size + 1}`
    names.set(text, name)
    return name
  }
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect()
      const known = clients.get(client)
      if (known !== undefined) return known
      const wrapped = {
        // Parameterless statements may hold several commands, which cannot be prepared.
        query: (text: string, values: readonly unknown[]) =>
          values.length === 0 ? client.query(text) : client.query({ name: nameOf(text), text, values: [...values] }),
        release: (broken?: boolean) => client.release(broken),
      } as unknown as PostgresPoolClient
      clients.set(client, wrapped)
      return wrapped
    },
  }
}
