import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import { openDatabase } from '../src/database.ts'
import { claimLanes, releaseLane } from '../src/leases.ts'
import { settingsOf } from '../src/options.ts'
import { settle } from '../src/settle.ts'
import { settlementOf, type Settlement } from '../src/settlement.ts'
import { claimPage } from '../src/claim.ts'
import { Routes } from '../src/routes.ts'
import type { Lane, Result } from '../src/lane.ts'
import { emitRange, RecordingSink } from './support.ts'

const a = 'aaaaaaaa-0000-4000-8000-000000000000'
const b = 'bbbbbbbb-0000-4000-8000-000000000000'

/** Two relays by hand: one lane, ten events. */
async function stage() {
  const db = await testDatabase()
  const client = await db.client()
  const database = openDatabase(db.url, 'postrider', 'test', 4)
  const { sinks } = settingsOf({ connectionString: db.url, sinks: [{ sink: new RecordingSink(), lanes: 1 }] })
  const routes = new Routes(sinks, () => undefined)
  for (const sink of sinks) await routes.put(database, sink)
  const route = routes.all[0]
  if (route === undefined) throw new Error('no sink')
  await emitRange(client, 'o', 1, 10)
  const claim = async (relay: string): Promise<Lane | undefined> => (await claimLanes(database, relay, route, 1, [], 60_000))[0]
  const carried = async (lane: Lane, fails: boolean): Promise<Settlement> => {
    const page = await claimPage(database, lane, 100)
    const finished = page.events.map((event, index): Result => {
      const error = { code: 'status_5xx', message: 'answered 500' } as const
      return fails && index === 0
        ? {
            carried: event,
            outcome: { kind: 'retry', error },
            verdict: { kind: 'retry', delayMs: 0, counts: true, error },
            startedAtMs: Date.now(),
            durationMs: 1,
          }
        : {
            carried: event,
            outcome: { kind: 'delivered' },
            verdict: { kind: 'delivered' },
            startedAtMs: Date.now(),
            durationMs: 1,
          }
    })
    return settlementOf(lane, page, { finished, spared: [], parked: [], blocked: [], unstarted: [] }, [], [], false)
  }
  const count = async (table: string, relay?: string): Promise<number> =>
    Number(
      (await client.query(`select count(*) from postrider.${table}${relay === undefined ? '' : ` where relay = '${relay}'`}`))
        .rows[0].count,
    )
  const expire = async (): Promise<void> =>
    void (await client.query(`update postrider.lanes set leased_until = now() - interval '1 second'`))
  return {
    client,
    database,
    claim,
    carried,
    count,
    expire,
    async [Symbol.asyncDispose]() {
      await database.close()
      await db[Symbol.asyncDispose]()
    },
  }
}

describe('the fence', () => {
  it.each([false, true])('lets a relay that lost its lane write nothing (with trouble: %s)', async (fails) => {
    await using s = await stage()
    const first = await s.claim(a)
    if (first === undefined) throw new Error('not claimed')
    const stale = await s.carried(first, fails)
    expect(await s.claim(b)).toBeUndefined()
    await s.expire()
    const second = await s.claim(b)
    if (second === undefined) throw new Error('not taken over')
    await expect(settle(s.database, a, first, stale)).rejects.toMatchObject({ code: 'stale_fence' })
    expect(await s.count('attempts')).toBe(0)
    expect(await s.count('deliveries')).toBe(0)
    expect(await s.count('checkpoints', a)).toBe(1)
    await settle(s.database, b, second, await s.carried(second, false))
    expect(await s.count('attempts', b)).toBe(10)
    await expect(settle(s.database, a, first, stale)).rejects.toMatchObject({ code: 'stale_fence' })
    expect(await s.count('attempts')).toBe(10)
  })

  it('takes a settle for done when its answer was lost and it is tried again', async () => {
    await using s = await stage()
    const lane = await s.claim(a)
    if (lane === undefined) throw new Error('not claimed')
    const settlement = await s.carried(lane, false)
    const { fence, cursor, stored } = lane
    await settle(s.database, a, lane, settlement)
    Object.assign(lane, { fence, cursor, stored }) // as if the connection had broken before the answer
    await settle(s.database, a, lane, settlement)
    expect(await s.count('attempts')).toBe(10)
    expect((await claimPage(s.database, lane, 100)).events).toEqual([])
  })

  it('holds when both owners settle at the same moment', async () => {
    await using s = await stage()
    const first = await s.claim(a)
    if (first === undefined) throw new Error('not claimed')
    const old = await s.carried(first, true)
    await s.expire()
    const second = await s.claim(b)
    if (second === undefined) throw new Error('not taken over')
    const fresh = await s.carried(second, true)
    const outcomes = await Promise.allSettled([settle(s.database, a, first, old), settle(s.database, b, second, fresh)])
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
    expect(await s.count('deliveries')).toBe(1)
  })

  it('gives a lane that was given back to the next at once', async () => {
    await using s = await stage()
    await s.claim(a)
    await releaseLane(s.database, a, 'sink', 0, false)
    expect(await s.claim(b)).toBeDefined()
  })
})
