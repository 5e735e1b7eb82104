import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { type Client, emit, refusal, stored } from './emit.ts'

let db: TestDatabase
let client: Client

beforeAll(async () => {
  db = await testDatabase()
  client = await db.client()
})
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(() => client.query('begin'))
afterEach(() => client.query('rollback'))

const headers = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, '']))
const ok = { type: 'order.placed' }

/** Event, SQLSTATE, path in DETAIL, limit in DETAIL, and what the message tells to do. */
const faults: readonly (readonly [unknown, string, string | undefined, number | undefined, RegExp])[] = [
  [1, 'PR001', undefined, undefined, /is a JSON number: give an object/],
  [null, 'PR001', undefined, undefined, /is a JSON null: give an object/],
  [[[ok]], 'PR001', undefined, undefined, /is a JSON array: give an object/],
  [{}, 'PR001', 'type', undefined, /segments of letters, digits and _/],
  [{ type: null }, 'PR001', 'type', undefined, /segments of letters/],
  [{ type: 5 }, 'PR001', 'type', undefined, /type is a JSON number: give a string/],
  [{ type: '' }, 'PR001', 'type', 128, /has 0 characters: give 1 to 128/],
  [{ type: 'a'.repeat(129) }, 'PR001', 'type', 128, /has 129 characters/],
  [{ type: 'a b' }, 'PR001', 'type', undefined, /such as order\.placed/],
  [{ type: 'a..b' }, 'PR001', 'type', undefined, /joined by dots/],
  [{ type: 'a\n' }, 'PR001', 'type', undefined, /joined by dots/],
  [{ type: '١' }, 'PR001', 'type', undefined, /joined by dots/],
  [{ type: 'a.a.a.a.a.a.a.a.a.a.a' }, 'PR001', 'type', undefined, /one to ten segments/],
  [{ ...ok, 'b|c': 1 }, 'PR001', 'b|c', undefined, /b\|c is not an attribute of an event: mend its spelling/],
  [{ ...ok, 'q"\\': 1 }, 'PR001', 'q\\"\\\\', undefined, /is not an attribute/],
  [{ ...ok, data: {} }, 'PR001', 'data', undefined, /or put it into the payload/],
  [{ ...ok, id: 'x' }, 'PR001', 'id', undefined, /id is not a UUID: give 32 hexadecimal digits/],
  [{ ...ok, id: 7 }, 'PR001', 'id', undefined, /not a UUID/],
  [{ ...ok, id: '018f3c2e-1111-7000-8000-00000000abcg' }, 'PR001', 'id', undefined, /not a UUID/],
  [{ ...ok, id: '018f3c2e-1111-7000-8000--0000000abcd' }, 'PR001', 'id', undefined, /not a UUID/],
  [{ ...ok, key: 5 }, 'PR001', 'key', undefined, /key is a JSON number: give a string/],
  [{ ...ok, key: { a: 1 } }, 'PR001', 'key', undefined, /key is a JSON object/],
  [{ ...ok, key: '' }, 'PR001', 'key', 512, /give 1 to 512/],
  [{ ...ok, key: 'ü'.repeat(513) }, 'PR001', 'key', 512, /has 513 characters/],
  [{ ...ok, source: true }, 'PR001', 'source', undefined, /source is a JSON boolean/],
  [{ ...ok, source: '' }, 'PR001', 'source', 512, /give 1 to 512/],
  [{ ...ok, subject: ['a'] }, 'PR001', 'subject', undefined, /subject is a JSON array/],
  [{ ...ok, subject: 's'.repeat(513) }, 'PR001', 'subject', 512, /513/],
  [{ ...ok, tenant: 1 }, 'PR001', 'tenant', undefined, /tenant is a JSON number/],
  [{ ...ok, tenant: '' }, 'PR001', 'tenant', 512, /give 1 to 512/],
  [{ ...ok, content_type: 1 }, 'PR001', 'content_type', undefined, /content_type is a JSON number/],
  [{ ...ok, content_type: 'json' }, 'PR001', 'content_type', undefined, /such as application\/json/],
  [{ ...ok, content_type: 'a/b\r\nx: y' }, 'PR001', 'content_type', undefined, /not a media type/],
  [{ ...ok, content_type: `a/${'b'.repeat(511)}` }, 'PR001', 'content_type', 512, /513/],
  [{ ...ok, order: 'none' }, 'PR001', 'order', undefined, /neither insert nor commit/],
  [{ ...ok, order: 1 }, 'PR001', 'order', undefined, /neither insert nor commit/],
  [{ ...ok, order: 'commit' }, 'PR001', 'order', undefined, /give a key/],
  [{ ...ok, order: 'commit', key: null }, 'PR001', 'order', undefined, /give a key/],
  [{ ...ok, headers: 'a' }, 'PR001', 'headers', undefined, /headers are a JSON string: give an object/],
  [{ ...ok, headers: headers(33) }, 'PR001', 'headers', 32, /at most 32/],
  [{ ...ok, headers: { 'a|b': 1 } }, 'PR001', 'headers.a|b', undefined, /header a\|b is a JSON number: give a string/],
  [{ ...ok, headers: { 'X-Shop': 'a' } }, 'PR001', 'headers.X-Shop', undefined, /lower case/],
  [{ ...ok, headers: { '': 'a' } }, 'PR001', 'headers.', undefined, /not a header name/],
  [{ ...ok, headers: { 'webhook-id': 'a' } }, 'PR001', 'headers.webhook-id', undefined, /choose another name/],
  [{ ...ok, headers: { 'ce-id': 'a' } }, 'PR001', 'headers.ce-id', undefined, /reserved/],
  [{ ...ok, headers: { 'postrider-attempt': 'a' } }, 'PR001', 'headers.postrider-attempt', undefined, /reserved/],
  [
    { ...ok, headers: { ['a'.repeat(129)]: 'a' } },
    'PR001',
    `headers.${'a'.repeat(128)}`,
    128,
    /name of 129 characters: give at most 128/,
  ],
  [{ ...ok, headers: { a: 'a'.repeat(4097) } }, 'PR001', 'headers.a', 4096, /value of 4097 characters: give at most 4096/],
  [{ ...ok, headers: { A: 'a'.repeat(4097) } }, 'PR001', 'headers.A', undefined, /lower case/],
  [{ ...ok, headers: { a: 'ä' } }, 'PR001', 'headers.a', undefined, /visible ASCII/],
  [{ ...ok, headers: { a: 'a\nb' } }, 'PR001', 'headers.a', undefined, /visible ASCII/],
  [{ ...ok, headers: { a: null } }, 'PR001', 'headers.a', undefined, /is a JSON null: give a string/],
  ...['time', 'deliver_at'].flatMap((name) =>
    [
      'now',
      'infinity',
      'tomorrow',
      '',
      '2026-01-02',
      '2026-01-02T03:04:05',
      '2026-01-02T03:04:05 CET',
      '2026-02-30T00:00:00Z',
      '2025-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-00-01T00:00:00Z',
      '2026-01-01T25:00:00Z',
      '2026-01-01T00:61:00Z',
      '2026-01-01T00:00:61Z',
      '2026-01-01T00:00:00+99:00',
      '0000-01-01T00:00:00Z',
      '01-02-2026T00:00:00Z',
      '2026-01-01T00:00:00Z\n',
      `2026-01-01T00:00:00.${'1'.repeat(300)}Z`,
      1767225600,
      {},
    ].map((value) => [{ ...ok, [name]: value }, 'PR001', name, undefined, /is not a time: give ISO 8601 with its zone/] as const),
  ),
  [{ ...ok, payload: 1, payload_base64: 'AA==' }, 'PR001', 'payload_base64', undefined, /give one of them/],
  [{ ...ok, payload: null, payload_base64: 'AA==' }, 'PR001', 'payload_base64', undefined, /give one of them/],
  [{ ...ok, payload_base64: 'A' }, 'PR002', 'payload_base64', undefined, /not base64: give the bytes as RFC 4648/],
  [{ ...ok, payload_base64: 'AA' }, 'PR002', 'payload_base64', undefined, /with padding/],
  [{ ...ok, payload_base64: '_-8=' }, 'PR002', 'payload_base64', undefined, /not base64/],
  [{ ...ok, payload_base64: 1234 }, 'PR002', 'payload_base64', undefined, /not base64/],
  [
    { ...ok, payload_base64: Buffer.alloc(524_289).toString('base64') },
    'PR003',
    'payload_base64',
    524_288,
    /holds 524289 bytes, the limit is 524288: store the document elsewhere/,
  ],
  [{ ...ok, payload: 'x'.repeat(524_287) }, 'PR003', 'payload', 524_288, /has 524289 bytes, the limit is 524288/],
]

