import { setTimeout as sleep } from 'node:timers/promises'
import { createRelay, subscribe, type Attempt, type Outcome, type Sink } from '@postrider/relay'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { testDatabase } from './postgres/index.ts'
import { until } from './until.ts'

const total = 100_000
const producers = 2
const batch = 50

/** Remembers what was delivered. One event of a thousand fails twice; one of five thousand is refused until the destination is mended. */
class Mill implements Sink {
  readonly name = 'mill'
  readonly kind = 'recording'
  readonly deadlineMs = 2_000
  readonly delivered = new Set<number>()
  mended = false

  deliver({ event, number }: Attempt): Promise<Outcome> {
    const { n } = JSON.parse(event.payloadText ?? '') as { n: number }
    if (n % 5_000 === 0 && !this.mended) {
      return Promise.resolve({ kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' }, status: 413 })
    }
    if (n % 1_000 === 1 && number <= 2) {
      return Promise.resolve({ kind: 'retry', error: { code: 'status_5xx', message: 'answered 500' }, status: 500 })
    }
    this.delivered.add(n)
    return Promise.resolve({ kind: 'delivered' })
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

test(`${total} events pass through a log that keeps two seconds of them: its size stays the same, and nothing is lost`, async () => {
  await using db = await testDatabase()
  const client = await db.client()
  // Segments of two seconds, shorter than an operator may cut them.
  const { rows: cut } = await client.query<{ statement: string }>(
    `select statement from postrider.plan_segments(4, '2 seconds', '2 seconds')`,
  )
  for (const { statement } of cut) await client.query(statement)

  const emptied: string[] = []
  const stopHearing = subscribe('postrider:chore', ({ detail }) => {
    if (detail?.includes('was emptied') === true) emptied.push(detail)
  })
  const sink = new Mill()
  const retry = { delaysMs: Array<number>(10).fill(500), jitter: 0, maxAgeMs: 600_000 }
  const relay = createRelay({ connectionString: db.url, choreMs: 200, sinks: [{ sink, retry, onDead: 'park', circuit: false }] })
  const stop = new AbortController()
  const running = relay.run(stop.signal)

  let written = 0
  const produce = async (): Promise<void> => {
    const producer = await db.client()
    while (written < total) {
      const from = written + 1
      written += batch
      await emitBatch(producer, from)
      await sleep(15)
    }
  }
  const samples: { at: number; written: number; events: number }[] = []
  let going = true
  const measuring = (async () => {
    for (; going; await sleep(250)) {
      const at = performance.now()
      const events = await count(client, 'events')
      samples.push({ at, written, events })
    }
  })()
  await Promise.all(Array.from({ length: producers }, produce))
  going = false
  await measuring

  const dead = total / 5_000
  await until('all but the dead letters are delivered', () => sink.delivered.size === total - dead, 30_000)
  // While they were kept, their segments have gone.
  await until('only dead letters are left', async () => (await count(client, 'events')) === dead, 30_000)
  expect(await count(client, 'events_kept')).toBe(dead)
  sink.mended = true
  await client.query('select postrider.retry(event_id) from postrider.deliveries')
  await until('those are delivered too', () => sink.delivered.size === total)
  stop.abort()
  await running
  stopHearing()

  expect(emptied.length).toBeGreaterThan(4)
  // Two seconds are kept, a segment is written for two, and a chore comes five times in a second; the rest is for slow machines.
  const longest = 10_000
  for (const { at, written, events } of samples) {
    const earlier = samples.findLast((sample) => sample.at < at - longest)?.written ?? 0
    expect(events, JSON.stringify(samples)).toBeLessThanOrEqual(written - earlier + 200)
  }
  expect(samples.at(-1)!.at - samples[0]!.at).toBeGreaterThan(1.5 * longest)
  await until('the files are as small as in the beginning', async () => (await sizeOf(client)) < 2_000_000)
}, 180_000)

async function emitBatch(client: pg.Client, from: number): Promise<void> {
  await client.query(
    `select count(*) from postrider.emit((
       select jsonb_agg(jsonb_build_object('type', 'test.made', 'key', 'k' || n, 'payload', jsonb_build_object('n', n)) order by n)
       from generate_series($1::int, $2::int) as n))`,
    [from, from + batch - 1],
  )
}

async function count(client: pg.Client, table: string): Promise<number> {
  const { rows } = await client.query<{ n: number }>(`select count(*)::int as n from postrider.${table}`)
  return rows[0]!.n
}

/** Bytes of the log and the audit trail, with their indexes. */
async function sizeOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>(
    `select sum(pg_total_relation_size(inhrelid)) as bytes from pg_inherits where inhparent in ('postrider.events'::regclass, 'postrider.attempts'::regclass)`,
  )
  return Number(rows[0]!.bytes)
}
