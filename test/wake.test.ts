import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type pg from 'pg'
import { testDatabase } from './postgres/index.ts'
import { startReceiver, bigNumber, type Receiver } from './receiver.ts'
import { startRelay, type RelayProcess } from './relay-process.ts'
import { until } from './until.ts'

/** With polls this far apart, what arrives soon was woken for. */
const pollMs = 60_000
const promptMs = 1_000

test('two relays that sleep are woken by every commit', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  await using _relays = await startTwo(db.url, receiver)
  const client = await db.client()
  expect(await slowest(receiver, await emitSome(client, 500, 20))).toBeLessThan(promptMs)
})

test('a transaction that stays open for seconds keeps no relay asleep, and wakes it itself', async () => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  await using _relays = await startTwo(db.url, receiver)
  const [client, slow] = [await db.client(), await db.client()]
  await slow.query('begin')
  const held = await emit(slow)
  const others = await emitSome(client, 100, 60)
  expect(receiver.arrivals.some(({ id }) => id === held)).toBe(false)
  await slow.query('commit')
  expect(await slowest(receiver, new Map([...others, [held, performance.now()]]))).toBeLessThan(promptMs)
})

test.each(['listen', 'wake'])('commits wake the relays also after their sessions that %s were terminated', async (session) => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  await using _relays = await startTwo(db.url, receiver)
  const client = await db.client()
  const sent = new Map<string, number>()
  for (let time = 0; time < 3; time++) {
    const { rowCount } = await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'postrider %' || $1`,
      [session],
    )
    expect(rowCount).toBeGreaterThanOrEqual(time === 0 ? 2 : 0)
    for (const [id, at] of await emitSome(client, 60, 10)) sent.set(id, at)
  }
  expect(await slowest(receiver, sent)).toBeLessThan(promptMs)
})

test.each([
  { end: 'stopped', leave: (relay: RelayProcess) => relay.stop() },
  { end: 'killed', leave: async (relay: RelayProcess) => relay.kill('SIGKILL') },
])('a relay that sleeps is woken also after the other one was $end', async ({ leave }) => {
  await using db = await testDatabase()
  await using receiver = await startReceiver()
  const client = await db.client()
  await using relays = await startTwo(db.url, receiver)
  // The one that sleeps relies on the gate that the other one has closed.
  const { rows } = await client.query<{ name: string }>(
    `select distinct application_name as name from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and mode = 'ExclusiveLock' and datname = current_database()`,
  )
  expect(rows).toHaveLength(1)
  const holder = rows[0]!.name.includes('first') ? 0 : 1
  await leave(relays.both[holder]!)
  await until('the one that is left carries every lane', () => relays.both[1 - holder]!.lanes().length === 4)
  expect(await slowest(receiver, await emitSome(client, 50, 20))).toBeLessThan(promptMs)
})

async function startTwo(url: string, receiver: Receiver): Promise<AsyncDisposable & { readonly both: readonly RelayProcess[] }> {
  const start = (name: string) => startRelay(url, receiver, { name, pollMs, watch: ['postrider:listener'] })
  const both = [await start('first'), await start('second')] as const
  await until('they share the lanes', () => both.every((relay) => relay.lanes().length === 2))
  await until('they listen', () => both.every((relay) => relay.told('postrider:listener').at(-1)?.message.state === 'listening'))
  await sleep(100) // asleep by now
  return {
    both,
    async [Symbol.asyncDispose]() {
      for (const relay of both) await relay[Symbol.asyncDispose]()
    },
  }
}

let number = 0

async function emit(client: pg.Client): Promise<string> {
  const key = `key-${++number}`
  const { rows } = await client.query<{ id: string }>(
    `select postrider.emit(jsonb_build_object('type', 'test.made', 'key', $1::text, 'payload', jsonb_build_object('key', $1::text, 'n', 1, 'big', ${bigNumber}))) as id`,
    [key],
  )
  return rows[0]!.id
}

/** Commits events at random intervals; when each was committed. */
async function emitSome(client: pg.Client, count: number, meanMs: number): Promise<Map<string, number>> {
  const sent = new Map<string, number>()
  for (let nr = 0; nr < count; nr++) {
    const id = await emit(client)
    sent.set(id, performance.now())
    // Mostly in bursts, and now and then late enough that all have fallen asleep.
    await sleep(Math.random() < 0.1 ? 5 * meanMs * Math.random() : meanMs * Math.random())
  }
  return sent
}

/** The longest time from a commit to its arrival, in ms. */
async function slowest(receiver: Receiver, sent: ReadonlyMap<string, number>): Promise<number> {
  const arrived = new Map<string, number>()
  const look = (): boolean => {
    for (const { id, at } of receiver.arrivals) if (!arrived.has(id)) arrived.set(id, at)
    return [...sent.keys()].every((id) => arrived.has(id))
  }
  await until('everything arrived', look, 5_000)
  return Math.max(...[...sent].map(([id, at]) => arrived.get(id)! - at))
}