const short = (value: unknown): string => (JSON.stringify(value) ?? 'null').slice(0, 70)

describe('an event that breaks a rule is refused with its place, and nothing of the call is written', () => {
  test.for(faults.map((row) => [short(row[0]), row] as const))('%s', async ([, [event, code, path, limit, message]]) => {
    const detail = (index: number): object => ({
      index,
      ...(path !== undefined && { path }),
      ...(limit !== undefined && { limit }),
    })
    // Alone, alone in an array, and among others: three ways through the function.
    const calls: [unknown, number][] = [
      [[event], 0],
      [[ok, event, event, ok], 1],
    ]
    if (!Array.isArray(event)) calls.push([event, 0])
    for (const [events, index] of calls) {
      const refused = await refusal(client, () => emit(client, events))
      expect(refused).toEqual({ code, detail: detail(index), message: expect.stringMatching(message) as string })
      expect(refused?.message).toMatch(new RegExp(`^event ${index}: `))
    }
    expect((await client.query('select from postrider.events')).rowCount).toBe(0)
  })

  test('SQL NULL instead of an event', async () => {
    const refused = await refusal(client, () => client.query('select postrider.emit(null)'))
    expect(refused).toMatchObject({ code: 'PR001', detail: { index: 0 } })
  })

  test('what JSON in PostgreSQL cannot hold fails at the cast, before emit', async () => {
    for (const json of ['{"type":"a","payload":"\\u0000"}', '{"type":"a","payload":"\\ud800"}']) {
      const refused = await refusal(client, () => client.query('select postrider.emit($1::text::jsonb)', [json]))
      expect(refused?.code).toMatch(/^22P0[25]$/)
    }
  })
})

