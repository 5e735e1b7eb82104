import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDatabase, type Database } from '../src/connect.ts'
import { assess, queryNames, verdictOf, type Assessment, type Sign, type Verdict } from '../src/graduate/assess.ts'
import { readLogGates, requireOpen } from '../src/graduate/gates.ts'
import { thresholds, type SignName } from '../src/graduate/thresholds.ts'
import { wordAssessment } from '../src/graduate/word-assessment.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram } from './program.ts'

let db: TestDatabase
let client: pg.Client
let database: Database
const schema = 'postrider'

beforeEach(async () => {
  db = await testDatabase()
  client = await db.client()
  database = openDatabase({ database: { url: db.url, directUrl: db.url, connections: 2 }, schema }, 'test')
})
afterEach(async () => {
  await database[Symbol.asyncDispose]()
  await db[Symbol.asyncDispose]()
})

async function emit(type: string, count: number, key = `'k' || n`): Promise<void> {
  await client.query(
    `select postrider.emit(jsonb_agg(jsonb_build_object('type', $1::text, 'key', ${key}, 'payload', '{"n": 1}'::jsonb))) from generate_series(1, $2::int) as n`,
    [type, count],
  )
}

async function putSink(name: string, types: string | null, kind = 'webhook'): Promise<void> {
  await client.query(`select postrider.put_sink($1, $3, 2::smallint, $2::text[], 'key', 'block', 'all', 'beginning')`, [
    name,
    types,
    kind,
  ])
}

/** Attempts at every event of a first segment, one for each of the sinks. */
async function attempted(kind: string, outcome: string, ...sinks: readonly string[]): Promise<void> {
  await client.query(
    `insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms)
     select s.name, e.position, e.slot, e.id, 1, $2, clock_timestamp(), 1
     from postrider.events as e cross join unnest($3::text[]) as s (name) where e.type ~ ('^' || $1 || '\\.')`,
    [kind, outcome, sinks],
  )
}

const kindOf = (found: readonly Assessment[], kind: string): Assessment => found.find((one) => one.kind === kind)!
const signOf = ({ signs }: Assessment, sign: SignName): Sign | undefined => signs.find((one) => one.sign === sign)

