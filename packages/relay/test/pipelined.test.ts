import { setTimeout as sleep } from 'node:timers/promises'
import type { Attempt, Outcome, Sink } from '@postrider/relay'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LogSink } from '@postrider/test/log-sink'
import type { Lane } from '../src/lane.ts'
import { settlementWithoutProof } from '../src/settlement.ts'
import { emit, emitRange, quick, range, run, until, type Running } from './support.ts'

const busy: Outcome & { kind: 'retry' } = {
  kind: 'retry',
  scope: 'event',
  free: true,
  afterMs: 40,
  error: { code: 'connect', message: 'the partition has no leader' },
}
const down: Outcome & { kind: 'retry' } = {
  kind: 'retry',
  free: true,
  error: { code: 'connect', message: 'no broker answers' },
}

describe('a sink that keeps the order of a key by itself', () => {
  let db: TestDatabase
  let client: pg.Client
  let running: Running | undefined

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
  })
  afterEach(async () => {
    await running?.stop()
    running = undefined
    await db[Symbol.asyncDispose]()
  })
  const rows = async (): Promise<number> => (await client.query('select from postrider.deliveries')).rowCount ?? 0
  const pending = async (): Promise<number> => (await client.query('select from postrider.pending')).rowCount ?? 0

  it('gets many events of one key at once, in order, and where each stands is kept', async () => {
    const sink = new LogSink(1)
    await emitRange(client, 'k1', 1, 300)
    running = run(db.url, [{ sink, lanes: 1, retry: quick, concurrency: 1_000 }])
    await until(() => sink.log.length === 300, 'all are in the log')
    await until(async () => (await pending()) === 0, 'all are settled')
    expect(sink.sequences().get('k1')).toEqual(range(1, 300))
    expect(sink.mostOfAKey).toBe(50)
    const { rows: appends } = await client.query<{ offset: string; position: string }>(
      `select (a.first_offset + p.nth - 1)::text as offset, p.position::text as position
       from postrider.appends as a cross join lateral unnest(a.positions) with ordinality as p (position, nth)
       where a.sink = 'log' and a.topic = 'log' and a.partition = 0 order by a.first_offset + p.nth`,
    )
    expect(appends).toEqual(sink.log.map(({ event }, offset) => ({ offset: String(offset), position: event.position })))
    expect((await client.query('select from postrider.appends')).rowCount).toBeLessThan(20)
  })

  it('loses nothing and keeps the order when batches fail, stall beyond their page, and the relay is stopped hard', async () => {
    const keys = Array.from({ length: 9 }, (_, n) => `k${n}`)
    for (let round = 0; round < 6; round++) {
      for (const key of keys) await emitRange(client, key, round * 20 + 1, round * 20 + 20)
      await emit(client, null, round)
    }
    const sink = new LogSink(3)
    let batch = 0
    sink.fate = async () => {
      batch++
      if (batch % 11 === 3) return busy
      if (batch % 17 === 5) return { ...down, free: false }
      if (batch % 13 === 7) await sleep(400)
      return 'written'
    }
    const begin = (): Running =>
      run(db.url, [{ sink, lanes: 2, retry: { ...quick, delaysMs: Array<number>(60).fill(30) }, concurrency: 100 }], {
        pageSize: 60,
        pageMs: 150,
        slowMs: 50,
        leaseMs: 1_000,
      })
    for (let times = 0; times < 3; times++) {
      const before = sink.log.length
      running = begin()
      await until(() => sink.log.length > before + 150, 'it goes on')
      await running.stopHard()
    }
    running = begin()
    await until(async () => (await pending()) === 0 && (await rows()) === 0, 'all are settled', 25_000)
    const sequences = sink.sequences()
    for (const key of keys) expect(sequences.get(key), key).toEqual(range(1, 120))
    expect(sequences.get(null)).toHaveLength(6)
  }, 60_000)

  it('spends no attempt on what could not be tried, and opens its circuit when the whole of it is down', async () => {
    const sink = new LogSink(2)
    sink.fate = () => down
    for (let key = 0; key < 20; key++) await emitRange(client, `k${key}`, 1, 5)
    running = run(db.url, [{ sink, retry: { ...quick, delaysMs: [30] } }])
    await until(
      async () => (await client.query(`select from postrider.circuits where state <> 'closed'`)).rowCount === 1,
      'it is open',
    )
    await sleep(300)
    expect(await rows()).toBe(0)
    sink.fate = () => 'written'
    await until(() => sink.log.length >= 100, 'all arrived when it was back')
    for (let key = 0; key < 20; key++) expect(sink.sequences().get(`k${key}`)).toEqual(range(1, 5))
    expect((await client.query('select from postrider.deliveries where attempts > 0')).rowCount).toBe(0)
  })

  it('refuses one event, and only what is behind it in its key waits for an operator', async () => {
    const sink = new LogSink(1)
    sink.fate = (batch) =>
      batch.some(({ event }) => event.payloadText === '{"n": 3}' && event.key === 'k1')
        ? { kind: 'reject', error: { code: 'payload_refused', message: 'too large' } }
        : 'written'
    running = run(db.url, [{ sink, retry: quick, lanes: 1 }])
    await emitRange(client, 'k1', 1, 2)
    await until(() => sink.log.length === 2, 'the first two')
    await emitRange(client, 'k1', 3, 6)
    await until(
      async () => (await client.query(`select from postrider.deliveries where state = 'dead'`)).rowCount === 1,
      'it is dead',
    )
    await emitRange(client, 'k2', 1, 2)
    await until(() => sink.log.length === 4, 'others pass')
    const { rows: states } = await client.query<{ state: string }>('select state from postrider.deliveries order by position')
    expect(states.map(({ state }) => state)).toEqual(['dead', 'blocked', 'blocked', 'blocked'])
  })

  it('is told which events another relay may have sent before it died', async () => {
    running = run(db.url, [{ sink: new LogSink(1), lanes: 1, retry: quick }])
    await until(() => running?.relay.health().lanes.length === 1, 'the sink is there')
    await running.stop()
    await emitRange(client, 'k1', 1, 10)
    // As if it had been killed: the lane is with somebody who is no more.
    await client.query(`update postrider.lanes set relay = gen_random_uuid(), leased_until = clock_timestamp()`)
    const next = new LogSink(1)
    await emitRange(client, 'k2', 1, 3)
    running = run(db.url, [{ sink: next, lanes: 1, retry: quick }], { leaseMs: 1_000 })
    await until(() => next.log.length === 13, 'all arrived')
    expect(next.doubtful).toBe(13)
    await emitRange(client, 'k2', 4, 5)
    await until(() => next.log.length === 15, 'so do later ones')
    expect(next.doubtful).toBe(13)
  })
})

