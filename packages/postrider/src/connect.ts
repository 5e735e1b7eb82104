import { PostriderError, type ErrorCode } from '@postrider/schema'
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely'
import pg from 'pg'
import type { Settings } from './config.ts'
import type { Views } from './views.ts'

const connectMs = 5_000
const statementMs = 15_000
/** On our side of the line, in case the server does not answer at all. */
const answerMs = statementMs + 5_000
/** A migration may rewrite a table; its locks have a deadline of their own. */
const migrationMs = 600_000

type Target = Pick<Settings, 'database' | 'schema'>

/** The database for one command; every statement has a deadline. */
export interface Database extends AsyncDisposable {
  /** Runs statements in one transaction. */
  transaction<T>(work: (trx: Transaction<Views>) => Promise<T>): Promise<T>
}

/** Nothing is opened until the first transaction. Errors come as PostriderError `database_unavailable` or `schema_missing` where they are that. */
export function openDatabase({ database: { url }, schema }: Target, command: string): Database {
  const pool = new pg.Pool({ ...connection(url, command, answerMs), max: 1 })
  pool.on('error', () => undefined) // The next statement tells.
  pool.on('connect', (client) => client.on('error', () => undefined)) // Also one that breaks between two statements.
  const db = new Kysely<Views>({ dialect: new PostgresDialect({ pool }) })
  return {
    async transaction(work) {
      try {
        return await db.transaction().execute(async (trx) => {
          // In the transaction, not in the session: a transaction pooler would hand the session to somebody else.
          await sql`select set_config('statement_timeout', ${String(statementMs)}, true)`.execute(trx)
          return await work(trx.withSchema(schema))
        })
      } catch (error) {
        throw explain(error, url, schema)
      }
    },
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

/** One session, for migrations, which hold a session lock: round the pooler, where there is a way round it. */
export async function openSession(
  { database: { url, directUrl }, schema }: Target,
  command: string = 'migrate',
): Promise<pg.Client & AsyncDisposable> {
  const target = directUrl === false ? url : directUrl
  const client = new pg.Client(connection(target, command, migrationMs))
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (error) {
    await client.end().catch(() => undefined)
    throw explain(error, target, schema)
  }
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

function connection(connectionString: string, command: string, timeoutMs: number): pg.ClientConfig {
  return {
    connectionString,
    application_name: `postrider ${command}`,
    connectionTimeoutMillis: connectMs,
    query_timeout: timeoutMs,
  }
}

/** Undefined table, function or schema. */
const missing: ReadonlySet<string> = new Set(['42P01', '42883', '3F000'])
/** Connection lost or refused by the server (08, 57P), a wrong user or password (28), no such database, too many connections. */
const away = /^(?:08|28|57P|3D000|53300)/

function explain(error: unknown, url: string, schema: string): unknown {
  if (!(error instanceof Error)) return error
  const state = 'code' in error ? String(error.code) : ''
  if (missing.has(state)) {
    return new PostriderError(
      'schema_missing',
      `the schema "${schema}" is not there, or older than this program (${error.message})`,
      {},
      { cause: error },
    )
  }
  const refused = error instanceof pg.DatabaseError ? refusalOf(error) : null
  if (refused !== null) return refused
  if (error instanceof pg.DatabaseError ? away.test(state) : isLost(error)) {
    return new PostriderError(
      'database_unavailable',
      `PostgreSQL at ${placeOf(url)} cannot be reached: ${reasonOf(error)}`,
      {},
      { cause: error },
    )
  }
  return error
}

/** What functions of the schema refuse, with DETAIL `{"path": "since"}` and a hint. */
const refusals: Readonly<Record<string, ErrorCode>> = {
  PR001: 'invalid_event',
  PR004: 'invalid_filter',
  PR005: 'invalid_endpoint',
  PR006: 'cutover_refused',
  PR007: 'sink_in_use',
}

function refusalOf(error: pg.DatabaseError): PostriderError | null {
  const code = refusals[error.code ?? '']
  if (code === undefined) return null
  const { path, unknown, index } = JSON.parse(error.detail ?? '{}') as { path?: string; unknown?: boolean; index?: number }
  const message = error.hint === undefined || error.hint === '' ? error.message : `${error.message}. ${error.hint}`
  const details = { ...(path !== undefined && { path }), ...(index !== undefined && { index }) }
  return new PostriderError(unknown === true ? 'not_found' : code, message, details, { cause: error })
}

/** Errors of the system (ECONNREFUSED, ENOTFOUND, …) and what pg says when a connection ends or does not come about. */
function isLost(error: Error): boolean {
  return (
    error instanceof AggregateError ||
    'syscall' in error ||
    /^(?:timeout expired|Connection terminated|timeout exceeded)/i.test(error.message)
  )
}

function reasonOf(error: Error): string {
  return error instanceof AggregateError
    ? error.errors.map((one) => (one instanceof Error ? one.message : String(one))).join(', ')
    : error.message
}

/** Host and database, without user and password. */
function placeOf(url: string): string {
  const { host, pathname } = new URL(url)
  return `${host}${pathname}`
}
