import { setTimeout as sleep } from 'node:timers/promises'
import {
  createRelay,
  type Attempt,
  type Outcome,
  type Relay,
  type RelayOptions,
  type Replay,
  type Sink,
  type SinkOptions,
} from '@postrider/relay'
import type pg from 'pg'

export interface Receipt {
  readonly id: string
  readonly key: string | null
  /** `payload.n` of the event. */
  readonly n: number
  readonly attempt: number
  readonly position: bigint
  /** There when an operator sent it once more. */
  readonly replay: Replay | null
}

/** A sink that remembers what it got and answers as it is told. */
export class RecordingSink implements Sink {
  readonly name: string
  readonly kind = 'recording'
  readonly deadlineMs = 2_000
  /** Every attempt, in the order of arrival. */
  readonly receipts: Receipt[] = []
  /** Those that were answered with `delivered`. */
  readonly delivered: Receipt[] = []
  answer: (receipt: Receipt, signal: AbortSignal) => Outcome | Promise<Outcome> = () => ({ kind: 'delivered' })

  constructor(name = 'sink') {
    this.name = name
  }

  async deliver({ event, number, replay }: Attempt, signal: AbortSignal): Promise<Outcome> {
    const { n } = JSON.parse(event.payloadText ?? '{"n": -1}') as { n: number }
    const receipt = { id: event.id, key: event.key, n, attempt: number, position: BigInt(event.position), replay: replay ?? null }
    this.receipts.push(receipt)
    const outcome = await this.answer(receipt, signal)
    if (outcome.kind === 'delivered') this.delivered.push(receipt)
    return outcome
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** The numbers that were delivered, in order; of one key, if given. */
  numbers(key?: string): number[] {
    return this.delivered.filter((receipt) => key === undefined || receipt.key === key).map(({ n }) => n)
  }
}

export const failed: Outcome = { kind: 'retry', error: { code: 'status_5xx', message: 'answered 500' }, status: 500 }
export const refused: Outcome = { kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' }, status: 413 }

/** Retries that a test can wait for. */
export const quick = { delaysMs: [30, 60, 60, 60, 60], jitter: 0, maxAgeMs: 60_000 }

export interface Running extends AsyncDisposable {
  readonly relay: Relay
  /** Stops gracefully and waits for the end. */
  stop(): Promise<void>
  stopHard(): Promise<void>
}

/** A relay that runs until it is disposed of. */
export function run(url: string, sinks: readonly SinkOptions[], options: Partial<RelayOptions> = {}): Running {
  const relay = createRelay({ connectionString: url, pollMs: 200, leaseMs: 2_000, drainMs: 3_000, ...options, sinks })
  const soft = new AbortController()
  const hard = new AbortController()
  const running = relay.run(soft.signal, hard.signal)
  running.catch(() => undefined)
  const stop = async (): Promise<void> => {
    soft.abort()
    await running
  }
  return {
    relay,
    stop,
    async stopHard() {
      hard.abort()
      await running
    },
    [Symbol.asyncDispose]: stop,
  }
}

/** Waits until something holds; fails with what was seen instead. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`after ${ms} ms still not: ${what}`)
    await sleep(5)
  }
}

export async function emit(
  client: pg.Client,
  key: string | null,
  n: number,
  more: Record<string, unknown> = {},
): Promise<string> {
  const event = { type: 'test.made', ...(key === null ? {} : { key }), payload: { n }, ...more }
  const { rows } = await client.query<{ id: string }>('select postrider.emit($1::text::jsonb) as id', [JSON.stringify(event)])
  return rows[0]?.id ?? ''
}

/** Emits numbers `from` to `to` of one key in one statement. */
export async function emitRange(client: pg.Client, key: string | null, from: number, to: number): Promise<void> {
  await client.query(
    `select count(*) from postrider.emit((
       select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('type', 'test.made', 'key', $1::text, 'payload', jsonb_build_object('n', n))) order by n)
       from generate_series($2::int, $3::int) as n))`,
    [key, from, to],
  )
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}
