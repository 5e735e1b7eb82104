import { expect, test } from 'vitest'
import { faultless, faultsOf, repeats } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { startReceiver } from './receiver.ts'
import { startRelay, type Channel } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const leaseMs = 1_000
const pageSize = 20
const lanes = 4

const steps: readonly { readonly channel: Channel; readonly while: string }[] = [
  { channel: 'postrider:lane', while: 'claiming a lane' },
  { channel: 'postrider:claimed', while: 'reading a page' },
  { channel: 'postrider:attempting', while: 'beginning an attempt' },
  { channel: 'postrider:attempt', while: 'ending an attempt' },
  { channel: 'postrider:settling', while: 'settling' },
  { channel: 'postrider:settled', while: 'going on after settling' },
]

test.each(steps)(
  'a relay that is killed while $while loses nothing, and another takes over within the lease',
  async ({ channel }) => {
    await using db = await testDatabase()
    await using receiver = await startReceiver()
    await using survivor = await startRelay(db.url, receiver, { leaseMs, pageSize, sink: { lanes } })
    await using writers = await startWriters(db.url)
    const kills = [1, 7]
    for (const nth of kills) {
      await until('the survivor carries every lane', () => survivor.lanes().length === lanes)
      await using victim = await startRelay(db.url, receiver, {
        leaseMs,
        pageSize,
        sink: { lanes },
        dieAt: { channel, nth: channel === 'postrider:lane' ? Math.min(nth, 2) : nth },
      })
      await victim.ended
      expect(victim.end?.signal).toBe('SIGKILL')
      await until('the survivor carries every lane', () => survivor.lanes().length === lanes)
      const takenOver = survivor.told('postrider:lane').at(-1)!
      expect(takenOver.at - victim.end!.at).toBeLessThan(leaseMs + 1_000)
    }
    await writers.stop()
    await until('everything arrived', () => receiver.distinct >= writers.committed.length)
    await survivor.stop()
    expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    expect(survivor.told('postrider:fault')).toEqual([])
    expect(repeats(receiver.taken)).toBeLessThanOrEqual(kills.length * lanes * pageSize)
  },
  40_000,
)

test('keys that are in trouble keep their order through crashes', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const fails = (): boolean => Math.random() < 0.05
  await using receiver = await startReceiver({ answer: () => (fails() ? 500 : fails() ? 'cut' : 204) })
  const options = { leaseMs, pageSize, sink: { lanes } }
  await using survivor = await startRelay(db.url, receiver, options)
  await using writers = await startWriters(db.url, { keys: 100 })
  for (const { channel } of steps.slice(1)) {
    await using victim = await startRelay(db.url, receiver, { ...options, dieAt: { channel, nth: 20 } })
    await victim.ended
    expect(victim.end?.signal).toBe('SIGKILL')
  }
  await writers.stop()
  await until('everything arrived', () => receiver.distinct >= writers.committed.length)
  await survivor.stop()
  expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
  expect(receiver.complaints).toEqual([])
  expect(repeats(receiver.taken)).toBeLessThanOrEqual(2 * steps.length * lanes * pageSize)
  expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)
}, 40_000)
