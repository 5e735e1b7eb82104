import { testDatabase } from '@postrider/test/postgres'
import { expect, test } from 'vitest'
import { subscribe, type Messages } from '../src/channels.ts'
import { claimPage } from '../src/claim.ts'
import { openDatabase } from '../src/database.ts'
import type { Lane } from '../src/lane.ts'
import { claimLanes } from '../src/leases.ts'
import { settingsOf } from '../src/options.ts'
import { Routes } from '../src/routes.ts'
import { settle } from '../src/settle.ts'
import { settlementOf } from '../src/settlement.ts'
import { emit, emitRange, RecordingSink, run, until } from './support.ts'

/** As pg_restore leaves it in another cluster. */
const restored = 'update postrider.meta set system_identifier = 1, table_id = 0'

test('a relay that is told to refuse does not start on a restored copy, and changes nothing there', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await client.query(restored)
  const sink = new RecordingSink()
  await emit(client, 'k', 1)
  const relay = run(db.url, [{ sink }], { onRestore: 'refuse' })
  await expect(relay.stop()).rejects.toMatchObject({
    code: 'cluster_changed',
    next: expect.stringContaining('onRestore') as string,
  })
  expect((await client.query('select from postrider.sinks')).rowCount).toBe(0)
  expect((await client.query<{ moved: boolean }>('select postrider.is_moved() as moved')).rows).toEqual([{ moved: true }])
})

test('relays that start together on a restored copy anchor it once, say so, and carry on in order', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  {
    await using before = run(db.url, [{ sink: new RecordingSink() }])
    await until(() => before.relay.health().lanes.length === 4, 'it runs')
  }
  await emitRange(client, 'k', 1, 20)
  await client.query(restored)
  const told: Messages['postrider:anchored'][] = []
  const end = subscribe('postrider:anchored', (message) => told.push(message))
  const sink = new RecordingSink()
  await using one = run(db.url, [{ sink }])
  await using other = run(db.url, [{ sink }])
  await until(() => sink.delivered.length >= 20, 'what was undone is delivered')
  await emitRange(client, 'k', 21, 30)
  await until(() => sink.delivered.length >= 30, 'what came later is delivered')
  end()
  expect(sink.numbers()).toEqual(Array.from({ length: 30 }, (_, n) => n + 1))
  expect(told).toEqual([
    { from: '1', to: expect.stringMatching(/^\d+$/) as string, continued: false, position: '20', events: 20, missing: 0 },
  ])
  for (const relay of [one, other]) await relay.stop()
})

// A base backup from some time ago is started, while a relay lives that has settled beyond it. Another relay has taken the lane
// there, and has come to the same number.
test('where history was lost, a relay neither reads nor settles by a checkpoint that another has written under its number', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const database = openDatabase(db.url, 'postrider', 'test', 4)
  const [a, b] = ['aaaaaaaa-0000-4000-8000-000000000000', 'bbbbbbbb-0000-4000-8000-000000000000'] as const
  try {
    const { sinks } = settingsOf({ connectionString: db.url, sinks: [{ sink: new RecordingSink(), lanes: 1 }] })
    const routes = new Routes(sinks, () => undefined)
    for (const sink of sinks) await routes.put(database, sink)
    const [route] = routes.all
    const claim = async (relay: string): Promise<Lane> => {
      const [lane] = route === undefined ? [] : await claimLanes(database, relay, route, 1, [], 60_000)
      if (lane === undefined) throw new Error('not claimed')
      return lane
    }
    await emitRange(client, 'k', 1, 5)
    const ours = await claim(a)
    const nothing = { finished: [], spared: [], parked: [], blocked: [], unstarted: [] }
    const page = await claimPage(database, ours, 100)
    await settle(database, a, ours, settlementOf(ours, page, nothing, [], [], false))
    const inHand = settlementOf(ours, await claimPage(database, ours, 100), nothing, [], [], false)

    await client.query('delete from postrider.checkpoints where fence > 1')
    await client.query(`update postrider.lanes set leased_until = '-infinity'`)
    const theirs = await claim(b)
    const first = await claimPage(database, theirs, 2)
    await settle(database, b, theirs, settlementOf(theirs, first, nothing, [], [], false))
    expect(theirs.fence).toBe(ours.fence)

    await expect(settle(database, a, ours, inHand)).rejects.toMatchObject({ code: 'stale_fence' })
    ours.life = -1 // as after any connection that broke
    await expect(claimPage(database, ours, 100)).rejects.toMatchObject({ code: 'stale_fence' })
    expect((await claimPage(database, theirs, 100)).events.map(({ event }) => event.position)).toEqual(['3', '4', '5'])

    // And nobody reads where cursors mean nothing.
    await client.query(restored)
    theirs.life = -1
    await expect(claimPage(database, theirs, 100)).rejects.toMatchObject({ code: 'stale_fence' })
  } finally {
    await database.close()
  }
})
