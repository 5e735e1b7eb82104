/** What the functions of operators take from outside: an answer or their own word, never an error of PostgreSQL about our SQL. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import fc from 'fast-check'
import { hostileText } from '@postrider/test/fuzz'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'

const settings = { seed: Number(process.env['POSTRIDER_FUZZ_SEED'] ?? 20_261_121), numRuns: 300 }
let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  const owner = await db.client()
  await migrate(owner, { roles: true })
  await owner.query(
    `select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now', 8, null, true)`,
  )
  await emit(owner, [{ type: 'order.placed', key: 'k', tenant: 't' }])
  client = await db.client()
  await client.query(`set role postrider_relay; set statement_timeout = '2s'; set transaction_read_only = off`)
})
afterAll(() => db[Symbol.asyncDispose]())

/** Text that `jsonb` and `text` can hold at all; the cast before our functions refuses the rest. */
const text = hostileText(60).map((given) => given.replaceAll('\0', '').toWellFormed())
const sly = fc.constantFrom(
  `'`,
  `''; drop table postrider.events; --`,
  `\\`,
  `$$`,
  `%s`,
  `%I`,
  `§`,
  `{`,
  `*.**`,
  `order.**`,
  `a|b`,
  `.*`,
  'hooks',
  'dead',
  `E'\\x'`,
)
const word = fc.oneof(text, sly)

/** The SQLSTATE of a call that came to nothing; null when it was done. Nothing stays. */
async function stateOf(statement: string, values: readonly unknown[]): Promise<string | null> {
  await client.query('begin')
  try {
    await client.query(statement, [...values])
    return null
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  } finally {
    await client.query('rollback')
  }
}

test('a filter of an operation is taken, or refused as PR004', async () => {
  const names = [
    'sink',
    'type',
    'key',
    'tenant',
    'state',
    'since',
    'until',
    'min_attempts',
    'error_code',
    'fingerprint',
    'ids',
    '__proto__',
  ]
  const value = fc.oneof(
    word,
    fc.array(word, { maxLength: 3 }),
    fc.jsonValue({ maxDepth: 1 }).filter((one) => !/\\u0000|\\ud/.test(JSON.stringify(one))),
  )
  const filters = fc.oneof(fc.dictionary(fc.oneof(fc.constantFrom(...names), word), value, { maxKeys: 4 }), value)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('retry', 'discard', 'skip', 'replay'),
      filters,
      fc.option(word),
      async (kind, filter, sink) => {
        expect(
          await stateOf('select * from postrider.preview_operation($1, $2::text::jsonb, $3)', [
            kind,
            JSON.stringify(filter),
            sink,
          ]),
        ).toSatisfy((state: string | null) => state === null || state === 'PR004')
      },
    ),
    settings,
  )
})

test('an endpoint is added, or refused as PR005', async () => {
  const secrets = fc.oneof(
    fc.constant({ current: ['env:SECRET'] }),
    fc.record(
      {
        current: fc.oneof(fc.array(word, { maxLength: 3 }), word),
        previous: fc.array(fc.oneof(word, fc.record({ secret: word, until: word })), { maxLength: 2 }),
      },
      { requiredKeys: [] },
    ),
    fc.jsonValue({ maxDepth: 1 }).filter((one) => !/\\u0000|\\ud/.test(JSON.stringify(one))),
  )
  const endpoints = fc.tuple(
    fc.oneof(fc.constant('acme'), word),
    fc.oneof(fc.constantFrom('https://example.com/hook', 'https://a@b/', 'https://a\\@b/'), word),
    secrets.map((one) => JSON.stringify(one)),
    fc.option(fc.array(word, { maxLength: 2 })),
    fc.option(word),
    fc.dictionary(word, word, { maxKeys: 2 }).map((one) => JSON.stringify(one)),
    fc.option(word),
  )
  await fc.assert(
    fc.asyncProperty(endpoints, async (values) => {
      const state = await stateOf(
        `select postrider.add_endpoint('hooks', $1, $2, $3::text::jsonb, $4::text[], $5, $6::text::jsonb, format => $7)`,
        values,
      )
      expect(state === null || state === 'PR005', String(state)).toBe(true)
    }),
    settings,
  )
})

test('a cursor that is no snapshot is refused by its type, and no relay can rewrite one that stands', async () => {
  const numbers = fc.array(fc.nat(), { maxLength: 4 })
  const snapshots = fc.oneof(
    word,
    fc.tuple(fc.nat(), fc.nat(), numbers).map(([xmin, xmax, xip]) => `${xmin}:${xmax}:${xip.join(',')}`),
  )
  await fc.assert(
    fc.asyncProperty(snapshots, async (snapshot) => {
      const state = await stateOf(`update postrider.checkpoints set done = $1::text::pg_snapshot`, [snapshot])
      const cast = await stateOf('select $1::text::pg_snapshot', [snapshot])
      expect(state, 'the journal is not to be rewritten by a relay').toBe(cast ?? '42501')
      expect(cast === null || cast === '22P02', String(cast)).toBe(true)
    }),
    settings,
  )
})
