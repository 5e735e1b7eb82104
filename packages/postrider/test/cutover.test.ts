import { setTimeout as sleep } from 'node:timers/promises'
import { isPostriderError } from '@postrider/schema'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LogSink } from '@postrider/test/log-sink'
import { emit, emitRange, quick, RecordingSink, run, until, type Running } from '@postrider/test/relay'
import { openDatabase, type Database } from '../src/connect.ts'
import { cutOver, type Cutover, type Graduation } from '../src/graduate/cutover.ts'
import { rollBack } from '../src/graduate/roll-back.ts'
import type { Offsets, Stream } from '../src/graduate/stream.ts'

/** A consumer with an inbox: what arrives by either way takes effect once. */
class Consumer {
  readonly effects = new Map<string | null, number[]>()
  readonly #ids = new Set<string>()
  repeats = 0

  take(id: string, key: string | null, n: number): void {
    if (this.#ids.has(id)) {
      this.repeats++
      return
    }
    this.#ids.add(id)
    const of = this.effects.get(key) ?? []
    this.effects.set(key, of)
    of.push(n)
  }

  get count(): number {
    return this.#ids.size
  }
}

/** A group that reads a log, of which it commits its offsets now and then. */
class Group implements Stream {
  readonly #sink: LogSink
  readonly #consumer: Consumer
  readonly #committed = new Map<number, bigint>()
  #reading: AbortController | null = null
  #ended: Promise<unknown> = Promise.resolve()

  constructor(sink: LogSink, consumer: Consumer) {
    this.#sink = sink
    this.#consumer = consumer
  }

