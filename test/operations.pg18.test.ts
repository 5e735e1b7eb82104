import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { faultless, faultsOf, type Written } from './history.ts'
import { nodeArgs } from './node.ts'
import { testDatabase } from './postgres/index.ts'
import { bigNumber, startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'

/** Dead letters of the test; more take longer. */
const letters = Number(process.env['POSTRIDER_LETTERS'] ?? 20_000)
const lanes = 4
const patienceMs = 60_000 + letters * 2

interface Operation {
  readonly state: string
  readonly done: number
  readonly skipped: number
  readonly waited_ms: number
}

async function operation(client: pg.Client, id: number): Promise<Operation> {
  const { rows } = await client.query<Operation>(
    `select state, done::int, skipped::int, extract(epoch from started_at - created_at)::float8 * 1000 as waited_ms
     from postrider.operations where id = $1`,
    [id],
  )
  return rows[0]!
}

/** Events of a log, `perKey` of each key in order, written in turn. */
async function write(client: pg.Client, count: number, perKey: number, from = 1): Promise<Written[]> {
  const keys = count / perKey
  const written: Written[] = []
  for (let n = from; n < from + perKey; n++) {
    const { rows } = await client.query<{ id: string }>(
      `select postrider.emit(jsonb_agg(jsonb_build_object(
         'type', 'test.made', 'key', 'k' || key, 'payload', jsonb_build_object('key', 'k' || key, 'n', $2::int, 'big', ${bigNumber})) order by key)) as id
       from generate_series(1, $1::int) as key`,
      [keys, n],
    )
    written.push(...rows.map(({ id }, index) => ({ id, key: `k${index + 1}`, n })))
  }
  return written
}

/** `postrider …`, with what it says. */
function startProgram(url: string, args: readonly string[]) {
  const main = join(import.meta.dirname, '..', 'packages', 'postrider', 'src', 'main.ts')
  const child = spawn(process.execPath, [...nodeArgs, main, ...args], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], POSTRIDER_DATABASE_URL: url, POSTRIDER_ACTOR: 'ann' },
  })
  const told: Record<string, unknown>[] = []
  let complaint = ''
  createInterface({ input: child.stdout }).on('line', (line) => told.push(JSON.parse(line) as Record<string, unknown>))
  child.stderr.on('data', (data) => (complaint += String(data)))
  const { promise: ended, resolve } = Promise.withResolvers<number | null>()
  child.on('close', resolve)
  return {
    told,
    ended,
    complaint: () => complaint,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

test(
  `${letters} dead letters: a retry begins within a second, shows how it goes, outlives its relay, is cancelled within a second, and every letter arrives once retried, in order`,
  async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const written = await write(client, letters, 20)
    await client.query(`select postrider.put_sink('hook', 'webhook', ${lanes}::smallint, null, 'key', 'block', 'all', 'now')`)
    await client.query(
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code, error, status)
     select 'hook', postrider.lane_of(bucket, ${lanes}::smallint), position, slot, id, key, 'dead', 6, 'status_5xx', 'answered 500', 500
     from postrider.events order by position`,
    )
    await using receiver = await startReceiver()
    const start = () => startRelay(db.url, receiver, { sink: { lanes, concurrency: 64 } })
    await using first = await start()

    await using waiting = startProgram(db.url, ['retry', '--sink', 'hook', '--code', 'status_5xx', '--yes', '--wait', '--json'])
    await until('the operation is there', async () => (await operation(client, 1)) !== undefined)
    const share = async (part: number): Promise<boolean> => (await operation(client, 1)).done > part * letters
    await until('a fifth is done', () => share(0.2), patienceMs)
    expect((await operation(client, 1)).waited_ms).toBeLessThan(1_000)
    first.kill('SIGKILL')
    await first.ended

    await using second = await start()
    const atKill = (await operation(client, 1)).done / letters
    await until('the other goes on', () => share(atKill + 0.2), patienceMs)
    const before = performance.now()
    await client.query('select postrider.cancel_operation(1)')
    const cancelMs = performance.now() - before
    expect(cancelMs).toBeLessThan(1_000)
    const cancelled = await operation(client, 1)
    expect(await waiting.ended).toBe(1)
    expect(waiting.complaint()).toContain('cancelled')
    const progress = waiting.told.filter(({ type }) => type === 'progress')
    expect(progress.length).toBeGreaterThan(0)
    expect(waiting.told.at(-1)).toMatchObject({ type: 'operation', state: 'cancelled', done: cancelled.done })
    expect(await operation(client, 1)).toEqual(cancelled)
    const { rows: left } = await client.query<{ n: number }>(
      `select count(*)::int as n from postrider.deliveries where state = 'dead'`,
    )
    expect(left[0]!.n).toBe(letters - cancelled.done)

    // Two operators, at once.
    const began = performance.now()
    await Promise.all([
      client.query(`select postrider.retry_matching('{"sink": "hook"}', actor => 'ann')`),
      (await db.client()).query(`select postrider.retry_matching('{"sink": "hook"}', actor => 'bob')`),
    ])
    const startMs = performance.now() - began
    expect(startMs).toBeLessThan(1_000)
    const done = async (): Promise<boolean> =>
      (await operation(client, 2)).state === 'done' && (await operation(client, 3)).state === 'done'
    await until('both are done', done, patienceMs)
    const retriedMs = performance.now() - began
    const [ann, bob] = [await operation(client, 2), await operation(client, 3)]
    expect(cancelled.done + ann.done + bob.done).toBe(letters)
    const waits = async (): Promise<boolean> => (await client.query('select from postrider.deliveries limit 1')).rowCount === 0
    await until('nothing waits', waits, patienceMs)
    await second.stop()

    expect(faultsOf(written, receiver.taken)).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    const { rows } = await client.query(
      `select times, count(*)::int as letters from (
       select count(*)::int as times from postrider.attempts where outcome = 'retried' group by position) as counted
     group by times`,
    )
    expect(rows).toEqual([{ times: 1, letters }])
    expect([...first.told('postrider:fault'), ...second.told('postrider:fault')]).toEqual([])
    console.info(
      `${letters} letters: begun ${Math.round(cancelled.waited_ms)} ms after the order, cancelled in ${Math.round(cancelMs)} ms, ` +
        `two started in ${Math.round(startMs)} ms, ${Math.round(((ann.done + bob.done) * 1_000) / retriedMs)} letters/s retried`,
    )
  },
  120_000 + letters * 6,
)

test('a replay of delivered events, with relays killed in the middle, misses nothing, keeps every key in order, and live events wait behind it', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await using receiver = await startReceiver()
  const perKey = 40
  const start = () => startRelay(db.url, receiver, { sink: { lanes, concurrency: 64, startFrom: 'beginning' } })
  const replayed = await write(client, 4_000, perKey)
  await using zero = await start()
  await until('all are delivered', () => receiver.distinct === replayed.length)
  await zero.stop()
  const from = receiver.arrivals.length

  await client.query(`select postrider.replay('{"type": "test.**"}', 'hook', rate => 2000)`)
  let live: Written[] = []
  for (const part of [0.3, 0.6]) {
    await using victim = await start()
    await until('it has come so far', async () => (await operation(client, 1)).done > part * replayed.length)
    if (live.length === 0) live = await write(client, 100, 1, perKey + 1)
    victim.kill('SIGKILL')
    await victim.ended
  }
  await using last = await start()
  await until('it is done', async () => (await operation(client, 1)).state === 'done', 30_000)
  await until(
    'nothing waits',
    async () => (await client.query('select from postrider.deliveries limit 1')).rowCount === 0,
    30_000,
  )
  await until('the live ones are there', () => receiver.distinct === replayed.length + live.length)
  await last.stop()

  expect(await operation(client, 1)).toMatchObject({ state: 'done', done: replayed.length, skipped: 0 })
  // What had been replayed of a key before its live event was written stands before it; what was not yet, cannot.
  const received = receiver.arrivals.slice(from)
  expect(
    faultsOf(
      replayed,
      received.filter(({ n }) => n <= perKey),
    ),
  ).toEqual(faultless)
  expect(new Set(received.map(({ id }) => id)).size).toBe(replayed.length + live.length)
  expect(receiver.complaints).toEqual([])
}, 120_000)
