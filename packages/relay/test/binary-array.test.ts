import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import fc from 'fast-check'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { float4Array, int4Array, int8Array, uuidArray } from '../src/binary-array.ts'

const itself = <T>(item: T): T => item

describe('arrays in binary', () => {
  let db: TestDatabase
  let client: pg.Client
  beforeAll(async () => {
    db = await testDatabase()
    client = await db.client()
  })
  afterAll(() => db[Symbol.asyncDispose]())

  const rows = fc.array(
    fc.record({
      position: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
      id: fc.uuid(),
      startedMs: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      durationMs: fc.float({ noNaN: true, noDefaultInfinity: true }),
    }),
    { maxLength: 40 },
  )

  it('mean to PostgreSQL what was meant', async () => {
    await fc.assert(
      fc.asyncProperty(rows, async (given) => {
        const { rows: read } = await client.query<{ position: string; id: string; started: number; duration: number }>({
          name: 'arrays',
          text: `select unnest($1::bigint[]) as position, unnest($2::uuid[]) as id, unnest($3::int[]) as started, unnest($4::real[]) as duration`,
          values: [
            int8Array(given, ({ position }) => position),
            uuidArray(given, ({ id }) => id),
            int4Array(given, ({ startedMs }) => startedMs),
            float4Array(given, ({ durationMs }) => durationMs),
          ],
        })
        expect(read.map(({ position, id, started, duration }) => [BigInt(position), id, started, Math.fround(duration)])).toEqual(
          given.map(({ position, id, startedMs, durationMs }) => [position, id, startedMs, durationMs]),
        )
      }),
      { numRuns: 200 },
    )
  })

  it('refuse what does not fit, rather than write something else', () => {
    expect(() => int4Array([2 ** 31], itself)).toThrow(RangeError)
    expect(() => int8Array([2n ** 63n], itself)).toThrow(RangeError)
  })
})
