import { createRelay, type Outcome, type Sink } from '@postrider/relay'
import type pg from 'pg'
import type { TestDatabase } from '../postgres/index.ts'
import { until } from '../until.ts'
import { ordersTable } from './given.ts'

/** The event that the pages speak of. */
export const eventId = '0192b0f0-7a3e-7c51-9b1e-2f5d8c4a6e01'

/**
 * Brings a database into a state in which every question of the pages has an answer, by the road itself:
 * the sink `billing` has delivered, retrying, blocked, scheduled and dead events, and pending ones that nobody carries.
 */
export async function fillDatabase(db: TestDatabase): Promise<pg.Client> {
  const client = await db.client()
  await client.query(ordersTable)
  await emit(client, { id: eventId, key: 'o-1', payload: { answer: 'refuse' } })
  await emit(client, { key: 'o-1', payload: { answer: 'take' } })
  await emit(client, { key: 'o-2', payload: { answer: 'fail' } })
  await emit(client, { key: 'o-3', payload: { answer: 'take' } })
  await emit(client, { key: 'o-4', deliver_at: '2099-01-01T00:00:00Z', payload: {} })
  await emit(client, { key: 'o-5', payload: { answer: 'refuse' } })
  await emit(client, { key: 'o-8', payload: { answer: 'refuse' } })
  await carry(db.url, async () => {
    const { rows } = await client.query<{ state: string }>('select state from postrider.deliveries')
    const { rowCount } = await client.query(`select from postrider.attempts where outcome = 'delivered'`)
    const states = rows.map(({ state }) => state).sort()
    return rowCount === 1 && states.join() === 'blocked,dead,dead,dead,retrying,scheduled'
  })
  await emit(client, { key: 'o-6', payload: {} })
  return client
}

/** Holds the gate as a relay does that sleeps: from now on whoever emits has to notify. */
export async function closeGate(db: TestDatabase): Promise<void> {
  const client = await db.client()
  await client.query(`select postrider.close_gate()`)
}

/** A transaction that has emitted and stays open. */
export async function openTransaction(db: TestDatabase): Promise<void> {
  const client = await db.client()
  await client.query('begin')
  await emit(client, { key: 'o-7', payload: {} })
}

async function emit(client: pg.Client, event: object): Promise<void> {
  await client.query('select postrider.emit($1::text::jsonb)', [JSON.stringify({ type: 'order.placed', ...event })])
}

const outcomes: Readonly<Record<string, Outcome>> = {
  take: { kind: 'delivered', status: 200 },
  fail: { kind: 'retry', status: 500, error: { code: 'status_5xx', message: 'answered 500' }, afterMs: 3_600_000 },
  refuse: { kind: 'reject', status: 413, error: { code: 'payload_refused', message: 'answered 413' } },
}

async function carry(url: string, done: () => Promise<boolean>): Promise<void> {
  const sink: Sink = {
    name: 'billing',
    kind: 'webhook',
    deadlineMs: 1_000,
    deliver: async ({ event }) => {
      const { answer = 'take' } = JSON.parse(event.payloadText ?? '{}') as { answer?: string }
      return outcomes[answer] ?? { kind: 'delivered' }
    },
    async [Symbol.asyncDispose]() {},
  }
  const relay = createRelay({ connectionString: url, sinks: [{ sink }] })
  const stop = new AbortController()
  const ended = relay.run(stop.signal)
  try {
    await until('the sample is there', done)
  } finally {
    stop.abort()
    await ended
  }
}
