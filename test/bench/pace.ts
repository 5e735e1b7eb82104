import { setTimeout as sleep } from 'node:timers/promises'
import { createWriter, event } from '@postrider/writer'
import pg from 'pg'
import { clockMs } from './clock.ts'
import { keyOf, payloadOf } from './payload.ts'

export interface Pace {
  readonly perSecond: number
  readonly seconds: number
  /** Number of the first event. */
  readonly from: number
}

export interface Written {
  /** Numbers of the events: from `from` to below `to`. */
  readonly from: number
  readonly to: number
  readonly beganAt: number
  /** When COMMIT had returned, by `clockMs`, event by event. */
  readonly committedAt: Float64Array
  /** How long each transaction took, in ms. */
  readonly tookMs: Float64Array
  readonly perSecond: number
}

/** Connections that write at a given pace, each event in a transaction of its own by the writer of the product. */
export interface PacedWriters extends AsyncDisposable {
  write(pace: Pace): Promise<Written>
}

export interface PacedWritersOptions {
  readonly connections: number
  /** Of a payload. */
  readonly bytes: number
  readonly keys: number
  /** How an event is written in the transaction that is open. Default: by the writer of the product. */
  readonly enqueue?: (client: pg.Client, key: string, payload: ReturnType<typeof payloadOf>) => Promise<unknown>
}

type Payload = ReturnType<typeof payloadOf>

const outbox = createWriter({ source: 'bench', events: { 'bench.made': event<Payload>() } })

const emit = (client: pg.Client, key: string, payload: Payload): Promise<unknown> =>
  outbox.emit(client, 'bench.made', payload, { key })

export async function openPacedWriters(
  url: string,
  { connections, bytes, keys, enqueue = emit }: PacedWritersOptions,
): Promise<PacedWriters> {
  await using stack = new AsyncDisposableStack()
  const idle: pg.Client[] = []
  for (let nr = 0; nr < connections; nr++) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, application_name: 'bench writer' })
    client.on('error', () => {}) // the statement that was running rejects
    await client.connect()
    stack.defer(() => client.end())
    idle.push(client)
  }

  /**
   * The events are due at even intervals, each somewhere in its own, so that they do not beat time with those who wait for them.
   * When the machine cannot keep the pace there are fewer, not a longer run.
   */
  async function write({ perSecond, seconds, from }: Pace): Promise<Written> {
    const count = Math.max(1, Math.round(perSecond * seconds))
    const committedAt = new Float64Array(count)
    const tookMs = new Float64Array(count)
    const begun = clockMs()
    const everyMs = 1_000 / perSecond
    const running = new Set<Promise<void>>()
    const failures: unknown[] = []
    const writeOne = async (client: pg.Client, index: number): Promise<void> => {
      const n = from + index
      const startedAt = clockMs()
      await client.query('begin')
      await enqueue(client, keyOf(n, keys), payloadOf(n, bytes))
      await client.query('commit')
      const at = clockMs()
      committedAt[index] = at
      tookMs[index] = at - startedAt
      idle.push(client)
    }
    let written = 0
    for (; written < count; written++) {
      const index = written
      const due = begun + (index + Math.random()) * everyMs
      const early = due - clockMs()
      // A timer is a millisecond late at the most, as one event of a service may be.
      if (early > 0.5) await sleep(early)
      while (idle.length === 0 && failures.length === 0) await Promise.race(running)
      if (failures.length > 0) throw new Error('a transaction failed', { cause: failures[0] })
      if (index > 0 && clockMs() > begun + 1_000 * seconds) break
      const one = writeOne(idle.pop()!, index).catch((error: unknown) => void failures.push(error))
      running.add(one)
      void one.finally(() => running.delete(one))
    }
    await Promise.all(running)
    if (failures.length > 0) throw new Error('a transaction failed', { cause: failures[0] })
    const tookSeconds = (clockMs() - begun) / 1_000
    return {
      from,
      to: from + written,
      beganAt: begun,
      committedAt: committedAt.subarray(0, written),
      tookMs: tookMs.subarray(0, written),
      perSecond: written / tookSeconds,
    }
  }

  const owned = stack.move()
  return { write, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}