/** A sink of which every answer is decided by the number of the event. */
class ScriptedSink implements Sink {
  readonly name = 'log'
  readonly kind = 'log'
  readonly deadlineMs = 600
  readonly pipelined = true
  readonly sent: { readonly n: number; readonly doubtful: boolean }[] = []
  readonly #answer: (n: number, signal: AbortSignal) => Outcome | Promise<Outcome>

  constructor(answer: (n: number, signal: AbortSignal) => Outcome | Promise<Outcome>) {
    this.#answer = answer
  }

  async deliver({ event, doubtful = false }: Attempt, signal: AbortSignal): Promise<Outcome> {
    const { n } = JSON.parse(event.payloadText ?? '{}') as { n: number }
    const outcome = await this.#answer(n, signal)
    if (outcome?.kind === 'delivered') this.sent.push({ n, doubtful })
    return outcome
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

describe('a sink that keeps the order of a key by itself, and the next relay', () => {
  let db: TestDatabase
  let client: pg.Client
  let running: Running

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    await emitRange(client, 'k', 1, 3)
  })
  afterEach(async () => {
    await running.stop()
    await db[Symbol.asyncDispose]()
  })
  const interrupted = (signal: AbortSignal): Promise<Outcome> =>
    new Promise((resolve) =>
      signal.addEventListener('abort', () => resolve({ ...busy, error: { code: 'connect', message: 'broken off' } })),
    )
  const begin = (sink: Sink): void => {
    running = run(db.url, [{ sink, lanes: 1, retry: quick, concurrency: 10 }], { pageMs: 100, slowMs: 50, leaseMs: 1_000 })
  }
  const rows = async (): Promise<number> => (await client.query('select from postrider.deliveries')).rowCount ?? 0
  const taking = (): ScriptedSink => new ScriptedSink(() => ({ kind: 'delivered' }))

  it('keep the order when an event that is in flight is followed by one that failed, and the relay is stopped hard', async () => {
    begin(new ScriptedSink((n, signal) => (n === 1 ? interrupted(signal) : n === 2 ? busy : { kind: 'behind' })))
    await until(async () => (await rows()) === 3, 'all are rows')
    await running.stopHard()
    const next = taking()
    begin(next)
    await until(() => next.sent.length === 3, 'all arrived')
    expect(next.sent.map(({ n }) => n)).toEqual([1, 2, 3])
  })

  it.each<[string, (n: number, signal: AbortSignal) => Outcome | Promise<Outcome>, 'hard' | 'soft']>([
    ['was in flight at a hard stop', (_n, signal) => interrupted(signal), 'hard'],
    ['failed with those behind it', (n) => (n === 1 ? { ...busy, afterMs: 1_000 } : { kind: 'behind' }), 'soft'],
  ])('know of what %s that it may have been sent', async (_what, answer, how) => {
    let asked = 0
    begin(
      new ScriptedSink((n, signal) => {
        asked++
        return answer(n, signal)
      }),
    )
    await until(async () => (how === 'hard' ? asked === 3 : (await rows()) === 3), 'they are in its hands')
    await (how === 'hard' ? running.stopHard() : running.stop())
    const next = taking()
    begin(next)
    await until(() => next.sent.length === 3, 'all arrived')
    expect(next.sent).toEqual([1, 2, 3].map((n) => ({ n, doubtful: true })))
  })

  it('go on when it answers nothing', async () => {
    const silent = new ScriptedSink(() => undefined as unknown as Outcome)
    begin(silent)
    await until(
      async () => (await client.query(`select from postrider.attempts where error_code = 'sink_threw'`)).rowCount! > 0,
      'it is a failure',
    )
    expect(running.relay.health().ready).toBe(true)
  })
})

