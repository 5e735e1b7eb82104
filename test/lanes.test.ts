import { expect, test } from 'vitest'
import type pg from 'pg'
import { faultless, faultsOf, repeats } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { after, startReceiver } from './receiver.ts'
import { startRelay, type RelayProcess } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const sizes = (...relays: RelayProcess[]): string => relays.map((relay) => relay.lanes().length).join(' ')

test('relays share the lanes evenly; a relay that leaves hands over at once, one that dies within its lease', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  const options = { leaseMs: 5_000, sink: { lanes: 6 } }
  await using first = await startRelay(db.url, receiver, options)
  await until('one relay has all', () => sizes(first) === '6')
  await using second = await startRelay(db.url, receiver, options)
  await until('two share', () => sizes(first, second) === '3 3')
  await using third = await startRelay(db.url, receiver, options)
  await until('three share', () => sizes(first, second, third) === '2 2 2')

  const leaving = performance.now()
  await third.stop()
  await until('two share again', () => sizes(first, second) === '3 3')
  expect(performance.now() - leaving).toBeLessThan(2_000)

  second.kill('SIGKILL')
  const dying = performance.now()
  await until('one relay has all again', () => sizes(first) === '6')
  expect(performance.now() - dying).toBeLessThan(6_000)
}, 40_000)

test('two relays never carry one lane, while relays come and go', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver({ answer: after(5) })
  const client = await db.client()
  await using writers = await startWriters(db.url)
  const relays: RelayProcess[] = []
  try {
    for (let round = 0; round < 6; round++) {
      relays.push(await startRelay(db.url, receiver, { pageSize: 20 }))
      await until('the newcomer carries something', () => relays.at(-1)!.lanes().length > 0)
      const leaving = relays.at(-3)
      if (leaving !== undefined) await leaving.stop()
    }
    await writers.stop()
    await until('everything arrived', () => receiver.distinct >= writers.committed.length)
    for (const relay of relays.slice(-2)) await relay.stop()
    expect(await overlapping(client)).toEqual([])
    expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    expect(repeats(receiver.taken)).toBe(0)
  } finally {
    for (const relay of relays) await relay[Symbol.asyncDispose]()
  }
}, 40_000)

/** Attempts of two relays in one lane that ran at the same time. */
async function overlapping(client: pg.Client): Promise<unknown[]> {
  const { rows } = await client.query(
    `with ran as (
       select postrider.lane_of(e.bucket, s.lanes) as lane, a.relay, a.started_at, a.started_at + a.duration_ms * interval '1 ms' as ended_at
       from postrider.attempts as a join postrider.events as e using (position, slot) join postrider.sinks as s on s.name = a.sink
     )
     select * from ran as a join ran as b
       on a.lane = b.lane and a.relay < b.relay
       -- Starts are whole milliseconds of a clock.
       and a.started_at < b.ended_at - interval '1 ms' and b.started_at < a.ended_at - interval '1 ms'`,
  )
  return rows
}
