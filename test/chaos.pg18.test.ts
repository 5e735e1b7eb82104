import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { faultless, faultsOf } from './history.ts'
import { testDatabase } from './postgres/index.ts'
import { startReceiver, type Answer } from './receiver.ts'
import { startRelay, type RelayProcess } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

/** How long everything goes wrong, in seconds. */
const seconds = Number(process.env['POSTRIDER_CHAOS_SECONDS'] ?? 12)

const one = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)]!

/** What can happen to a relay. */
const fates: readonly ((relay: RelayProcess) => Promise<void>)[] = [
  (relay) => relay.stop(),
  (relay) => relay.stop('hard'),
  async (relay) => {
    relay.kill('SIGKILL')
    await relay.ended
  },
  async (relay) => {
    relay.kill('SIGSTOP')
    await sleep(Math.random() * 2_500)
    relay.kill('SIGCONT')
    await sleep(Math.random() * 500)
    await relay.stop()
  },
]

test(
  'slow and failing destinations, full slots, stops, crashes and frozen relays together cost no event and no order',
  async () => {
    const misbehave = async (): Promise<Answer> => {
      const chance = Math.random()
      if (chance < 0.03) return one<Answer>([500, 503, 'cut'])
      if (chance < 0.1) await sleep(Math.random() * 300)
      return 204
    }
    await using db = await testDatabase()
    await using receiver = await startReceiver({ answer: misbehave })
    const client = await db.client()
    await using writers = await startWriters(db.url, { keys: 60, connections: 3, pauseMs: 6 })
    const relays: RelayProcess[] = []
    const start = async (): Promise<void> => {
      const sink = { lanes: 5, concurrency: one([2, 8, 32]), timeouts: { totalMs: 1_000, firstByteMs: 1_000, connectMs: 1_000 } }
      relays.push(
        await startRelay(db.url, receiver, {
          pageSize: one([3, 20, 100]),
          pageMs: one([20, 200, 1_000]),
          slowMs: one([20, 200, 1_000]),
          sink,
        }),
      )
    }
    try {
      for (let nr = 0; nr < 3; nr++) await start()
      for (const end = performance.now() + seconds * 1_000; performance.now() < end;) {
        const relay = one(relays.filter(({ end }) => end === null))
        await one(fates)(relay)
        await start()
      }
      await writers.stop()
      await until('everything arrived', () => receiver.distinct >= writers.committed.length, 40_000)
      for (const relay of relays) if (relay.end === null) await relay.stop()
      expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
      // What a frozen relay had sent may still be in flight when the next one sends it again.
      expect(receiver.complaints.filter((complaint) => !complaint.startsWith('two at once'))).toEqual([])
      expect(relays.flatMap((relay) => relay.told('postrider:fault'))).toEqual([])
      expect((await client.query('select from postrider.deliveries')).rowCount).toBe(0)
    } finally {
      for (const relay of relays) await relay[Symbol.asyncDispose]()
    }
  },
  seconds * 1_000 + 60_000,
)
