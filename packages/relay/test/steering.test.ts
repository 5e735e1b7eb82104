import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import { emit, range, RecordingSink, run, until } from './support.ts'

describe('an operator whose transaction stays open', () => {
  it.each([
    ['resumes a sink from now on', `select postrider.resume('slow', 'none of it', 'infinity')`],
    ['pauses a sink', `select postrider.pause('slow', 'x')`],
  ])('and who %s, stops nothing of another sink', async (_, steer) => {
    await using db = await testDatabase()
    const client = await db.client()
    const operator = await db.client()
    const slow = new RecordingSink('slow')
    const other = new RecordingSink('other')
    await using _running = run(db.url, [{ sink: slow, lanes: 8 }, { sink: other }], { leaseMs: 1_000, connections: 4 })
    await until(async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 12, 'carried')
    if (steer.includes('resume')) await client.query(`update postrider.sinks set state = 'paused' where name = 'slow'`)
    await operator.query('begin')
    await operator.query(steer)
    const late: number[] = []
    for (let n = 1; n <= 60; n++) {
      const began = performance.now()
      await emit(client, `k${n % 20}`, n)
      await until(() => other.delivered.length >= n, `event ${n} arrived`, 8_000)
      late.push(performance.now() - began)
      await sleep(50)
    }
    expect(other.delivered.map(({ n }) => n)).toEqual(range(1, 60))
    expect(Math.max(...late)).toBeLessThan(900)
    await operator.query('commit')
    if (steer.includes('pause')) await client.query(`select postrider.resume('slow')`)
    await emit(client, 'last', 61)
    await until(() => slow.numbers().includes(61), 'the sink itself goes on')
  })
})
