import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { subscribe, type Messages } from '@postrider/relay'
import { testDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { runChores, type Chore } from '../src/chores.ts'
import { openDatabase } from '../src/database.ts'
import { emit, emitRange, failed, range, RecordingSink, refused, run, until } from './support.ts'

/** Chores as often as a test can wait for. */
const choreMs = 100
const patient = { delaysMs: Array<number>(1_000).fill(50), jitter: 0, maxAgeMs: 60_000 }

/** Segments of a second, kept for a second: shorter than an operator may cut them. */
async function cutShort(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ statement: string }>(
    `select statement from postrider.plan_segments(4, '1 second', '1 second')`,
  )
  for (const { statement } of rows) await client.query(statement)
}

async function count(client: pg.Client, what: string): Promise<number> {
  const { rows } = await client.query<{ n: number }>(`select count(*)::int as n from postrider.${what}`)
  return rows[0]?.n ?? Number.NaN
}

/** What is told about chores while something is going on. */
function hearChores(): { readonly heard: Messages['postrider:chore'][] } & Disposable {
  const heard: Messages['postrider:chore'][] = []
  const end = subscribe('postrider:chore', (message) => void heard.push(message))
  return { heard, [Symbol.dispose]: end }
}

test('what retries and what is dead outlives its segment: it is delivered later, in the order of its key, and then goes too', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await cutShort(client)
  const sink = new RecordingSink()
  let broken = true
  sink.answer = ({ key, n }) => (!broken || n > 1 || key === 'x' ? { kind: 'delivered' } : key === 'dead' ? refused : failed)
  await using _ = run(db.url, [{ sink, retry: patient, circuit: false }], { choreMs })
  await emitRange(client, 'retrying', 1, 4)
  const dead = await emit(client, 'dead', 1)
  await emitRange(client, 'dead', 2, 3)
  await emitRange(client, 'x', 1, 50)

  await until(async () => (await count(client, 'events')) === 7, 'only what is needed is left')
  expect(await count(client, 'events_kept')).toBe(7)
  expect(sink.numbers()).toEqual(range(1, 50))
  expect(await count(client, 'deliveries as d join postrider.events as e on e.position = d.position and e.slot = d.slot')).toBe(7)
  await sleep(300)
  expect(await count(client, `attempts_kept where event_id = '${dead}' and outcome = 'reject'`)).toBe(1)

  broken = false
  await client.query('select postrider.retry($1)', [dead])
  await until(() => sink.delivered.length === 57, 'all is delivered')
  expect([sink.numbers('retrying'), sink.numbers('dead')]).toEqual([range(1, 4), range(1, 3)])
  await until(async () => (await count(client, 'events')) + (await count(client, 'attempts_kept')) === 0, 'nothing is left')
})

test('a sink that is paused for too long is left behind, loudly, and goes on with what is there; one that is slow is waited for', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  await cutShort(client)
  await client.query(`update postrider.ring set hold = '2 seconds'`)
  const [quick, slow, lazy] = ['quick', 'slow', 'lazy'].map((name) => new RecordingSink(name))
  if (quick === undefined || slow === undefined || lazy === undefined) throw new Error('three names make three sinks')
  let stuck = true
  slow.answer = async (_, signal) => {
    while (stuck && !signal.aborted) await sleep(20)
    return stuck ? failed : { kind: 'delivered' }
  }
  using chores = hearChores()
  const sinks = [quick, slow, lazy].map((sink) => ({ sink, retry: patient, circuit: false as const, concurrency: 1, lanes: 1 }))
  await using _ = run(db.url, sinks, { choreMs, pageSize: 5, pageMs: 60_000, slowMs: 60_000 })
  await until(() => count(client, `sinks where name = 'lazy'`).then((n) => n === 1), 'the sinks are known')
  await client.query(`select postrider.pause('lazy', 'a visit')`)
  await emitRange(client, null, 1, 20)
  await until(() => quick.delivered.length === 20, 'the quick one has all')

  await sleep(4_000)
  expect(await count(client, 'events')).toBe(20)
  expect(chores.heard.filter(({ loss }) => loss)).toEqual([])
  stuck = false
  await until(() => slow.delivered.length === 20, 'the slow one has all')
  await until(async () => (await count(client, 'events')) === 0, 'the segment is emptied')
  await until(() => chores.heard.some(({ loss }) => loss), 'it is told')
  const losses = chores.heard.filter(({ loss }) => loss)
  expect(losses.map(({ chore, result }) => [chore, result])).toEqual(losses.map(() => ['segments', 'done']))
  expect(losses.map(({ detail }) => detail).join()).toMatch(/lazy was left behind and will not get \d+ events/)
  const { rows } = await client.query<{ events: number }>(
    `select sum((detail ->> 'events')::int)::int as events from postrider.actions where action = 'left_behind' and sink = 'lazy'`,
  )
  expect(rows[0]?.events).toBe(20)
  await emit(client, null, 21)
  await client.query(`select postrider.resume('lazy')`)
  await until(() => lazy.delivered.length > 0, 'it goes on')
  expect(lazy.numbers()).toEqual([21])
})

