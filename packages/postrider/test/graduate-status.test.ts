import { PostriderError } from '@postrider/schema'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDatabase, type Database } from '../src/connect.ts'
import { readSteps, type Step } from '../src/graduate/status.ts'
import type { Stream } from '../src/graduate/stream.ts'

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

async function putSink(name: string, types: string | null, kind = 'webhook'): Promise<void> {
  await client.query(`select postrider.put_sink($1, $3, 1::smallint, $2::text[], 'key', 'block', 'all', 'now')`, [
    name,
    types,
    kind,
  ])
}

const stages = async (streams: ReadonlyMap<string, Stream> = new Map(), only: string | null = null): Promise<string[]> =>
  (await readSteps({ database, schema }, streams, only)).map(
    ({ sink, types, toSink, stage, finished }: Step) =>
      `${sink} ${types?.join() ?? 'all'} ${toSink ?? '-'}: ${stage}${finished ? ', finished' : ''}`,
  )

/** A cluster with a topic `orders` of two partitions of ten records, and one group. */
function cluster(idle: boolean, committed: Readonly<Record<string, string>> = {}): Stream {
  const bounds = new Map([0, 1].map((partition) => [partition, { first: 0n, next: 10n }]))
  return {
    bounds: async () => bounds,
    group: async () => ({ idle, state: idle ? 'Empty' : 'active, with 1 members' }),
    committed: async () => ({ orders: committed }),
    commit: async () => {},
    async *read() {},
  }
}

test('a sink is at webhook until a Kafka sink takes some of its types, and then at shadow', async () => {
  await putSink('billing', '{order.*}')
  await putSink('crm', '{user.*}')
  expect(await stages()).toEqual(['billing order.* -: webhook', 'crm user.* -: webhook'])
  await putSink('main-kafka', '{order.**}', 'kafka-shadow')
  expect(await stages()).toEqual(['billing order.* main-kafka: shadow', 'crm user.* -: webhook'])
  expect(await stages(new Map(), 'crm')).toEqual(['crm user.* -: webhook'])
})

test('a move is at switching, then at kafka with what its group has still to read; what is left of the sink stands beside it', async () => {
  await putSink('billing', '{order.*,user.*}')
  await putSink('main-kafka', null, 'kafka')
  await client.query(`select postrider.begin_cutover('billing', '{order.*}', 'main-kafka', 'group-1')`)
  const rest = 'billing order.*,user.* main-kafka: shadow'
  expect(await stages()).toEqual([rest, 'billing order.* main-kafka: switching'])
  const [, switching] = await readSteps({ database, schema }, new Map([['main-kafka', cluster(false)]]))
  expect(switching?.gates.filter(({ open }) => !open).map(({ gate }) => gate)).toEqual(['verified', 'idle'])

  await client.query(`select postrider.complete_cutover(1, '{"orders": {"0": "4", "1": "6"}}')`)
  const [, moved] = await readSteps({ database, schema }, new Map([['main-kafka', cluster(false, { '0': '9' })]]))
  expect(moved).toMatchObject({ stage: 'kafka', consumer: 'group-1', behind: '5', gates: [] })
  await client.query(`select postrider.begin_cutover('billing', '{user.*}', 'main-kafka', 'group-2')`)
  await client.query('select postrider.finish_cutover(1)')
  expect(await stages()).toEqual(['billing order.* main-kafka: kafka, finished', 'billing user.* main-kafka: switching'])
})

test('a cluster that cannot be reached is told in its place, and all else is still told', async () => {
  await putSink('billing', '{order.*}')
  await putSink('main-kafka', null, 'kafka')
  await client.query(`select postrider.begin_cutover('billing', '{order.*}', 'main-kafka', 'group-1')`)
  await client.query(`select postrider.complete_cutover(1, '{"orders": {"0": "4"}}')`)
  const down: Stream = { ...cluster(true), committed: () => Promise.reject(new PostriderError('connect', 'refused')) }
  const steps = await readSteps({ database, schema }, new Map([['main-kafka', down]]))
  expect(steps).toMatchObject([
    { stage: 'kafka', behind: null, gates: [{ gate: 'group', open: false, detail: 'the cluster cannot be asked: refused' }] },
  ])
})
