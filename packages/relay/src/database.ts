import { Kysely, PostgresDialect, sql, type PostgresPool, type PostgresPoolClient, type RawBuilder } from 'kysely'
import pg from 'pg'
import type { Tables } from './tables.ts'
import { within } from './wait.ts'

/** The database as the relay sees it, and the name of the schema for statements written as SQL. */
export interface Database {
  readonly db: Kysely<Tables>
  /** The schema, to be put before a table or function: sql`select … from ${schema}.events`. */
  readonly schema: RawBuilder<unknown>
  readonly schemaName: string
  /**
   * Grows whenever the server may have been restarted or replaced. After a crash, or behind a promoted standby,
   * transaction ids that were never flushed are given out again: a snapshot that was read before and stored nowhere
   * may then hide new events. Whatever is remembered of one life must not be used in another.
   */
  readonly life: () => number
  close(): Promise<void>
}

/** No statement of a relay takes longer than this, however large the backlog. */
const statementTimeoutMs = 30_000
/** Nor does it wait longer for a lock: an operator's open transaction must not hold up more than the lanes that it touches. */
const lockTimeoutMs = 250
/**
 * A relay asks its transactions' statements one right after the other. Where its host has gone without a word, the server would keep
 * the transaction with its locks until TCP finds out, by default after two hours, and no other relay could carry those lanes.
 */
const idleInTransactionMs = 5_000

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

/**
 * @param connections size of the pool
 * @param queryTimeoutMs when a statement without an answer is given up, because its connection must be dead; when that is
 *   longer than usual, statements may take so long
 * @param server shared by the pools of one relay: what one of them learns about the server, or the way to it, holds for all
 */
export function openDatabase(
  connectionString: string,
  schemaName: string,
  name: string,
  connections: number,
  queryTimeoutMs: number = statementTimeoutMs + 5_000,
  server: ServerLife = new ServerLife(),
): Database {
  const pool = new pg.Pool({
    ...connectionConfig(connectionString, name),
    query_timeout: queryTimeoutMs,
    max: connections,
    idleTimeoutMillis: 60_000,
  })
  // A connection that breaks needs no answer: its statement fails, the next one opens another. Unheard it would end the process.
  pool.on('error', () => server.doubt())
  pool.on('connect', (client) => client.on('error', () => server.doubt()))
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: prepared(pool, server, Math.max(statementTimeoutMs, queryTimeoutMs - 5_000)) }),
  })
  return {
    db: db.withSchema(schemaName),
    schema: sql.raw(schemaName),
    schemaName,
    life: () => server.life,
    // Half-open connections may never say goodbye.
    close: () => within(5_000, db.destroy()),
  }
}

/** Notices that the server may be another than before: by a connection that broke, or by its own start time. */
export class ServerLife {
  life = 0
  #startedAt: string | undefined

  doubt(): void {
    this.life++
  }

  met(startedAt: string | undefined): void {
    if (this.#startedAt !== undefined && this.#startedAt !== startedAt) this.life++
    this.#startedAt = startedAt
  }
}

/**
 * The plans of a relay must not depend on statistics of tables that are empty and huge by turns:
 * every statement has one right index, and takes it.
 */
export const planSettings: string =
  'set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off; set jit = off;'

/** A session keeps what it began with: one that may not write is given up, for the next may. */
const readOnly = '25006'

const sessionSettings = `${planSettings} set idle_in_transaction_session_timeout = ${idleInTransactionMs}; set client_min_messages = warning; set default_transaction_isolation = 'read committed'`

/** Prepares each new session, and gives each distinct statement a name, so that PostgreSQL parses and plans it once in a session. */
function prepared(pool: pg.Pool, server: ServerLife, timeoutMs: number): PostgresPool {
  const clients = new WeakMap<pg.PoolClient, { readonly wrapped: PostgresPoolClient; readonly life: number }>()
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
      const client = await connectInThisLife()
      const known = clients.get(client)
      if (known !== undefined) return known.wrapped
      try {
        const lockMs = timeoutMs > statementTimeoutMs ? timeoutMs : lockTimeoutMs
        await client.query(`set statement_timeout = ${timeoutMs}; set lock_timeout = ${lockMs}; ${sessionSettings}`)
        const { rows } = await client.query<{ started: string }>('select pg_postmaster_start_time()::text as started')
        server.met(rows[0]?.started)
      } catch (error) {
        // Given back, or its place in the pool would be gone for ever.
        client.release(true)
        throw error
      }
      /** What made it useless: nothing is asked of it any more, or the ROLLBACK of a transaction would wait as long again. */
      let broken: Error | null = null
      let discarded = false
      const wrapped = {
        async query(text: string, values: readonly unknown[]) {
          if (broken !== null) throw broken
          try {
            // Parameterless statements may hold several commands, which cannot be prepared.
            return await (values.length === 0
              ? client.query(text)
              : client.query({ name: nameOf(text), text, values: [...values] }))
          } catch (error) {
            // Not an answer of the server: nobody knows what this connection still waits for.
            if (!(error instanceof pg.DatabaseError)) {
              broken = error instanceof Error ? error : new Error(String(error))
              server.doubt()
            } else if (error.code === readOnly) discarded = true
            throw error
          }
        },
        release: (discard?: boolean) => client.release(broken !== null || discarded || discard),
      } as unknown as PostgresPoolClient
      clients.set(client, { wrapped, life: server.life })
      return wrapped
    },
  }

  /**
   * A connection from before the server was in doubt is not asked any more: where one was cut without a word, so were the
   * others, and each would be found out by a timeout of its own.
   */
  async function connectInThisLife(): Promise<pg.PoolClient> {
    for (;;) {
      const client = await pool.connect()
      const known = clients.get(client)
      if (known === undefined || known.life === server.life) return client
      client.release(true)
    }
  }
}
