import { isPostriderError, PostriderError, type TransactionHandle } from '@postrider/schema'
import { within } from './deadline.ts'
import type { ReceivedEvent } from './event.ts'
import { take } from './once.ts'
import type { ConsumerSettings } from './options.ts'
import type { Transact } from './transact.ts'

/** What became of an event: it took effect now, or it had done so before. */
export type Effect = 'taken' | 'duplicate'

/** For begin, commit and the way to the database. */
const slackMs = 3_000

/**
 * One event in one transaction: remembered and handled, or neither.
 *
 * @throws PostriderError `handler_failed`, `handler_timeout`, `event_busy`, `inbox_missing`, `rolled_back`,
 *   `database_unavailable` when the transaction did not end in time; any other error of the database as it is
 */
export async function handleOnce(
  event: ReceivedEvent,
  transact: Transact,
  handler: (event: ReceivedEvent, trx: TransactionHandle) => Promise<void>,
  table: string,
  { name, timeoutMs, lockTimeoutMs }: ConsumerSettings,
): Promise<Effect> {
  const limits = { lockTimeoutMs, statementTimeoutMs: timeoutMs }
  const details = { id: event.id, type: event.type }
  const totalMs = timeoutMs + lockTimeoutMs + slackMs
  let late = false

  const handled = transact<Effect>(async (trx) => {
    refuseLate()
    if (!(await take(trx, name, event.id, table, limits))) return 'duplicate'
    const timeout = (): PostriderError =>
      new PostriderError('handler_timeout', `the handler of ${name} did not end within ${timeoutMs} ms`, details)
    await within(call(trx), timeoutMs, timeout)
    refuseLate()
    return 'taken'
  })
  return await within(handled, totalMs, () => {
    late = true
    return tooLate()
  })

  async function call(trx: TransactionHandle): Promise<void> {
    try {
      await handler(event, trx)
    } catch (cause) {
      if (isPostriderError(cause) && cause.code === 'not_in_transaction') throw cause
      const said = cause instanceof Error ? cause.message : String(cause)
      throw new PostriderError('handler_failed', `the handler of ${name} threw: ${said}`, details, { cause })
    }
  }

  /** After the failure was told the event may be under way again, so that a commit now could come out of order. */
  function refuseLate(): void {
    if (late) throw tooLate()
  }

  function tooLate(): PostriderError {
    return new PostriderError('database_unavailable', `the transaction of ${name} did not end within ${totalMs} ms`, details)
  }
}
