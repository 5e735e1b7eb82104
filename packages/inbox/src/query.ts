import { run, type RawQuery, type TransactionHandle } from '@postrider/schema'

/** Whatever runs a statement, in a transaction or on its own: a pg client or pool, Kysely or its transaction. */
export type QueryHandle =
  | { query(text: string, values: string[]): PromiseLike<unknown> }
  | { executeQuery(query: RawQuery): Promise<unknown> }

export type Row = Readonly<Record<string, unknown>>

/** Runs a statement and answers its rows. */
export async function runOn(handle: QueryHandle, sql: string, values: string[], name: string): Promise<readonly Row[]> {
  // Kysely is known by `isTransaction`, whether it is one or not; a pool is as good as a client here.
  const answer = (await run(handle as TransactionHandle, sql, values, name)) as { readonly rows?: readonly Row[] } | undefined
  return answer?.rows ?? []
}

/** The SQLSTATE of an error of PostgreSQL. */
export function sqlState(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}
