import { typeFilterPattern } from '@postrider/schema'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import type { Client } from './emit.ts'

let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())

/** Which of the types each list of filters lets through. */
async function matches(filters: readonly (readonly string[])[], types: readonly string[]): Promise<boolean[][]> {
  const rows: boolean[][] = []
  for (const list of filters) {
    const { rows: found } = await client.query<{ matches: boolean }>(
      'select type ~ postrider.type_filter($1) as matches from unnest($2::text[]) with ordinality as t (type, nth) order by nth',
      [list, types],
    )
    rows.push(found.map((row) => row.matches))
  }
  return rows
}

/** The rule itself: segment by segment. */
function lets(filter: string, type: string): boolean {
  const wanted = filter.split('.')
  const given = type.split('.')
  const rest = wanted.at(-1) === '**'
  const heads = rest ? wanted.slice(0, -1) : wanted
  if (rest ? given.length <= heads.length : given.length !== heads.length) return false
  return heads.every((segment, i) => segment === '*' || segment === given[i])
}

test.for([
  ['order.placed', 'order.placed', true],
  ['order.placed', 'orderXplaced', false],
  ['order.placed', 'order.placed.late', false],
  ['order.placed', 'Order.placed', false],
  ['order.*', 'order.placed', true],
  ['order.*', 'order.placed.late', false],
  ['order.*', 'order', false],
  ['*.placed', 'order.placed', true],
  ['*', 'order', true],
  ['*', 'order.placed', false],
  ['order.**', 'order.placed', true],
  ['order.**', 'order.placed.late', true],
  ['order.**', 'order', false],
  ['order.**', 'orders.placed', false],
  ['**', 'order', true],
  ['**', 'order.placed.late', true],
  ['*.**', 'order', false],
  ['*.**', 'order.placed.late', true],
] as const)('%s lets %s through: %s', async ([filter, type, expected]) => {
  expect(await matches([[filter]], [type])).toEqual([[expected]])
  expect(lets(filter, type)).toBe(expected)
})

test('a list lets through what one of its filters lets through', async () => {
  const segment = fc.constantFrom('a', 'b', 'ab', 'a_1', 'A')
  const type = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('.'))
  const filter = fc
    .tuple(fc.array(fc.oneof(segment, fc.constant('*')), { minLength: 1, maxLength: 3 }), fc.constantFrom('', '.**'))
    .map(([segments, rest]) => segments.join('.') + rest)
  const list = fc.array(fc.oneof({ weight: 9, arbitrary: filter }, fc.constant('**')), { minLength: 1, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(list, fc.array(type, { minLength: 1, maxLength: 20 }), async (filters, types) => {
      expect(await matches([filters], types)).toEqual([types.map((one) => filters.some((one_) => lets(one_, one)))])
    }),
    { numRuns: 150 },
  )
})

test('no filter is null, which takes all', async () => {
  expect((await client.query('select postrider.type_filter(null) as filter')).rows).toEqual([{ filter: null }])
})

test('the database takes the same filters as the options of a relay', async () => {
  const odd = [
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    '***',
    'a**',
    '**.a',
    'a.***',
    'a b',
    'a|b',
    'ä',
    '§',
    'a.*.**',
    '*.*',
    '**',
    '*',
    'a,b',
    'a\n',
  ]
  const any = fc.oneof(fc.constantFrom(...odd), fc.stringMatching(/^[ab*.|,§(]{0,6}$/))
  await fc.assert(
    fc.asyncProperty(any, async (filter) => {
      const { rows } = await client.query('select postrider.are_type_filters($1) as taken', [[filter]])
      expect(rows).toEqual([{ taken: typeFilterPattern.test(filter) }])
    }),
    { numRuns: 200 },
  )
})

test('a sink has no filter that takes nothing, is null, or breaks the rules', async () => {
  for (const types of [[], ['a', null], ['a('], ['a.**.b']]) {
    await expect(
      client.query(`select postrider.put_sink('s', 'webhook', 1::smallint, $1, 'key', 'block', 'all')`, [types]),
    ).rejects.toMatchObject({ code: '23514', constraint: 'sinks_types' })
  }
})
