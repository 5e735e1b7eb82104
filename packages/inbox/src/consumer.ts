import { inspect } from 'node:util'
import { isPostriderError, PostriderError, type ErrorCode, type TransactionHandle } from '@postrider/schema'
import { answerError, answerGivenUp, answerWith, type Answer } from './answer.ts'
import { consumeKafka, type KafkaConsumer } from './consume-kafka.ts'
import type { ReceivedEvent } from './event.ts'
import { eventFromRecord, type KafkaRecord } from './from-record.ts'
import { eventFromRequest } from './from-request.ts'
import { handleOnce, type Effect } from './handle.ts'
import { checkConsumerOptions, type ConsumerOptions, type Failure, type FailureVerdict } from './options.ts'
import { readBody } from './read-body.ts'
import {
  serveExpress,
  serveFastify,
  serveFetch,
  serveHono,
  serveNode,
  type ArrivingRequest,
  type ExpressHandler,
  type FastifyPlugin,
  type HonoHandler,
  type NodeListener,
  type Receive,
} from './serve.ts'
import { tableName } from './table.ts'
import { transactOf, type ConsumerDatabase } from './transact.ts'
import { createVerifier, type Verifier } from './verify.ts'

/** One handler for both transports. An event that comes by both, or often, takes effect once. */
export interface Consumer {
  readonly name: string
  /**
   * Handles one event, from wherever you have it.
   *
   * @throws PostriderError `handler_failed`, `handler_timeout`, `event_busy`, `inbox_missing`, `rolled_back`,
   *   `database_unavailable`; any other error of the database as it is
   */
  take(event: ReceivedEvent): Promise<Effect>
  /** @throws PostriderError `invalid_options` without secrets; so the others for HTTP */
  node(): NodeListener
  express(): ExpressHandler
  /** A plugin that answers POST at this path. */
  fastify(path: string): FastifyPlugin
  hono(): HonoHandler
  fetch(): (request: Request) => Promise<Response>
  kafka(): KafkaConsumer
}

/** Of a database that is away or busy, the event itself knows nothing: it is never given up for that. */
function concernsEvent(error: unknown): boolean {
  return isPostriderError(error) && ownFaults.has(error.code)
}

const ownFaults: ReadonlySet<ErrorCode> = new Set(['handler_failed', 'handler_timeout', 'rolled_back', 'malformed_event'])

/**
 * A consumer: verifies, runs the handler in a transaction with {@link once}, and answers as the sender understands it. It keeps
 * nothing open. The table of the inbox has to be there: {@link inboxTable}.
 *
 * @throws PostriderError `invalid_options` with all problems together
 */
export function createConsumer<Db extends ConsumerDatabase>(options: ConsumerOptions<Db>): Consumer {
  const settings = checkConsumerOptions(options)
  const { name, timeoutMs, retryAfterSeconds, maxBodyBytes } = settings
  const { secrets, toleranceSeconds, now, onFailure, onRefused } = options
  const table = tableName(options)
  const transact = transactOf(options.db)
  const handler = options.handler as (event: ReceivedEvent, trx: TransactionHandle) => Promise<void>
  const verifier = secrets === undefined ? null : verifierOf(secrets)

  const take = (event: ReceivedEvent): Promise<Effect> => handleOnce(event, transact, handler, table, settings)

  async function receive(verifier: Verifier, request: ArrivingRequest): Promise<Answer> {
    let event: ReceivedEvent | null = null
    let verified = false
    try {
      const source = request.body()
      const body = source instanceof Uint8Array ? source : await readBody(source, maxBodyBytes, timeoutMs)
      const signed = { headers: request.headers, body }
      verifier.verify(signed)
      verified = true
      event = eventFromRequest(signed)
      return answerWith(200, await take(event))
    } catch (error) {
      if (!verified && isPostriderError(error)) {
        warnOfThrow(() => onRefused?.(error))
        return answerError(error, retryAfterSeconds)
      }
      const verdict = await judge({ error, event, transport: 'webhook' })
      return verdict === 'give-up' ? answerGivenUp(error) : answerError(error, retryAfterSeconds)
    }
  }

  async function record(given: KafkaRecord): Promise<Effect | 'given-up'> {
    let event: ReceivedEvent | null = null
    try {
      event = eventFromRecord(given)
      return await take(event)
    } catch (error) {
      if ((await judge({ error, event, transport: 'kafka' })) === 'give-up') return 'given-up'
      throw error
    }
  }

  async function judge(failure: Failure): Promise<FailureVerdict> {
    if (onFailure === undefined) {
      if (failure.transport === 'webhook') warn(failure.error)
      return 'retry'
    }
    try {
      const verdict = await onFailure(failure)
      return verdict === 'give-up' && concernsEvent(failure.error) ? 'give-up' : 'retry'
    } catch (error) {
      warn(failure.error)
      warn(error)
      return 'retry'
    }
  }

  function warnOfThrow(hook: () => void): void {
    try {
      hook()
    } catch (error) {
      warn(error)
    }
  }

  /** Where nobody else hears of an error, the process does. */
  function warn(error: unknown): void {
    process.emitWarning(inspect(error), {
      type: 'PostriderWarning',
      detail: `consumer ${name}`,
    })
  }

  function verifierOf(given: readonly string[]): Verifier {
    return createVerifier({
      secrets: given,
      maxBodyBytes,
      ...(toleranceSeconds !== undefined && { toleranceSeconds }),
      ...(now !== undefined && { now }),
    })
  }

  function receiver(): Receive {
    if (verifier === null || secrets?.length === 0) {
      const problem = 'secrets: webhooks are signed, so a secret is needed'
      throw new PostriderError('invalid_options', `The consumer ${name}: ${problem}`, { problems: [problem] })
    }
    return (request) => receive(verifier, request)
  }

  return {
    name,
    take,
    node: () => serveNode(receiver()),
    express: () => serveExpress(receiver()),
    fastify: (path) => serveFastify(receiver(), path, maxBodyBytes),
    hono: () => serveHono(receiver()),
    fetch: () => serveFetch(receiver()),
    kafka: () => consumeKafka(record),
  }
}
