import { parseArgs } from 'node:util'
import { faults, type Fault } from './receiver-faults.ts'

export interface DemoOptions {
  /** Events that will be committed; those that are rolled back come on top. */
  readonly events: number
  /** Nobody watches: no pauses for the eye, and the result as one line of JSON. */
  readonly json: boolean
  /** The commits are spread over this time. */
  readonly writingMs: number
  /** When all must be over, from the start. */
  readonly deadlineMs: number
  /** What the receiver does wrong, to see that it is noticed. */
  readonly faults: readonly Fault[]
}

export const help = `npm run demo [-- options]

  An order service writes orders and events in one transaction, a relay carries the events to a receiver, and
  nothing is spared: requests fail, answers are lost, the relay and the receiver are killed. In the end every event is
  compared with what the service noted at its COMMIT. Real PostgreSQL, real HTTP, real processes, all on 127.0.0.1.

  --events N   how many events to commit, 20 to 100,000 (default 600)
  --json       unattended and faster; progress on stderr, the result as one line of JSON, last on stdout
  --help       this text

  The result: committed, rolledBack, delivered and duplicates count events; delivered are different ones.
  lost: committed, never taken by the receiver. phantom: taken, never committed.
  outOfOrder: taken after a later event of its order. badSignatures: requests that the receiver could not verify.
  p50Ms, p99Ms: from the moment before COMMIT to the first request that the receiver took, outages included.
  Exit status: 0 when lost, phantom, outOfOrder and badSignatures are 0; 1 otherwise; 2 for wrong options.
`

export class UsageError extends Error {}

/** @throws UsageError */
export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): DemoOptions | 'help' {
  const values = parse(args)
  if (values.help === true) return 'help'
  const events = Number(values.events ?? 600)
  if (!Number.isInteger(events) || events < 20 || events > 100_000) {
    throw new UsageError(`--events: expected a whole number from 20 to 100,000, got ${values.events}`)
  }
  const json = values.json === true
  return {
    events,
    json,
    writingMs: json ? Math.min(10_000, Math.max(6_000, events * 5)) : 20_000,
    deadlineMs: 60_000 + events * 10,
    faults: readFaults(env['POSTRIDER_DEMO_FAULTS']),
  }
}

function parse(args: readonly string[]): { readonly events?: string; readonly json?: boolean; readonly help?: boolean } {
  try {
    const options = { events: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function readFaults(text: string | undefined): Fault[] {
  const wanted = (text ?? '').split(',').filter((word) => word !== '')
  return wanted.map((word) => {
    const fault = faults.find((known) => known === word)
    if (fault === undefined) throw new UsageError(`POSTRIDER_DEMO_FAULTS: expected ${faults.join(', ')}, got ${word}`)
    return fault
  })
}
