import { deliveryStates, errorCodes, limits, typePattern } from '@postrider/schema'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit, refusal } from './emit.ts'

let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(() => client.query('begin'))
afterEach(() => client.query('rollback'))

/** The texts between quotes in the definition of a constraint. */
async function wordsOf(constraint: string): Promise<string[]> {
  const { rows } = await client.query<{ definition: string }>(
    `select pg_get_constraintdef(oid) as definition from pg_constraint where conname = $1 and connamespace = 'postrider'::regnamespace`,
    [constraint],
  )
  return [...(rows[0]?.definition ?? '').matchAll(/'([^']*)'/g)].map(([, word]) => word ?? '').toSorted()
}

test('the states of a delivery are those of the lifecycle', async () => {
  expect(await wordsOf('deliveries_state')).toEqual([...deliveryStates].toSorted())
})

test('the outcomes of an attempt are those of a sink, what operators do, and what time does', async () => {
  const ofSink = ['delivered', 'retry', 'throttled', 'reject', 'gone']
  expect(await wordsOf('attempts_outcome')).toEqual([...ofSink, 'retried', 'discarded', 'expired'].toSorted())
})

describe('the limits of emit are those of the schema package', () => {
  const name = (length: number): string => 'a'.repeat(length)
  const headers = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, n) => [`h${n}`, '']))
  test.for([
    ['typeLength', limits.typeLength, (n: number) => ({ type: name(n) })],
    ['keyLength', limits.keyLength, (n: number) => ({ type: 'a', key: name(n) })],
    ['attributeLength of source', limits.attributeLength, (n: number) => ({ type: 'a', source: name(n) })],
    ['attributeLength of subject', limits.attributeLength, (n: number) => ({ type: 'a', subject: name(n) })],
    ['attributeLength of tenant', limits.attributeLength, (n: number) => ({ type: 'a', tenant: name(n) })],
    ['attributeLength of content_type', limits.attributeLength, (n: number) => ({ type: 'a', content_type: `a/${name(n - 2)}` })],
    ['headers', limits.headers, (n: number) => ({ type: 'a', headers: headers(n) })],
    ['headerNameLength', limits.headerNameLength, (n: number) => ({ type: 'a', headers: { [name(n)]: '' } })],
    ['headerValueLength', limits.headerValueLength, (n: number) => ({ type: 'a', headers: { a: name(n) } })],
    ['storedPayloadBytes of JSON', limits.storedPayloadBytes, (n: number) => ({ type: 'a', payload: name(n - 2) })],
    [
      'storedPayloadBytes of bytes',
      limits.storedPayloadBytes,
      (n: number) => ({ type: 'a', payload_base64: Buffer.alloc(n).toString('base64') }),
    ],
  ] as const)('%s', async ([, limit, event]) => {
    expect(await emit(client, event(limit))).toHaveLength(1)
    expect(await refusal(client, () => emit(client, event(limit + 1)))).toMatchObject({ detail: { limit } })
  })

  test('the types that emit takes are those of the pattern', async () => {
    for (const type of [
      'a',
      'A_9.b',
      'a.b.c.d.e.f.g.h.i.j',
      'a.b.c.d.e.f.g.h.i.j.k',
      '.a',
      'a.',
      'a..b',
      'a-b',
      'ä',
      ' a',
      'a\n',
    ]) {
      const refused = await refusal(client, () => emit(client, { type }))
      expect(refused === null, type).toBe(typePattern.test(type))
    }
  })
})

test('an error of a function names in its SQLSTATE one of the codes of Postrider', async () => {
  const codes = {
    PR001: 'invalid_event',
    PR002: 'invalid_payload',
    PR003: 'payload_too_large',
    PR004: 'invalid_filter',
    PR005: 'invalid_endpoint',
    PR006: 'cutover_refused',
    PR007: 'sink_in_use',
  }
  const { rows } = await client.query<{ source: string }>(
    `select string_agg(pg_get_functiondef(oid), '') as source from pg_proc where pronamespace = 'postrider'::regnamespace`,
  )
  const raised = new Set([...(rows[0]?.source ?? '').matchAll(/'(PR\d{3})'/g)].map(([, code]) => code))
  expect([...raised].toSorted()).toEqual(Object.keys(codes))
  for (const code of Object.values(codes)) expect(errorCodes).toHaveProperty(code)
})