it('what stands in a log is remembered of the events that a database still has after it lost its last moments', () => {
  const run = { slot: 0, topic: 'log', partition: 0, offset: 7n, positions: [1n, 2n, 3n, 4n] }
  const settlement = { records: [], rows: [], keys: [], gone: [], events: 4, ahead: [], handled: [], appends: [run] }
  const stored = { done: '1:1:', target: null, position: 0n, horizon: null }
  const lane = { stored, ahead: new Set<bigint>() } as unknown as Lane
  const { appends } = settlementWithoutProof(lane, { ...settlement, cursor: stored }, new Set([1n, 2n, 4n]))
  expect(appends).toEqual([
    { ...run, positions: [1n, 2n] },
    { ...run, offset: 10n, positions: [4n] },
  ])
})

it('all answers of one turn are heard before more of a key is handed over', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await emitRange(client, 'k', 1, 8)
  const handed: number[] = []
  const waiting: { readonly n: number; readonly answer: (outcome: Outcome) => void }[] = []
  let failures = 0
  /** It waits until it has as many as there are slots, and answers them in one turn: the first is taken, the second is not. */
  const sink: Sink = {
    name: 'turns',
    kind: 'turns',
    deadlineMs: 2_000,
    pipelined: true,
    deliver: ({ event }) =>
      new Promise((answer) => {
        const { n } = JSON.parse(event.payloadText ?? '') as { n: number }
        handed.push(n)
        waiting.push({ n, answer })
        if (failures > 0) return waiting.shift()!.answer({ kind: 'delivered' })
        if (waiting.length < 3) return
        failures++
        for (const [index, one] of waiting.splice(0).entries())
          one.answer(index === 0 ? { kind: 'delivered' } : index === 1 ? busy : { kind: 'behind' })
      }),
    async [Symbol.asyncDispose]() {},
  }
  await using running = run(db.url, [{ sink, lanes: 1, concurrency: 3, retry: quick }])
  await until(() => new Set(handed).size === 8, 'all were handed over')
  expect(handed).toEqual([1, 2, 3, 2, 3, 4, 5, 6, 7, 8])
  expect(running.relay.health().ready).toBe(true)
})
