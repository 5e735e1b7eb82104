import { parseArgs } from 'node:util'
import { UsageError } from '../options.ts'

export interface GraduateOptions {
  /** Orders of the time before Kafka; the shop goes on writing until the end. */
  readonly events: number
  /** The result as one line of JSON on stdout, and all words on stderr. */
  readonly json: boolean
  /** When all must be over, from the moment when the servers answer. */
  readonly deadlineMs: number
}

export const help = `npm run demo:graduate [-- options]

  A shop writes orders from the first moment to the last, and a consumer bills them. It gets them by webhook; then a Kafka
  comes, is filled and compared; then the consumer moves there, and back, and there again. In the end every order of the
  shop is compared with what it did at the consumer. Real PostgreSQL, real Kafka, the real program; all on 127.0.0.1.

  --events N   orders of the time before Kafka, 100 to 50,000 (default 2,000); the backfill has to carry them
  --json       progress on stderr, the result as one line of JSON, alone on stdout
  --help       this text

  Needs Java 17 or later for Kafka (JAVA_HOME, or java on the PATH). The first run fetches Kafka from Maven Central.
  The result counts orders, which are events. effects: what they did at the consumer. missing: committed, without effect.
  twice: with more than one. invented: never committed. outOfOrder: after a later one of their customer.
  byWebhook, byKafka: effects by the road that brought them first; byBoth: came by both, and took effect once.
  Exit status: 0 when every promise was kept; 1 otherwise, or when something cannot start; 2 for wrong options.
`

/** @throws UsageError */
export function readOptions(args: readonly string[]): GraduateOptions | 'help' {
  const values = parse(args)
  if (values.help === true) return 'help'
  const events = Number(values.events ?? 2_000)
  if (!Number.isInteger(events) || events < 100 || events > 50_000) {
    throw new UsageError(`--events: expected a whole number from 100 to 50,000, got ${values.events}`)
  }
  return { events, json: values.json === true, deadlineMs: 90_000 + events * 10 }
}

function parse(args: readonly string[]): { readonly events?: string; readonly json?: boolean; readonly help?: boolean } {
  try {
    const options = { events: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
