import { afterAll, beforeAll, expect, test } from 'vitest'
import { createHash } from 'node:crypto'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit, stored } from './emit.ts'

let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())

test('the bucket of a key is the first byte of its SHA-256 in UTF-8, on every version and platform', async () => {
  const keys = ['', 'o-1', 'ü', '😀', 'k'.repeat(512)]
  const { rows } = await client.query<{ bucket: number }>(
    'select postrider.bucket_of(key) as bucket from unnest($1::text[]) as key',
    [keys],
  )
  expect(rows.map(({ bucket }) => bucket)).toEqual(keys.map((key) => createHash('sha256').update(key).digest()[0]))
})

test('each number of lanes, 1 to 64, cuts the 256 buckets into that many ranges, as a relay computes them', async () => {
  const { rows } = await client.query<{ lanes: number; lane: number; first: number; last: number; buckets: number }>(
    `select lanes, lane, min(bucket)::int as first, max(bucket)::int as last, count(*)::int as buckets
     from generate_series(1, 64) as lanes cross join generate_series(0, 255) as bucket
     cross join lateral postrider.lane_of(bucket::smallint, lanes::smallint) as lane
     group by lanes, lane order by lanes, lane`,
  )
  const expected = Array.from({ length: 64 }, (_, i) => i + 1).flatMap((lanes) =>
    Array.from({ length: lanes }, (_, lane) => {
      const first = Math.ceil((lane * 256) / lanes)
      const last = Math.ceil(((lane + 1) * 256) / lanes) - 1
      return { lanes, lane, first, last, buckets: last - first + 1 }
    }),
  )
  expect(rows).toEqual(expected)
})

test('events of a key share a bucket; events without a key are spread', async () => {
  const ids = await emit(client, [
    ...Array.from({ length: 50 }, () => ({ type: 'a', key: 'o-1' })),
    ...Array.from({ length: 200 }, () => ({ type: 'a' })),
  ])
  const buckets = (await stored(client, ids)).map(({ bucket }) => bucket)
  const ofKey = createHash('sha256').update('o-1').digest()[0]
  expect(new Set(buckets.slice(0, 50))).toEqual(new Set([ofKey]))
  expect(new Set(buckets.slice(50)).size).toBeGreaterThan(60)
})
