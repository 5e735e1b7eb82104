import { PostriderError } from '@postrider/schema'
import type { ReceivedEvent } from './event.ts'
import type { InboxTableOptions } from './table.ts'
import type { ConsumerDatabase, TransactionOf } from './transact.ts'
import { defaultMaxBodyBytes, wholeNumber, type VerifyOptions } from './verify.ts'

export interface ConsumerOptions<Db extends ConsumerDatabase>
  extends InboxTableOptions, Pick<VerifyOptions, 'toleranceSeconds' | 'maxBodyBytes' | 'now'> {
  /** 1 to 63 letters, digits, `_`, `.` or `-`. Each consumer takes every event once; another name is another consumer. */
  readonly name: string
  /** A pool of `pg`, a Kysely, or `{ inTransaction(work) }` over anything else. It stays yours: close it yourself. */
  readonly db: Db
  /**
   * What the event does, in a transaction (read committed) that commits when this ends, and is rolled back when it throws.
   * Called once for an event, until it has ended well. What it does outside of the transaction may happen again.
   */
  readonly handler: (event: ReceivedEvent, trx: TransactionOf<Db>) => Promise<void>
  /** Any of them may have signed a webhook, see {@link VerifyOptions.secrets}. Needed for webhooks, not for Kafka. */
  readonly secrets?: readonly string[]
  /** For the handler, and for each of its statements (`statement_timeout`). Milliseconds, 100 to 600,000; default 10,000. */
  readonly timeoutMs?: number
  /** For each wait for a lock (`lock_timeout`), that for the same event among them. Milliseconds, 10 to 600,000; default 5,000. */
  readonly lockTimeoutMs?: number
  /** `Retry-After` of an answer 500. Seconds, 0 to 86,400; default 5. */
  readonly retryAfterSeconds?: number
  /**
   * Hears of every event that failed, before the answer is given or the error thrown. `give-up` says that coming again cannot
   * help: a webhook is answered 422 with `postrider-retry: never`, so that the sender keeps it as a dead letter; a record of
   * Kafka is passed over, so keep it yourself first. It counts for `handler_failed`, `handler_timeout`, `rolled_back` and
   * `malformed_event`, not for a database that is away or busy. Whatever else it answers, and when it throws, the event comes again.
   * Default: a warning of the process for a webhook; for Kafka nothing, because the error is thrown.
   */
  readonly onFailure?: (failure: Failure) => Promise<FailureVerdict | void>
  /** Hears of requests that were refused before there was an event: signature, form, size. Default: nobody. */
  readonly onRefused?: (error: PostriderError) => void
}

export type FailureVerdict = 'retry' | 'give-up'

export interface Failure {
  /** `handler_failed` has what the handler threw as `cause`; an error of the database comes as it is. */
  readonly error: unknown
  /** Null when it cannot be read: `malformed_event`. */
  readonly event: ReceivedEvent | null
  readonly transport: ReceivedEvent['transport']
}

export interface ConsumerSettings {
  readonly name: string
  readonly timeoutMs: number
  readonly lockTimeoutMs: number
  readonly retryAfterSeconds: number
  readonly maxBodyBytes: number
}

const known = new Set<string>([
  'name',
  'db',
  'handler',
  'secrets',
  'schema',
  'table',
  'toleranceSeconds',
  'maxBodyBytes',
  'now',
  'timeoutMs',
  'lockTimeoutMs',
  'retryAfterSeconds',
  'onFailure',
  'onRefused',
] satisfies (keyof ConsumerOptions<ConsumerDatabase>)[])
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/** @throws PostriderError `invalid_options` with all problems together */
export function checkConsumerOptions<Db extends ConsumerDatabase>(options: ConsumerOptions<Db>): ConsumerSettings {
  const { name, timeoutMs = 10_000, lockTimeoutMs = 5_000, retryAfterSeconds = 5, maxBodyBytes = defaultMaxBodyBytes } = options
  const problems: string[] = []
  for (const option of Object.keys(options)) if (!known.has(option)) problems.push(`${option}: unknown option`)
  if (typeof name !== 'string' || !namePattern.test(name)) problems.push('name: expected 1 to 63 letters, digits, _ . or -')
  for (const option of ['handler', 'onFailure', 'onRefused'] as const) {
    const given = options[option]
    if (typeof given !== 'function' && (option === 'handler' || given !== undefined))
      problems.push(`${option}: expected a function`)
  }
  problems.push(
    ...wholeNumber('timeoutMs', timeoutMs, 100, 600_000),
    ...wholeNumber('lockTimeoutMs', lockTimeoutMs, 10, 600_000),
    ...wholeNumber('retryAfterSeconds', retryAfterSeconds, 0, 86_400),
  )
  if (problems.length > 0) {
    const list = problems.map((problem) => `- ${problem}`).join('\n')
    throw new PostriderError('invalid_options', `The consumer ${name} cannot start:\n${list}`, { problems })
  }
  return { name, timeoutMs, lockTimeoutMs, retryAfterSeconds, maxBodyBytes }
}