describe('an assessment', () => {
  test('tells each kind of event apart: who gets it, how often, how fast; Kafka sinks are none of the consumers', async () => {
    await emit('order.placed', 60)
    await emit('user.renamed', 30, `'one'`)
    for (let n = 1; n <= 9; n++) await putSink(`hook-${n}`, '{order.*}')
    await putSink('users', '{user.*}')
    await putSink('main-kafka', null, 'kafka-shadow')
    await attempted('order', 'delivered', ...Array.from({ length: 9 }, (_, n) => `hook-${n + 1}`))
    await attempted('user', 'throttled', 'users')

    const found = await assess(100, { database, schema })
    expect(found.map(({ kind, events }) => [kind, events])).toEqual([
      ['*', 90],
      ['order', 60],
      ['user', 30],
    ])
    const order = kindOf(found, 'order')
    expect(order).toMatchObject({ consumers: 9, peakPerSecond: 1, countersign: null, verdict: 'prepare' })
    expect(signOf(order, 'consumers')).toMatchObject({ value: 9, says: 'graduate', threshold: thresholds.consumers })
    expect(signOf(order, 'consumers')?.cheaper).toContain('fan out')
    expect(signOf(order, 'fanOut')).toMatchObject({ value: 9, says: 'prepare' })
    expect(signOf(order, 'throughput')).toMatchObject({ value: 0.01, says: 'stay', cheaper: null })
    const user = kindOf(found, 'user')
    expect(signOf(user, 'slow')).toMatchObject({ value: 1, says: 'graduate' })
    // Whatever the signs say: it is small.
    expect([user.verdict, user.countersign]).toEqual(['stay', expect.stringContaining('1 consumer and fewer than 50') as string])
    expect(user.notes).toEqual([expect.stringContaining('one key has 100 %') as string])
    expect(kindOf(found, '*').consumers).toBe(10)
  })

  test('of what was never measured says so, and does not count it', async () => {
    await emit('order.placed', 5)
    const found = await assess(null, { database, schema })
    const order = kindOf(found, 'order')
    expect(signOf(order, 'throughput')).toMatchObject({
      value: null,
      says: 'unknown',
      why: expect.stringContaining('--capacity') as string,
    })
    expect(signOf(order, 'fanOut')).toMatchObject({ value: null, says: 'unknown' })
    expect(wordAssessment(order)).toMatch(/unknown +busiest minute of the capacity/)
  })

  test('counts what was sent once more', async () => {
    await emit('order.placed', 10)
    await putSink('billing', null)
    await client.query(
      `insert into postrider.operations (kind, filter, sink, actor, up_to_position, done) values ('replay', '{}', 'billing', 'ann', 10, 12)`,
    )
    expect(signOf(kindOf(await assess(null, { database, schema }), '*'), 'replays')).toMatchObject({
      value: 1.2,
      says: 'graduate',
    })
  })

  test('of an empty log says that there is nothing', async () => {
    expect(await assess(null, { database, schema })).toEqual([])
    const { code, stderr } = await runProgram(['graduate', 'assess'], { env: { POSTRIDER_DATABASE_URL: db.url } })
    expect([code, stderr]).toEqual([0, expect.stringContaining('nothing to assess') as string])
  })

  test('shows the query behind each figure, and it is the one that is asked', async () => {
    await emit('order.placed', 5)
    const env = { POSTRIDER_DATABASE_URL: db.url }
    const shown = await runProgram(['graduate', 'assess', '--explain', '--json'], { env })
    const queries = JSON.parse(shown.stdout) as Record<string, string>
    expect(Object.keys(queries)).toEqual([...queryNames])
    for (const [name, text] of Object.entries(queries)) {
      expect(text, name).toMatch(/^-- /)
      await expect(client.query(text), name).resolves.toBeDefined()
    }
    const { stdout } = await runProgram(['graduate', 'assess', '--capacity', '10000/s'], { env })
    expect(stdout).toContain('verdict: STAY')
  })
})

test.each<[says: Sign['says'][], verdict: Verdict]>([
  [['stay', 'unknown'], 'stay'],
  [['stay', 'prepare'], 'prepare'],
  [['graduate', 'stay', 'prepare'], 'prepare'],
  [['graduate', 'graduate'], 'graduate'],
  [['unknown', 'unknown'], 'stay'],
])('signs that say %j make the verdict %s', (says, verdict) => {
  expect(verdictOf(says.map((one) => ({ says: one })))).toBe(verdict)
})

