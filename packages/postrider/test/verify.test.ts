import type { Attempt } from '@postrider/relay'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LogSink } from '@postrider/test/log-sink'
import { emit, emitRange, quick, RecordingSink, run, until, type Running } from '@postrider/test/relay'
import { openDatabase, type Database } from '../src/connect.ts'
import type { Graduation } from '../src/graduate/cutover.ts'
import type { Stream, StreamedEvent } from '../src/graduate/stream.ts'
import { missingOf, verify } from '../src/graduate/verify.ts'

/** The topics of a log sink, in which somebody has meddled. */
class MeddledStream implements Stream {
  readonly #sink: LogSink
  /** Turns the records of a partition into what is read. */
  meddle: (records: StreamedEvent[], partition: number) => StreamedEvent[] = (records) => records
  read_ = 0

  constructor(sink: LogSink) {
    this.#sink = sink
  }

  #records(partition: number): StreamedEvent[] {
    const recordOf = ({ event }: Attempt, offset: number): StreamedEvent => ({
      offset: BigInt(offset),
      id: event.id,
      key: event.key,
      value: event.payloadText === null ? null : Buffer.from(event.payloadText),
      replay: false,
    })
    return this.meddle(this.#sink.partitions.at(partition)!.log.map(recordOf), partition).map((record, offset) => ({
      ...record,
      offset: BigInt(offset),
    }))
  }

  async bounds(): ReturnType<Stream['bounds']> {
    return new Map(
      this.#sink.partitions.map((_, partition) => [partition, { first: 0n, next: BigInt(this.#records(partition).length) }]),
    )
  }

  async *read(_topic: string, partition: number, from: bigint, until: bigint): AsyncIterable<StreamedEvent> {
    for (const record of this.#records(partition).slice(Number(from), Number(until))) {
      this.read_++
      yield record
    }
  }

  group = async (): Promise<null> => null
  committed = async (): Promise<Record<string, never>> => ({})
  commit = async (): Promise<void> => undefined
}

