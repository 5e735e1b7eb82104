import { PostriderError } from './errors.ts'

/**
 * The transaction in which the business rows are written. Described by shape, so that neither writer nor inbox depends on a driver.
 * A pool and a root Kysely are not assignable: each of their queries commits on its own.
 */
export type TransactionHandle = KyselyTransaction | QueryTransaction

/** A `Transaction` or `ControlledTransaction` of Kysely. */
export interface KyselyTransaction {
  readonly isTransaction: true
  executeQuery(query: RawQuery): Promise<unknown>
}

/** A `pg` client after BEGIN, or anything else with this method whose queries run in one open transaction. */
export interface QueryTransaction {
  query(text: string, values: string[]): PromiseLike<unknown>
  /** `pg.Pool` has this number; a client has not. */
  readonly totalCount?: never
}

/** Kysely's `CompiledQuery` for SQL that is already written. */
export interface RawQuery {
  readonly sql: string
  readonly parameters: readonly string[]
  readonly query: { readonly kind: 'RawNode'; readonly sqlFragments: readonly string[]; readonly parameters: readonly never[] }
  readonly queryId: { readonly queryId: string }
}

/** What a handle may turn out to be at run time. */
interface AnyHandle {
  readonly isTransaction?: unknown
  readonly executeQuery?: unknown
  readonly query?: unknown
  readonly totalCount?: unknown
  /** A pg client in pipeline mode sends BEGIN without waiting for it. */
  readonly pipeline?: unknown
  /** Of pg since 2026: `I` idle, `T` in a transaction, `E` in a failed one, null not known. */
  getTransactionStatus?(): unknown
}

/**
 * Refuses a handle whose queries would commit on their own, as far as a handle shows it. `verb` is the function that was
 * given the handle, for the message.
 *
 * @throws PostriderError `not_in_transaction`
 */
export function requireTransaction(handle: TransactionHandle, verb: string): void {
  const fault = faultOf(handle, verb)
  if (fault !== undefined) throw new PostriderError('not_in_transaction', fault)
}

/**
 * Runs a statement on a handle. `name` stands for it among the queries of Kysely. Answers what the driver answers: that of `pg`
 * and that of Kysely have `rows`.
 */
export function run(handle: TransactionHandle, sql: string, values: string[], name: string): PromiseLike<unknown> {
  if (isKysely(handle)) return handle.executeQuery(rawQuery(sql, values, name))
  return handle.query(sql, values)
}

function faultOf(handle: AnyHandle | null | undefined, verb: string): string | undefined {
  if (
    handle === null ||
    handle === undefined ||
    (typeof handle.query !== 'function' && typeof handle.executeQuery !== 'function')
  ) {
    return `${verb} needs a transaction first: that of Kysely, a pg client after BEGIN, or an object with query(text, values)`
  }
  if (handle.isTransaction === false) {
    return `${verb} was given Kysely itself, where every query commits on its own: use db.transaction().execute(async (trx) => …) and give it trx`
  }
  if (typeof handle.totalCount === 'number') {
    return `${verb} was given a pool, where every query may take another connection: client = await pool.connect(), await client.query('BEGIN'), and give it that client`
  }
  if (handle.pipeline !== true && handle.getTransactionStatus?.() === 'I') {
    return `${verb} was given a pg client that is in no transaction: await client.query('BEGIN') first`
  }
  return undefined
}

function isKysely(handle: TransactionHandle): handle is KyselyTransaction {
  return 'isTransaction' in handle && 'executeQuery' in handle
}

function rawQuery(sql: string, parameters: readonly string[], name: string): RawQuery {
  return {
    sql,
    parameters,
    query: { kind: 'RawNode', sqlFragments: [sql], parameters: [] },
    // An object of its own for each run: plugins of Kysely keep what belongs to a query under it.
    queryId: { queryId: name },
  }
}
