import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { emit, quick, RecordingSink, run, until, type Running } from './support.ts'

describe('a cutover', () => {
  let db: TestDatabase
  let client: pg.Client
  let running: Running
  let sink: RecordingSink

  beforeEach(async () => {
    db = await testDatabase()
    client = await db.client()
    sink = new RecordingSink()
    // It hears of nothing, and learns what became of its lanes once in two seconds: until then it carries on.
    running = run(db.url, [{ sink, lanes: 1, retry: quick }, { sink: new RecordingSink('log') }], {
      directConnectionString: false,
      pollMs: 100,
      leaseMs: 10_000,
    })
    await until(() => running.relay.health().lanes.length > 1, 'the relay carries')
  })
  afterEach(async () => {
    await running.stop()
    await db[Symbol.asyncDispose]()
  })

  it('that is rolled back takes the lanes from whoever has left events out, before anything that follows those is carried', async () => {
    await client.query(`select postrider.begin_cutover('sink', '{test.*}', 'log', 'billing')`)
    const known = async (): Promise<boolean> =>
      (await client.query('select postrider.is_known_cutover(1) as known')).rows[0].known
    await until(known, 'the relay leaves alone what has moved')
    // Open when it is rolled back, so it is not given back; and committed before the relay can know.
    const late = await db.client()
    await late.query('begin')
    await emit(late, 'k', 1)
    const operator = await db.client()
    await operator.query('begin')
    await operator.query(`select postrider.roll_back_cutover(1, '{}')`)
    await emit(operator, 'k', 2)
    await late.query('commit')
    // Time for the relay to look; nothing of what it does then can be seen.
    await sleep(500)
    await operator.query('commit')

    await until(() => new Set(sink.numbers('k')).size === 2, 'all are delivered')
    expect([...new Set(sink.numbers('k'))]).toEqual([1, 2])
  })
})