  start(): void {
    const reading = (this.#reading = new AbortController())
    const read = async (partition: number): Promise<void> => {
      let offset = Number(this.#committed.get(partition) ?? 0n)
      while (!reading.signal.aborted) {
        const { log } = this.#sink.partitions.at(partition)!
        for (let nth = 0; nth < 7 && offset < log.length; nth++, offset++) {
          const { event } = log.at(offset)!
          this.#consumer.take(event.id, event.key, (JSON.parse(event.payloadText ?? '{}') as { n: number }).n)
        }
        // Not always: then it reads some again.
        if (Math.random() < 0.7) this.#committed.set(partition, BigInt(offset))
        await sleep(2)
      }
    }
    this.#ended = Promise.all(this.#sink.partitions.map((_, partition) => read(partition)))
  }

  async stop(): Promise<void> {
    this.#reading?.abort()
    await this.#ended
    this.#reading = null
  }

  async bounds(): ReturnType<Stream['bounds']> {
    return new Map(this.#sink.partitions.map(({ log }, partition) => [partition, { first: 0n, next: BigInt(log.length) }]))
  }

  async group(): ReturnType<Stream['group']> {
    return this.#reading === null ? { idle: true, state: 'Empty' } : { idle: false, state: 'Stable' }
  }

  async committed(): Promise<Offsets> {
    return { log: Object.fromEntries([...this.#committed].map(([partition, offset]) => [partition, String(offset)])) }
  }

  async commit(_group: string, offsets: Offsets): Promise<void> {
    for (const [partition, offset] of Object.entries(offsets['log'] ?? {})) this.#committed.set(Number(partition), BigInt(offset))
  }

  async *read(): AsyncIterable<never> {}
}

describe('a consumer that moves from one sink to another', () => {
  let db: TestDatabase
  let client: pg.Client
  let database: Database
  let running: Running
  let hook: RecordingSink
  let log: LogSink
  let consumer: Consumer
  let group: Group
  let graduation: Graduation

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    database = openDatabase({ database: { url: db.url, directUrl: db.url, connections: 4 }, schema: 'postrider' }, 'test')
    hook = new RecordingSink('hook')
    log = new LogSink(3)
    consumer = new Consumer()
    group = new Group(log, consumer)
    graduation = { database, schema: 'postrider', stream: group, deadlineMs: 10_000 }
    hook.answer = async ({ id, key, n }) => {
      await sleep(Math.random() * 4)
      consumer.take(id, key, n)
      return { kind: 'delivered' }
    }
    running = run(db.url, [
      { sink: hook, lanes: 2, retry: { ...quick, delaysMs: Array<number>(200).fill(50) }, startFrom: 'beginning' },
      { sink: log, lanes: 3, retry: quick, startFrom: 'beginning', concurrency: 500 },
    ])
    await until(() => running.relay.health().lanes.length === 5, 'the relay carries')
  })
  afterEach(async () => {
    await group.stop()
    await running.stop()
    await database[Symbol.asyncDispose]()
    await db[Symbol.asyncDispose]()
  })
  const move = { sink: 'hook', types: ['test.*'], toSink: 'log', consumer: 'billing', actor: 'test', reason: null }
  const back = { actor: 'test', reason: 'to see' }

  it('twenty times there and back under load, with late commits, gets every event once and each key in order', async () => {
    const writing = new AbortController()
    const written = new Map<string, number>()
    const writers = Array.from({ length: 4 }, async (_, nr) => {
      const session = await db.client()
      while (!writing.signal.aborted) {
        const key = `k${nr * 3 + Math.floor(Math.random() * 3)}`
        const from = (written.get(key) ?? 0) + 1
        await session.query('begin')
        for (let n = from; n < from + 3; n++) await emit(session, key, n)
        // Whoever commits late was there before others, and comes after them.
        if (Math.random() < 0.2) await sleep(Math.random() * 150)
        await session.query(Math.random() < 0.1 ? 'rollback' : 'commit')
        const { rows } = await session.query<{ n: number | null }>(
          `select max((payload ->> 'n')::int) as n from postrider.events where key = $1`,
          [key],
        )
        written.set(key, rows[0]?.n ?? 0)
        await sleep(Math.random() * 10)
      }
    })
    let cutover: Cutover
    let byLog = 0
    for (let times = 0; times < 20; times++) {
      await sleep(Math.random() * 60)
      cutover = await cutOver(move, graduation)
      expect(cutover.state).toBe('switched')
      const before = consumer.count
      group.start()
      if (times % 5 === 0) await until(() => consumer.count > before + 20, 'it reads from the log')
      else await sleep(Math.random() * 80)
      await group.stop()
      byLog += consumer.count - before
      const rolled = await rollBack(cutover, back, graduation)
      expect(rolled.cutover.state).toBe('rolled_back')
    }
    writing.abort()
    await Promise.all(writers)
    const { rows: all } = await client.query<{ n: number }>('select count(*)::int as n from postrider.events')
    await until(() => consumer.count === all.at(0)!.n, 'every event took effect', 20_000)
    for (const [key, last] of written)
      expect(consumer.effects.get(key), key).toEqual(Array.from({ length: last }, (_, n) => n + 1))
    expect(byLog).toBeGreaterThan(50)
    await until(
      async () =>
        (await client.query('select from postrider.deliveries')).rowCount === 0 &&
        (await client.query('select from postrider.pending')).rowCount === 0,
      'nothing is left',
    )
    expect((await client.query(`select from postrider.actions where action = 'cutover_rolled_back'`)).rowCount).toBe(20)
  }, 90_000)

  it('gets nothing by the first sink any more, says where its events went, and other types stay where they were', async () => {
    await emitRange(client, 'k1', 1, 10)
    await cutOver({ ...move, types: ['test.made'] }, graduation)
    const before = hook.delivered.length
    const moved = await emit(client, 'k1', 11)
    await emit(client, 'k1', 12, { type: 'test.other' })
    await until(() => hook.delivered.length === before + 1, 'the other type arrived')
    expect(hook.numbers('k1')).toEqual([...Array.from({ length: 10 }, (_, n) => n + 1), 12])
    const { rows } = await client.query<{ state: string; reason: string }>(
      `select state, reason from postrider.explain($1) where sink = 'hook'`,
      [moved],
    )
    expect(rows).toEqual([
      { state: 'moved', reason: expect.stringMatching(/^moved to log for consumer billing by cutover 1 at /) },
    ])
    expect((await client.query(`select from postrider.pending where sink = 'hook'`)).rowCount).toBe(0)
  })

  it('is refused while its group reads, when it has moved already, and when there is no such sink; and nothing has changed', async () => {
    await emitRange(client, 'k1', 1, 3)
    await until(() => hook.delivered.length === 3, 'they are there')
    const refused = async (work: Promise<unknown>): Promise<string> =>
      await work.then(
        () => 'done',
        (error: unknown) => (isPostriderError(error) && error.code === 'cutover_refused' ? error.message : String(error)),
      )
    group.start()
    expect(await refused(cutOver(move, graduation))).toMatch(/^group billing is Stable: stop its consumers/)
    await group.stop()
    expect(await refused(cutOver({ ...move, sink: 'nobody' }, graduation))).toMatch(/^there is no sink nobody/)
    expect(await refused(cutOver({ ...move, toSink: 'nobody' }, graduation))).toMatch(/^there is no sink nobody to move to/)
    expect(await refused(cutOver({ ...move, types: ['*x'] }, graduation))).toMatch(/^types: give filters/)
    expect((await client.query('select from postrider.cutovers')).rowCount).toBe(0)
    const cutover = await cutOver(move, graduation)
    for (const types of [['test.*'], ['test.made'], ['**'], ['*.made'], ['test.**']])
      expect(await refused(cutOver({ ...move, types }, graduation)), types[0]).toMatch(/has moved to log already/)
    await cutOver({ ...move, types: ['other.*', 'test'] }, graduation)
    await rollBack(cutover, back, graduation)
    expect(await refused(rollBack(cutover, back, graduation))).toMatch(/is rolled back/)
  })

  it('does not go back before the first sink has done what was its own, because that would be overtaken', async () => {
    hook.answer = () => ({ kind: 'retry', scope: 'event', error: { code: 'status_5xx', message: 'answered 500' } })
    await emit(client, 'k1', 1)
    await until(async () => (await client.query('select from postrider.deliveries')).rowCount === 1, 'it fails')
    const impatient = { ...graduation, deadlineMs: 300 }
    await expect(cutOver(move, impatient)).rejects.toMatchObject({ code: 'cutover_refused' })
    const { rows } = await client.query<Cutover>('select c.*, c.id::text as id from postrider.cutovers as c')
    expect(rows.map(({ state }) => state)).toEqual(['switching'])
    await emit(client, 'k1', 2)
    await expect(rollBack(rows.at(0)!, back, impatient)).rejects.toMatchObject({
      code: 'cutover_refused',
      message: expect.stringContaining('1 in trouble') as string,
    })
    hook.answer = ({ id, key, n }) => {
      consumer.take(id, key, n)
      return { kind: 'delivered' }
    }
    await until(() => consumer.count === 1, 'it is delivered')
    await until(async () => (await client.query(`select from postrider.deliveries`)).rowCount === 0, 'and settled')
    expect((await rollBack(rows.at(0)!, back, graduation)).givenBack).toBe(1)
    await until(() => consumer.count === 2, 'what had moved came back')
    expect(consumer.effects.get('k1')).toEqual([1, 2])
  })
})