describe('verify', () => {
  let db: TestDatabase
  let client: pg.Client
  let database: Database
  let running: Running
  let hook: RecordingSink
  let stream: MeddledStream
  let graduation: Graduation

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    database = openDatabase({ database: { url: db.url, directUrl: db.url, connections: 4 }, schema: 'postrider' }, 'test')
    const log = new LogSink(2)
    hook = new RecordingSink('hook')
    stream = new MeddledStream(log)
    graduation = { database, schema: 'postrider', stream, deadlineMs: 5_000 }
    running = run(db.url, [
      { sink: hook, lanes: 2, retry: quick, startFrom: 'beginning' },
      { sink: log, lanes: 2, retry: quick, startFrom: 'beginning', types: ['test.*'] },
    ])
    for (let key = 0; key < 6; key++) await emitRange(client, `k${key}`, 1, 20)
    await emit(client, 'k0', 1, { type: 'other.made' })
    await until(() => log.log.length === 120 && hook.delivered.length === 121, 'all arrived')
    await until(async () => (await client.query('select from postrider.pending')).rowCount === 0, 'and are settled')
  })
  afterEach(async () => {
    await running.stop()
    await database[Symbol.asyncDispose]()
    await db[Symbol.asyncDispose]()
  })
  const look = (more: object = {}): ReturnType<typeof verify> => verify({ toSink: 'log', actor: 'test', ...more }, graduation)
  const none = { count: 0, ids: [] }

  it('says that log, topic and acknowledgements are equal, and keeps that it did', async () => {
    const parity = await look({ sink: 'hook' })
    expect(parity).toMatchObject({
      equal: true,
      events: 120,
      missing: none,
      altered: none,
      disordered: none,
      added: none,
      foreign: 0,
    })
    expect(parity.checksums.stream).toBe(parity.checksums.log)
    expect(parity.acknowledged).toMatchObject({ equal: true, events: 121, acknowledged: 121, recorded: true })
    const { rows } = await client.query('select to_sink, sink, events::int, equal, actor from postrider.verifications')
    expect(rows).toEqual([{ to_sink: 'log', sink: 'hook', events: 120, equal: true, actor: 'test' }])
  })

  it.each<[string, (records: StreamedEvent[]) => StreamedEvent[], number]>([
    ['missing', (records) => records.toSpliced(7, 1), 7],
    ['repeated', (records) => records.toSpliced(9, 0, records.at(7)!), 7],
    ['altered', (records) => records.with(7, { ...records.at(7)!, value: Buffer.from('{"n": 7, "x": 1}') }), 7],
    ['altered', (records) => records.with(7, { ...records.at(7)!, key: 'another' }), 7],
    ['altered', (records) => records.with(7, { ...records.at(7)!, value: null }), 7],
    ['disordered', (records) => swap(records, 7), 7],
  ])('names a record that is %s', async (what, meddle, nth) => {
    let victim = ''
    stream.meddle = (records, partition) => {
      if (partition !== 0) return records
      victim = records.at(nth)!.id ?? ''
      return meddle(records)
    }
    const parity = await look()
    expect(parity).toMatchObject({
      missing: none,
      altered: none,
      disordered: none,
      repeated: none,
      added: none,
      [what]: { count: 1, ids: [victim] },
      equal: what === 'repeated',
    })
    expect(parity.checksums.stream === parity.checksums.log).toBe(['repeated', 'disordered'].includes(what))
    expect(await missingOf('log', graduation)).toEqual(what === 'missing' ? [victim] : [])
  })

  it('names an event that the log does not have, and counts records that are none', async () => {
    stream.meddle = (records) => [
      ...records,
      { offset: 0n, id: '0198a0b0-0000-7000-8000-000000000000', key: 'k', value: null, replay: false },
      { offset: 0n, id: 'ffffffff-0000-7000-8000-000000000000', key: 'k', value: null, replay: false },
      { offset: 0n, id: null, key: null, value: Buffer.from('x'), replay: false },
    ]
    const parity = await look()
    // An id that is older than the log may have been of it once.
    expect(parity).toMatchObject({ equal: false, added: { count: 1, ids: ['ffffffff-0000-7000-8000-000000000000'] }, foreign: 2 })
  })

  it('goes on where the last comparison has ended, without reading everything again, also past a transaction that was open', async () => {
    await look()
    await expect(look()).rejects.toMatchObject({ code: 'not_found' })
    const late = await db.client()
    await late.query('begin')
    await emit(late, 'late', 1)
    await emitRange(client, 'k1', 21, 40)
    setTimeout(() => void late.query('commit'), 300)
    stream.read_ = 0
    const parity = await look()
    expect(parity).toMatchObject({ equal: true, events: 21 })
    expect(stream.read_).toBeLessThan(60)
  })

  it('waits for an open transaction of this database, never for one of another database of the cluster', async () => {
    await using other = await testDatabase()
    const elsewhere = await other.client()
    await elsewhere.query('begin')
    await emit(elsewhere, 'other', 1)
    expect(await look()).toMatchObject({ equal: true })
    await elsewhere.query(`prepare transaction 'elsewhere'`)
    await emit(client, 'k1', 21)
    expect(await look()).toMatchObject({ equal: true })
    await elsewhere.query(`rollback prepared 'elsewhere'`)
    const late = await db.client()
    await late.query('begin')
    await emit(late, 'late', 1)
    await emit(client, 'k1', 22)
    graduation = { ...graduation, deadlineMs: 100 }
    await expect(verify({ toSink: 'log', actor: 'test' }, graduation)).rejects.toMatchObject({
      code: 'cutover_refused',
      message: expect.stringContaining('a transaction has been open') as string,
    })
  })

  it('tells what was not sent and why apart from what is missing', async () => {
    await client.query(`select postrider.pause('log', 'test')`)
    await emit(client, 'k1', 99)
    await expect(verify({ toSink: 'log', actor: 'test' }, { ...graduation, deadlineMs: 200 })).rejects.toMatchObject({
      code: 'cutover_refused',
      message: expect.stringContaining('log lags') as string,
    })
  })
})

/** The first two of one key from a place on change places. */
function swap(records: StreamedEvent[], from: number): StreamedEvent[] {
  const to = records.findIndex(({ key }, nth) => nth > from && key === records.at(from)!.key)
  return records.with(from, records.at(to)!).with(to, records.at(from)!)
}
