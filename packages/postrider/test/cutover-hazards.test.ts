import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome } from '@postrider/relay'
import { LogSink } from '@postrider/test/log-sink'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { emit, emitRange, quick, RecordingSink, run, until, type Running } from '@postrider/test/relay'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase, type Database } from '../src/connect.ts'
import { completeCutover, cutOver, type Cutover, type Graduation } from '../src/graduate/cutover.ts'
import { rollBack } from '../src/graduate/roll-back.ts'
import type { Offsets, Stream } from '../src/graduate/stream.ts'

/** A group that is not at work, over the one partition of a log. */
class IdleGroup implements Stream {
  readonly #log: LogSink
  offsets: Offsets = {}
  /** Done once, when somebody asks how long the log is, after the answer. */
  meanwhile: (() => Promise<void>) | null = null

  constructor(log: LogSink) {
    this.#log = log
  }

  async bounds(topic: string): ReturnType<Stream['bounds']> {
    const next = BigInt(this.#log.log.length)
    const act = this.meanwhile
    this.meanwhile = null
    await act?.()
    return topic === 'log' ? new Map([[0, { first: 0n, next }]]) : null
  }

  async group(): ReturnType<Stream['group']> {
    return { idle: true, state: 'Empty' }
  }

  async committed(): Promise<Offsets> {
    return this.offsets
  }

  async commit(_group: string, offsets: Offsets): Promise<void> {
    this.offsets = offsets
  }

  async *read(): AsyncIterable<never> {}
}

describe('a cutover', () => {
  let db: TestDatabase
  let client: pg.Client
  let database: Database
  let running: Running
  let hook: RecordingSink
  let log: LogSink
  let group: IdleGroup
  let graduation: Graduation

  const move = { sink: 'hook', types: ['test.*'], toSink: 'log', consumer: 'billing', actor: 'test', reason: null }
  const back = { actor: 'test', reason: null }
  const patient = { ...quick, delaysMs: Array<number>(200).fill(50) }

  async function start(types?: readonly string[]): Promise<void> {
    running = run(db.url, [
      { sink: hook, lanes: 1, retry: patient, startFrom: 'beginning' },
      { sink: log, lanes: 1, retry: quick, startFrom: 'beginning', concurrency: 500, ...(types !== undefined && { types }) },
    ])
    await until(() => running.relay.health().lanes.length === 2, 'the relay carries')
  }
  const carried = (): Promise<void> =>
    until(async () => (await client.query('select from postrider.pending')).rowCount === 0, 'all is settled')
  const refusal = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'done',
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    )
  /** From now on events go to a topic that was not there before. */
  function openTopic(): void {
    const deliver = log.deliver.bind(log)
    let offset = 0
    log.deliver = async (attempt): Promise<Outcome> => {
      await deliver(attempt)
      return { kind: 'delivered', appended: { topic: 'second', partition: 0, offset: String(offset++) } }
    }
  }

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    database = openDatabase({ database: { url: db.url, directUrl: db.url, connections: 4 }, schema: 'postrider' }, 'test')
    hook = new RecordingSink('hook')
    log = new LogSink(1)
    group = new IdleGroup(log)
    graduation = { database, schema: 'postrider', stream: group, deadlineMs: 1_500 }
  })
  afterEach(async () => {
    await running.stop()
    await database[Symbol.asyncDispose]()
    await db[Symbol.asyncDispose]()
  })

  it('waits for an event of its own that lies behind a long backlog of others', async () => {
    await start()
    await client.query(`select postrider.pause('hook', 'test')`)
    await client.query(
      `select count(*) from postrider.emit((select jsonb_agg(jsonb_build_object('type', 'other.made', 'payload', jsonb_build_object('n', n))) from generate_series(1, 1100) as n))`,
    )
    await emit(client, 'k', 1)
    await until(() => log.log.length === 1_101, 'the log has all')
    expect(await refusal(cutOver(move, graduation))).toMatch(/has not done what was committed before: 1 events pending/)
    await emit(client, 'k', 2)
    const { rows } = await client.query<Cutover>('select c.*, c.id::text as id from postrider.cutovers as c')
    expect(await refusal(rollBack(rows.at(0)!, back, graduation))).toMatch(/1 events pending/)
    await client.query(`select postrider.resume('hook')`)
    await until(() => hook.numbers('k').length === 1, 'its own arrives')
    await rollBack(rows.at(0)!, back, graduation)
    await until(() => hook.numbers('k').length === 2, 'what had moved comes back')
    expect(hook.numbers('k')).toEqual([1, 2])
  })

  it('is refused to a sink that does not carry all of it, or only that of a tenant', async () => {
    await start(['test.made'])
    expect(await refusal(cutOver({ ...move, types: ['**'] }, graduation))).toMatch(/carries \{test.made\}, and not all of \*\*/)
    expect(await refusal(cutOver(move, graduation))).toMatch(/not all of test\.\*/)
    await client.query(`update postrider.sinks set tenant = 'acme' where name = 'log'`)
    expect(await refusal(cutOver({ ...move, types: ['test.made'] }, graduation))).toMatch(/does not carry what hook does/)
    await client.query(`update postrider.sinks set tenant = null where name = 'log'`)
    expect(await refusal(cutOver({ ...move, types: ['test.made'] }, graduation))).toBe('done')
  })

  it.each([['while its group is asked'], ['and is gone again']])(
    'that is rolled back gives back what went to a topic that came %s',
    async (when) => {
      await start()
      await emit(client, 'k', 1)
      await carried()
      const cutover = await cutOver(move, graduation)
      openTopic()
      const second = async (): Promise<void> => {
        await emit(client, 'k', 2)
        await until(() => log.log.length === 2, 'it is there')
        await carried()
      }
      if (when === 'and is gone again') await second()
      else group.meanwhile = second
      expect((await rollBack(cutover, back, graduation)).givenBack).toBe(1)
      await emit(client, 'k', 3)
      await until(() => hook.numbers('k').length === 3, 'all arrived')
      expect(hook.numbers('k')).toEqual([1, 2, 3])
    },
  )

  it('tells its group where to begin in a topic that comes while it waits', async () => {
    await start()
    await emit(client, 'k', 1)
    await carried()
    openTopic()
    group.meanwhile = async () => {
      await emit(client, 'k', 2)
      await until(() => log.log.length === 2, 'it is there')
      await carried()
    }
    expect((await cutOver(move, graduation)).offsets).toEqual({ log: { 0: '1' }, second: { 0: '0' } })
  })

  it('is not rolled back when retention has removed what its group has not read', async () => {
    await start()
    await emit(client, 'k', 1)
    await carried()
    const cutover = await cutOver(move, graduation)
    const slot = async (n: number): Promise<unknown> =>
      await client.query(
        `create or replace function postrider.current_slot() returns smallint language sql volatile parallel safe return ${n}::smallint`,
      )
    await slot(1)
    await emit(client, 'k', 2)
    await carried()
    await slot(5)
    await emit(client, 'k', 3)
    await emit(client, 'z', 9, { type: 'other.made' })
    await carried()
    await client.query(`update postrider.ring set keep = '1 millisecond'`)
    await until(async () => {
      const { rows } = await client.query<{ result: string }>('select result from postrider.recycle_segment(1)')
      return rows[0]?.result === 'recycled'
    }, 'the segment is emptied')
    expect(await refusal(rollBack(cutover, back, graduation))).toMatch(
      /^retention has removed events that group billing has not read/,
    )
    group.offsets = { log: { 0: '2' } }
    expect((await rollBack(cutover, back, graduation)).givenBack).toBe(1)
  })

  it('that was interrupted is not completed in a restored database, where nobody can tell what lay before it', async () => {
    await start()
    await emit(client, 'k', 1)
    await carried()
    await client.query(`select postrider.begin_cutover('hook', '{test.*}', 'log', 'billing')`)
    await emit(client, 'k', 2)
    await carried()
    await running.stop()
    await client.query('update postrider.meta set system_identifier = 1, table_id = 0')
    await start()
    const { rows } = await client.query<Cutover>(
      'select c.*, c.id::text as id, c.after::text as after from postrider.cutovers as c',
    )
    expect(await refusal(completeCutover(rows.at(0)!, 'test', graduation))).toMatch(/was restored since cutover 1/)
    expect(group.offsets).toEqual({})
  })

  it('that is rolled back lets nothing overtake events of other types that the first sink has not come to', async () => {
    await start()
    await emit(client, 'k', 1)
    await carried()
    const cutover = await cutOver(move, graduation)
    await client.query(`select postrider.pause('hook', 'test')`)
    await emit(client, 'k', 2, { type: 'other.made' })
    await emit(client, 'k', 3)
    await until(() => log.log.length === 3, 'the log has all')
    expect(await refusal(rollBack(cutover, back, graduation))).toMatch(/events of other types would be overtaken/)
    await client.query(`select postrider.resume('hook')`)
    await rollBack(cutover, back, graduation)
    await until(() => hook.numbers('k').length === 3, 'all arrived')
    expect(hook.numbers('k')).toEqual([1, 2, 3])
  })

  it('that is rolled back gives back what has been read of it only in part, however often it was appended', async () => {
    await start()
    await emit(client, 'k', 1)
    await carried()
    const cutover = await cutOver(move, graduation)
    await emitRange(client, 'k', 2, 6)
    await carried()
    // A second record of an event that is there already.
    await client.query(
      `insert into postrider.appends (slot, sink, lane, topic, partition, first_offset, positions)
       select slot, sink, lane, topic, partition, first_offset + 1, positions[2:2] from postrider.appends where cardinality(positions) > 2`,
    )
    group.offsets = { log: { 0: '3' } }
    expect((await rollBack(cutover, back, graduation)).givenBack).toBe(3)
    await until(() => hook.numbers('k').length === 4, 'they arrived')
    expect(hook.numbers('k')).toEqual([1, 4, 5, 6])
  })

  it('is known to a relay that hears nothing, before it is done', async () => {
    running = run(
      db.url,
      [
        { sink: hook, lanes: 1, retry: patient, startFrom: 'beginning' },
        { sink: log, lanes: 1, retry: quick, startFrom: 'beginning' },
      ],
      { directConnectionString: false, leaseMs: 10_000 },
    )
    await until(() => running.relay.health().lanes.length === 2, 'the relay carries')
    await emit(client, 'k', 1)
    await carried()
    await cutOver(move, { ...graduation, deadlineMs: 10_000 })
    for (let n = 2; n <= 6; n++) await emit(client, `k${n}`, n)
    await until(() => log.log.length === 6, 'the log has all')
    await sleep(500)
    expect(hook.numbers()).toEqual([1])
  })

  it('that began with an empty log can go back', async () => {
    await start()
    const cutover = await cutOver(move, graduation)
    await emit(client, 'k', 1)
    await carried()
    expect((await rollBack(cutover, back, graduation)).givenBack).toBe(1)
  })
})
