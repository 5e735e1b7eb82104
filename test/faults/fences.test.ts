import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { testDatabase } from '../postgres/index.ts'
import { startReceiver } from '../receiver.ts'
import { startRelay } from '../relay-process.ts'
import { until } from '../until.ts'
import { fenceAudit, staleWrites, watched } from './fences.ts'

test('what a relay writes to a lane of another is found, whatever it is; what owners write is not', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  const client = await db.client()
  await client.query(fenceAudit)
  {
    await using owner = await startRelay(db.url, receiver, { name: 'owner', leaseMs: 30_000, sink: { lanes: 1 } })
    await until('it has the lane', () => owner.lanes().length === 1)
    const emit = `select postrider.emit('{"type": "test.made", "key": "k", "payload": {"key": "k", "n": 1, "big": 9007199254740993}}')`
    await client.query(emit)
    await until('it has carried', () => receiver.distinct === 1)
    await until('it has settled', async () => (await client.query('select from postrider.attempts')).rowCount === 1)
    expect(await staleWrites(client)).toEqual([])
    expect(await watched(client)).toMatchObject({ relays: 1 })

    // A session that calls itself a relay, as the pools of relays do.
    const stranger = await db.client()
    await stranger.query(`set application_name = 'postrider stranger leases'`)
    const id = randomUUID()
    await client.query(`insert into postrider.relays (id, name, version, sinks) values ($1, 'stranger', '0', '{hook}')`, [id])
    const tries = [
      `insert into postrider.checkpoints (sink, lane, fence, done, position, relay) select sink, lane, fence + 1, done, position, '${id}' from postrider.checkpoints order by fence desc limit 1`,
      `update postrider.lanes set leased_until = clock_timestamp() + interval '1 minute'`,
      `update postrider.lanes set relay = '${id}'`,
      `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, available_at) select 'hook', 0, position, slot, id, key, 'retrying', 1, now() from postrider.events`,
    ]
    for (const [nr, statement] of tries.entries()) {
      await stranger.query('begin')
      await stranger.query(statement)
      expect(await staleWrites(stranger), statement).toHaveLength(1)
      await stranger.query('rollback')
      expect(await staleWrites(client), `${nr} was rolled back`).toEqual([])
    }
    await stranger.query('begin')
    await stranger.query(
      `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, relay) select 'hook', position, slot, id, 2, 'delivered', now(), 1, '${id}' from postrider.events`,
    )
    expect(await staleWrites(stranger)).toEqual([expect.stringContaining('without a checkpoint')])
    await stranger.query('rollback')
    await owner.stop()
  }
  expect(await staleWrites(client)).toEqual([])
})