test('the ring is cut anew while three producers write and a relay follows: none fails or waits, nothing is lost', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const sink = new RecordingSink()
  using chores = hearChores()
  await using _ = run(db.url, [{ sink }], { choreMs })
  const took: number[] = []
  const failures: unknown[] = []
  let [written, going] = [0, true]
  const producing = range(1, 3).map(async () => {
    const producer = await db.client()
    while (going && failures.length === 0) {
      const n = ++written
      const began = performance.now()
      if (n % 10 === 0) await producer.query('begin')
      await emit(producer, `k${n % 7}`, n)
      if (n % 10 === 0) await producer.query('commit')
      took.push(performance.now() - began)
      await sleep(2)
    }
  })
  for (const producer of producing) producer.catch((error: unknown) => failures.push(error))
  for (const [slots, width, keep] of [
    [16, '10 seconds', '10 seconds'],
    [4, '10 seconds', '20 seconds'],
    [12, '1 hour', '2 hours'],
    [3, '12 seconds', '12 seconds'],
    [8, '10 seconds', '10 seconds'],
  ] as const) {
    await client.query('call postrider.set_segments($1, $2, $3)', [slots, width, keep])
    await sleep(1_000)
  }
  await until(async () => (await count(client, 'segments where slot >= 8')) === 0, 'those too many are dropped', 20_000)
  going = false
  await Promise.allSettled(producing)
  expect(failures).toEqual([])
  await until(() => sink.delivered.length >= written, 'all is delivered')
  expect(sink.numbers().sort((a, b) => a - b)).toEqual(range(1, written))
  expect(took.sort((a, b) => a - b)[Math.floor(took.length * 0.99)]).toBeLessThan(100)
  expect(chores.heard.filter(({ detail }) => detail?.includes('was dropped')).length).toBeGreaterThan(0)
}, 60_000)

test('chores are done once for all relays; one that fails is told, and holds up no other', async () => {
  await using db = await testDatabase()
  using chores = hearChores()
  const everyMs = 200
  const failing: Chore = { name: 'failing', run: () => Promise.reject(new Error('cannot')) }
  const working: Chore = { name: 'working', run: () => Promise.resolve({ done: true, detail: 'has worked' }) }
  const rare: Chore = { name: 'rare', everyTurns: 100, run: () => Promise.resolve(null) }
  const stop = new AbortController()
  const relays = range(1, 4).map(() => openDatabase(db.url, 'postrider', 'chores', 2))
  const began = performance.now()
  const running = relays.map((database) =>
    runChores({ relay: randomUUID(), database, everyMs, chores: [failing, working, rare] }, stop.signal),
  )
  await sleep(3_000)
  stop.abort()
  await Promise.all(running)
  const turns = (performance.now() - began) / (everyMs * 0.8)
  await Promise.all(relays.map((database) => database.close()))

  const of = (name: string): Messages['postrider:chore'][] => chores.heard.filter(({ chore }) => chore === name)
  expect(of('working').length).toBeGreaterThan(5)
  expect(of('working').length).toBeLessThanOrEqual(turns + 1)
  expect(of('working')[0]).toEqual({ chore: 'working', result: 'done', detail: 'has worked', loss: false })
  expect(of('failing').length).toBeGreaterThan(5)
  expect(of('failing')[0]).toEqual({ chore: 'failing', result: 'failed', detail: 'cannot', loss: false })
  expect(of('rare')).toEqual([{ chore: 'rare', result: 'nothing', detail: null, loss: false }])
})