describe('the gates before a cutover', () => {
  const move = { sink: 'billing', toSink: 'main-kafka', types: ['order.*'], consumer: null }
  const gates = async (options: object = {}): Promise<Record<string, boolean>> =>
    Object.fromEntries((await readLogGates({ ...move, ...options }, { database, schema })).map(({ gate, open }) => [gate, open]))

  async function compared(from: number, to: number, equal: boolean, { sink = 'billing', ago = '0' } = {}): Promise<void> {
    await client.query(
      `insert into postrider.verifications (at, to_sink, sink, from_position, to_position, events, equal, result)
       values (clock_timestamp() - $5::interval, 'main-kafka', $4, $1::bigint, $2::bigint, $2::bigint - $1::bigint, $3, '{}')`,
      [from, to, equal, sink, ago],
    )
  }

  beforeEach(async () => {
    await putSink('billing', null)
    await putSink('other', null)
    await putSink('main-kafka', null, 'kafka')
  })

  test('want a comparison that is new, large enough and equal; a difference stays until just those events are equal', async () => {
    expect(await gates()).toEqual({ verified: false, lag: true, 'dead letters': true })
    await compared(1, 11, true, { ago: '25 hours' })
    expect((await gates())['verified']).toBe(false)
    expect((await gates({ maxAgeMs: 100_000_000 }))['verified']).toBe(true)
    await compared(11, 21, true)
    expect((await gates())['verified']).toBe(true)
    expect((await gates({ minEvents: 11 }))['verified']).toBe(false)
    await compared(21, 31, false)
    await compared(31, 41, true)
    expect((await gates())['verified']).toBe(false)
    await compared(21, 30, true)
    expect((await gates())['verified']).toBe(false)
    await compared(15, 31, true)
    expect((await gates())['verified']).toBe(true)
  })

  test('do not mind what another sink has acknowledged', async () => {
    await compared(1, 11, true)
    await compared(1, 11, false, { sink: 'other' })
    expect((await gates())['verified']).toBe(true)
  })

  test('are closed by dead letters of these types at either sink, and by no others', async () => {
    await emit('order.placed', 1)
    await emit('user.renamed', 1)
    const die = async (sink: string, type: string): Promise<void> => {
      await client.query(
        `insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, error_code)
         select $1, 0, position, slot, id, key, 'dead', 1, 'timeout' from postrider.events where type = $2`,
        [sink, type],
      )
    }
    await die('billing', 'user.renamed')
    await die('other', 'order.placed')
    expect((await gates())['dead letters']).toBe(true)
    await die('main-kafka', 'order.placed')
    expect((await gates())['dead letters']).toBe(false)
  })

  test('are closed while the Kafka sink lags, stands still, or is not there', async () => {
    await emit('order.placed', 1)
    expect((await gates())['lag']).toBe(true)
    await client.query(`alter table postrider.events alter created_at set default clock_timestamp() - interval '6 seconds'`)
    await emit('order.placed', 1)
    expect((await gates())['lag']).toBe(false)
    await client.query(`select postrider.resume('main-kafka'), postrider.pause('main-kafka', 'to see')`)
    expect((await gates())['lag']).toBe(false)
    expect((await gates({ toSink: 'nowhere' }))['lag']).toBe(false)
  })

  test('that are closed are named, each with what opens it', async () => {
    const found = await readLogGates({ ...move, toSink: 'nowhere' }, { database, schema })
    expect(() => requireOpen(found)).toThrow(
      /2 gates are closed:\n- verified: .*postrider graduate verify --to nowhere --sink billing\n- lag: /,
    )
    expect(() => requireOpen(found.filter(({ open }) => open))).not.toThrow()
  })
})

test('a shadow sink is called so in the doctor and in status, until it is live', async () => {
  await putSink('main-kafka', null, 'kafka-shadow')
  await client.query(`select postrider.open_circuit('main-kafka', null, 600000, 600000, 'connect', 'refused', 10)`)
  const env = { POSTRIDER_DATABASE_URL: db.url }
  expect((await runProgram(['doctor'], { env })).stdout).toMatch(/circuits +main-kafka \(shadow\) has failed for/)
  expect((await runProgram(['status'], { env })).stdout).toContain('main-kafka (shadow)')
  await putSink('main-kafka', null, 'kafka')
  expect((await runProgram(['status'], { env })).stdout).not.toContain('(shadow)')
})

test('without a Kafka sink the plan shows the lines that make one, and they load', async () => {
  await using directory = await temporaryDirectory()
  const env = { POSTRIDER_DATABASE_URL: db.url }
  const bare = await runProgram(['graduate', 'plan'], { env, directory: directory.path })
  expect(bare.code).toBe(0)
  const lines = bare.stdout.slice(bare.stdout.indexOf('sinks:'))
  await directory.write('postrider.config.yaml', lines.replace('kafka-1.example.com:9092', '127.0.0.1:9'))
  await emit('order.placed', 3)
  const plan = await runProgram(['graduate', 'plan', '--json'], { env, directory: directory.path })
  expect(JSON.parse(plan.stdout)).toMatchObject({
    toSink: 'main-kafka',
    running: false,
    events: 3,
    topics: null,
    unreachable: expect.any(String) as string,
  })
  const connector = await runProgram(['graduate', 'debezium-config', '--json'], { env, directory: directory.path })
  const { statements } = JSON.parse(connector.stdout) as { statements: string[] }
  // The publication can be made; a slot needs wal_level = logical.
  await expect(client.query(statements.at(0)!)).resolves.toBeDefined()
})
