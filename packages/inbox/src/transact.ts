import { isPostriderError, PostriderError, run, type TransactionHandle } from '@postrider/schema'
import { sqlState } from './query.ts'

/** A pool of `pg`, by shape. */
export interface PoolLike {
  readonly totalCount: number
  connect(): Promise<PoolClientLike>
}

export interface PoolClientLike {
  query(text: string, values?: string[]): PromiseLike<unknown>
  release(destroy?: boolean): void
  on(event: 'error', listener: () => void): unknown
  removeListener(event: 'error', listener: () => void): unknown
}

/** A Kysely, by shape. */
export interface KyselyLike {
  transaction(): { execute<R>(work: (trx: unknown) => Promise<R>): Promise<R> }
}

/** Any other library: `inTransaction` commits when the work ends, and rolls back when it throws. */
export interface OtherDatabase {
  inTransaction<R>(work: (trx: unknown) => Promise<R>): Promise<R>
}

export type ConsumerDatabase = PoolLike | KyselyLike | OtherDatabase

/** What a handler gets from such a database: `PoolClient` of a `pg.Pool`, `Transaction<DB>` of a `Kysely<DB>`. */
export type TransactionOf<Db> = Db extends {
  transaction(): { execute(work: (trx: infer Trx) => Promise<unknown>): Promise<unknown> }
}
  ? Trx
  : Db extends { inTransaction(work: (trx: infer Trx) => Promise<unknown>): Promise<unknown> }
    ? Trx
    : Db extends { connect: { (): Promise<infer Client>; (callback: never): void } }
      ? unknown extends Client
        ? Db extends { connect(): Promise<infer Only> }
          ? Only
          : never
        : Client
      : never

/** Runs work in a transaction, which has committed when this answers, and has not when it throws. */
export type Transact = <R>(work: (trx: TransactionHandle) => Promise<R>) => Promise<R>

/** @throws PostriderError `invalid_options` */
export function transactOf(db: ConsumerDatabase): Transact {
  if (hasMethod(db, 'transaction')) {
    const kysely = db as { transaction(): { execute: Transact } }
    return (work) => kysely.transaction().execute(probed(work))
  }
  if (hasMethod(db, 'inTransaction')) {
    const other = db as { readonly inTransaction: Transact }
    return (work) => other.inTransaction(probed(work))
  }
  if (hasMethod(db, 'connect') && 'totalCount' in db) return transactOnPool(db)
  const problem = 'db: expected a pool of pg, a Kysely, or an object with inTransaction(work)'
  throw new PostriderError('invalid_options', problem, { problems: [problem] })
}

function transactOnPool(pool: PoolLike): Transact {
  return async (work) => {
    const client = await pool.connect()
    // A connection that breaks while nobody waits for it would end the process; the next query on it rejects anyway.
    const ignore = (): void => undefined
    client.on('error', ignore)
    let destroy = true
    try {
      await client.query('begin isolation level read committed')
      const result = await work(client)
      requireCommitted(await client.query('commit'))
      destroy = false
      return result
    } catch (error) {
      destroy = isTimeout(error) || !(await rollback(client))
      throw error
    } finally {
      client.removeListener('error', ignore)
      client.release(destroy)
    }
  }
}

/** False when the connection is of no use any more. */
async function rollback(client: PoolClientLike): Promise<boolean> {
  try {
    await client.query('rollback')
    return true
  } catch {
    return false
  }
}

/** A handler that hangs may still use the connection, so it must not go back to the pool; closing it rolls back. */
function isTimeout(error: unknown): boolean {
  return isPostriderError(error) && error.code === 'handler_timeout'
}

/** PostgreSQL answers COMMIT of a failed transaction with success and the tag ROLLBACK. */
function requireCommitted(answer: unknown): void {
  const tag = (answer as { readonly command?: unknown } | undefined)?.command
  if (tag === 'ROLLBACK') throw rolledBack()
}

/** Where the tag of the COMMIT is out of reach, a last statement asks whether the transaction has failed. */
function probed<R>(work: (trx: TransactionHandle) => Promise<R>): (trx: TransactionHandle) => Promise<R> {
  return async (trx) => {
    const result = await work(trx)
    try {
      await run(trx, 'select 1', [], 'postrider.probe')
    } catch (cause) {
      throw sqlState(cause) === '25P02' ? rolledBack(cause) : cause
    }
    return result
  }
}

function rolledBack(cause?: unknown): PostriderError {
  const message = 'a statement of the handler failed and its error was caught, so nothing of the transaction was kept'
  return new PostriderError('rolled_back', message, {}, cause === undefined ? undefined : { cause })
}

function hasMethod(db: object, name: string): boolean {
  return typeof (db as Readonly<Record<string, unknown>> | null)?.[name] === 'function'
}
