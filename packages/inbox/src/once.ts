import { PostriderError, requireTransaction, type TransactionHandle } from '@postrider/schema'
import { runOn, sqlState, type Row } from './query.ts'
import { tableName, type InboxTableOptions } from './table.ts'

/** Limits of a transaction, set by the statement that begins its work; they hold until it ends. */
export interface TransactionLimits {
  readonly lockTimeoutMs: number
  readonly statementTimeoutMs: number
}

/**
 * Whether the event is new to this consumer; if so, remembers it in the transaction. Do the work in the same transaction, and
 * do nothing when it is not new: the event takes effect once, however often and by however many roads it comes.
 *
 * While another transaction works on the same event, this waits for it: then the event is not new when that one has committed,
 * and new when it has rolled back. At `repeatable read` and above PostgreSQL answers 40001 in the first case: begin again.
 *
 * @throws PostriderError `not_in_transaction`; `inbox_missing`; `event_busy` when the `lock_timeout` of the transaction passed
 */
export async function once(
  trx: TransactionHandle,
  consumer: string,
  eventId: string,
  options: InboxTableOptions = {},
): Promise<boolean> {
  requireTransaction(trx, 'once')
  return await take(trx, consumer, eventId, tableName(options))
}

/** {@link once}, in a transaction that is known to be one, and with its limits in the same round trip. */
export async function take(
  trx: TransactionHandle,
  consumer: string,
  eventId: string,
  table: string,
  limits?: TransactionLimits,
): Promise<boolean> {
  const values = [consumer, eventId]
  let condition = ''
  if (limits !== undefined) {
    values.push(String(limits.lockTimeoutMs), String(limits.statementTimeoutMs))
    // Volatile, so it runs before the row is made; and the wait for a lock reads the setting when it begins.
    condition = `where pg_catalog.set_config('lock_timeout', $3, true) is not null
  and pg_catalog.set_config('statement_timeout', $4, true) is not null `
  }
  const statement = `insert into ${table} (consumer, event_id) select $1::text, $2::text ${condition}on conflict do nothing returning true as taken`
  let rows: readonly Row[]
  try {
    rows = await runOn(trx, statement, values, 'postrider.once')
  } catch (cause) {
    throw translate(cause, eventId, table)
  }
  return rows.length === 1
}

function translate(cause: unknown, id: string, table: string): unknown {
  switch (sqlState(cause)) {
    case '42P01':
      return new PostriderError('inbox_missing', `there is no table ${table}`, { id }, { cause })
    case '55P03':
      return new PostriderError('event_busy', `another transaction works on the event ${id}`, { id }, { cause })
    default:
      return cause
  }
}