describe('an event at the edge of the rules is taken', () => {
  test.for(
    [
      { type: 'a'.repeat(128) },
      { type: 'a.b.c.d.e.f.g.h.i.J_9' },
      { ...ok, id: '018F3C2E-1111-7000-8000-00000000ABCD' },
      { ...ok, key: '😀'.repeat(512), source: 's'.repeat(512), subject: 's'.repeat(512), tenant: 't'.repeat(512) },
      { ...ok, headers: headers(32) },
      { ...ok, headers: { ['a'.repeat(128)]: `\t ~${'a'.repeat(4093)}`, "!#$%&'*+.^_`|~-": '"\\/' } },
      { ...ok, content_type: `a/${'b'.repeat(510)}` },
      { ...ok, content_type: 'text/plain; charset="utf-8"' },
      { ...ok, order: 'insert' },
      { ...ok, order: 'commit', key: 'k' },
      { ...ok, payload: 'x'.repeat(524_286) },
      { ...ok, payload_base64: Buffer.alloc(524_288).toString('base64') },
      { ...ok, payload_base64: 'AAAA\nAA==' },
      ...[
        '2024-02-29T00:00:00Z',
        '2026-01-02 03:04:05.123456+01',
        '2026-01-02T03:04Z',
        '9999-12-31T23:59:59.999-0130',
        '2026-01-01T00:00:00-15:59',
      ].map((time) => ({ ...ok, time, deliver_at: time })),
    ].map((event) => [short(event), event] as const),
  )('%s', async ([, event]) => {
    expect(await emit(client, event)).toHaveLength(1)
    expect(await emit(client, [event, event])).toHaveLength(2)
  })
})

test('whatever JSON comes, it is written or refused in the words of Postrider, whichever way it goes', async () => {
  const names = 'id type key source subject tenant payload payload_base64 content_type headers time deliver_at order a|b'.split(
    ' ',
  )
  const value = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('order.placed', 'k', 'commit', 'a/b', 'AA==', '2026-01-02T03:04:05Z', null) },
    fc.uuid(),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    fc.stringMatching(/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d)$/),
    fc.dictionary(fc.string({ maxLength: 5 }), fc.oneof(fc.string({ maxLength: 5 }), fc.integer()), { maxKeys: 3 }),
    fc.jsonValue({ maxDepth: 2, stringUnit: 'binary' }),
  )
  const event = fc.oneof(
    { weight: 9, arbitrary: fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 }).map((more) => ({ ...ok, ...more })) },
    fc.jsonValue({ maxDepth: 1 }),
  )
  await fc.assert(
    fc.asyncProperty(event, async (any) => {
      // Half a surrogate pair or U+0000 never reaches emit.
      fc.pre(!/\\u0000|\\ud[89a-f]/.test(JSON.stringify(any)))
      const alone = await refusal(client, () => emit(client, [any]))
      const among = await refusal(client, () => emit(client, [ok, any]))
      if (alone !== null) expect(alone.code).toMatch(/^PR00[123]$/)
      expect(among?.code).toBe(alone?.code)
    }),
    { numRuns: 300 },
  )
})

/** What a writer sends, with something in it that may be wrong. */
const nearlyPlain = fc
  .record({
    id: fc.oneof(
      { weight: 4, arbitrary: fc.uuid() },
      fc.constantFrom(null, 1, '', 'x', '018f3c2e-1111-7000-8000--0000000abcd'),
      fc.string(),
    ),
    type: fc.oneof(
      { weight: 4, arbitrary: fc.constant('order.placed') },
      fc.constantFrom(null, 'a..b', ['a'], 'a\n', 'a'.repeat(129), 'x.'.repeat(9) + 'x'),
      fc.string(),
    ),
    source: fc.oneof(
      { weight: 4, arbitrary: fc.constant('shop') },
      fc.constantFrom(null, '', ['shop'], 's'.repeat(513)),
      fc.string(),
    ),
    key: fc.oneof(
      { weight: 4, arbitrary: fc.string({ minLength: 1, unit: 'grapheme' }) },
      fc.constantFrom(null, '', ['k'], {}, 'ü'.repeat(513)),
    ),
    payload: fc.oneof(fc.jsonValue(), fc.constant(null)),
    more: fc.constantFrom(null, { headers: {} }, { wrong: 1 }, { order: 'commit' }),
  })
  .map(({ more, ...event }) => ({ ...event, ...more }))
  .map((event) => JSON.stringify(event).replaceAll('\\u0000', ''))
  .filter((text) => text.isWellFormed())

test('what the short look takes for plain has no fault, and most of what a writer sends is plain', async () => {
  let plain = 0
  let seen = 0
  await fc.assert(
    fc.asyncProperty(nearlyPlain, async (event) => {
      const { rows } = await client.query<{ plain: boolean; fault: string[] | null }>(
        'select coalesce(postrider.is_plain(e), false) as plain, postrider.fault_of(e) as fault from (select $1::text::jsonb as e) as one',
        [event],
      )
      seen++
      if (rows[0]?.plain) {
        plain++
        expect(rows[0].fault).toBeNull()
      }
    }),
    { numRuns: 500 },
  )
  expect(plain).toBeGreaterThan(seen / 20)
  const written = { id: '018f3c2e-1111-7000-8000-00000000abcd', type: 'a.b', source: 's', key: 'k', payload: { a: [1] } }
  const { rows } = await client.query('select postrider.is_plain($1) as plain', [written])
  expect(rows).toEqual([{ plain: true }])
})

test('a plain event becomes the same row as one that is not', async () => {
  const id = '018f3c2e-1111-7000-8000-00000000abcd'
  for (const rest of [{ key: 'k', payload: { a: '12345678901234567890' } }, { key: 'ü', payload: null }, {}]) {
    const event = { id, type: 'a.b', source: 's', ...rest }
    await client.query('savepoint one')
    const [quick] = await stored(client, await emit(client, event))
    await client.query('rollback to one')
    const [slow] = await stored(client, await emit(client, { ...event, headers: {} }))
    await client.query('rollback to one')
    const { position: _, created_at: __, ...columns } = quick ?? {}
    const bucket = 'key' in rest ? {} : { bucket: expect.any(Number) }
    expect(slow).toMatchObject({ ...columns, ...bucket })
  }
})
