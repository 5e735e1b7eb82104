import { describe, expect, test } from 'vitest'
import { createWriter, type EmitOptions, event } from '../src/index.ts'
import { recorder } from './recorder.ts'

const outbox = createWriter({ source: 'shop', events: { noted: event<unknown>() } })

async function stored(options: EmitOptions, data: unknown = 1): Promise<Record<string, unknown> | undefined> {
  const { trx, events } = recorder()
  await outbox.emit(trx, 'noted', data, options)
  return events()[0]
}

/** What is refused names the event and the path, and sends nothing. */
async function refusal(options: object, data: unknown = 1): Promise<{ message: string; code: string; details: object }> {
  const { trx, sent } = recorder()
  const error = await outbox
    .emitMany(trx, [
      { type: 'noted', data: 0 },
      { type: 'noted', data, ...options },
    ])
    .then(
      () => expect.fail('it was taken'),
      (error: unknown) => error as { message: string; code: string; details: object },
    )
  expect(sent).toEqual([])
  expect(error.message).toMatch(/^event 1 \(noted\): /)
  expect(error.details).toMatchObject({ index: 1, type: 'noted' })
  return error
}

const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

describe('an event without options', () => {
  test('has its id, type, source and payload, and leaves the rest to the database', async () => {
    const { trx, events } = recorder()
    const id = await outbox.emit(trx, 'noted', null)
    expect(events()).toEqual([{ id, type: 'noted', source: 'shop', payload: null }])
    await outbox.emit(trx, 'noted', null, {
      key: undefined,
      headers: { traceparent: undefined },
      order: 'insert',
      time: undefined,
    })
    expect(Object.keys(events()[1] as object)).toEqual(['id', 'type', 'source', 'payload'])
  })

  test('ids come back in the order of the events', async () => {
    const { trx, events } = recorder()
    const ids = await outbox.emitMany(
      trx,
      Array.from({ length: 10 }, (_, i) => ({ type: 'noted', data: i }) as const),
    )
    expect(events().map(({ id }) => id)).toEqual(ids)
    expect(ids).toEqual([...ids].sort())
  })

  test('of no events, nothing is sent', async () => {
    const { trx, sent } = recorder()
    expect(await outbox.emitMany(trx, [])).toEqual([])
    expect(sent).toEqual([])
  })
})

describe('options that are taken', () => {
  test.for<[name: string, options: EmitOptions, stored: object]>([
    ['a UUID, in lower case', { id: '018F3C2E-1111-7000-8000-00000000ABCD' }, { id: '018f3c2e-1111-7000-8000-00000000abcd' }],
    ['a UUID of no version', { id: '00000000-0000-0000-0000-000000000000' }, { id: '00000000-0000-0000-0000-000000000000' }],
    ['512 characters that are 1,024 units of a string', { key: '😀'.repeat(512) }, { key: '😀'.repeat(512) }],
    ['a key that JSON must escape', { key: 'o"1\\\n' }, { key: 'o"1\\\n' }],
    ['the other attributes', { subject: 's', tenant: 't', source: 'else' }, { subject: 's', tenant: 't', source: 'else' }],
    [
      'a media type with parameters',
      { contentType: 'application/vnd.shop+json; charset=utf-8; v="1 2"' },
      { content_type: 'application/vnd.shop+json; charset=utf-8; v="1 2"' },
    ],
    ['a Date', { time: new Date(0) }, { time: '1970-01-01T00:00:00.000Z' }],
    ['microseconds and an offset', { time: '2024-02-29T23:59:59.123456+05:30' }, { time: '2024-02-29T23:59:59.123456+05:30' }],
    ['a time to deliver at', { deliverAt: '2030-01-01T00:00:00Z' }, { deliver_at: '2030-01-01T00:00:00Z' }],
    ['a time to expire at', { expiresAt: '2030-01-01T00:00:00Z' }, { expires_at: '2030-01-01T00:00:00Z' }],
    ['the order of commits', { order: 'commit', key: 'k' }, { order: 'commit', key: 'k' }],
    ['header names in lower case', { headers: { 'X-Shop': 'a\tb ~' } }, { headers: { 'x-shop': 'a\tb ~' } }],
    ['a trace parent', { headers: { traceparent: parent } }, { headers: { traceparent: parent } }],
    [
      'a trace parent of a later version',
      { headers: { traceparent: `01${parent.slice(2)}-more` } },
      { headers: { traceparent: `01${parent.slice(2)}-more` } },
    ],
    [
      'a trace state',
      { headers: { tracestate: 'rojo=00f0, ,t61@sys=1 2' } },
      { headers: { tracestate: 'rojo=00f0, ,t61@sys=1 2' } },
    ],
    [
      'a header with the name of a prototype',
      { headers: { ['__proto__']: 'x' } },
      { headers: JSON.parse('{"__proto__":"x"}') as object },
    ],
  ])('%s', async ([, options, expected]) => {
    expect(await stored(options)).toMatchObject(expected)
  })

  test('32 headers of 128 and 4,096 characters', async () => {
    const headers = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`h${i}`.padEnd(128, 'x'), 'v'.repeat(4096)]))
    expect(await stored({ headers })).toMatchObject({ headers })
  })
})

describe('options that are refused, each with its path and its limit', () => {
  test.for<[name: string, options: object, path: string, limit?: number]>([
    ['an id that is no UUID', { id: 'order-1' }, 'id'],
    ['an id that is no string', { id: 7 }, 'id'],
    ['an empty key', { key: '' }, 'key', 512],
    ['a key of 513 characters', { key: 'k'.repeat(513) }, 'key', 512],
    ['a key of 513 characters beyond the basic plane', { key: '😀'.repeat(513) }, 'key', 512],
    ['a key that is a number', { key: 7 }, 'key', 512],
    ['a key that is null', { key: null }, 'key', 512],
    ['a key that is an object without a prototype', { key: Object.create(null) as object }, 'key', 512],
    ['a key with a NUL', { key: 'a\0' }, 'key', 512],
    ['an empty subject', { subject: '' }, 'subject', 512],
    ['a subject that is no Unicode', { subject: '\ud800' }, 'subject', 512],
    ['a tenant of 513 characters', { tenant: 't'.repeat(513) }, 'tenant', 512],
    ['an empty source', { source: '' }, 'source', 512],
    ['a content type without a slash', { contentType: 'json' }, 'contentType'],
    ['a content type with half a parameter', { contentType: 'text/plain; charset' }, 'contentType'],
    ['a content type with a line break', { contentType: 'text/plain\r\nx: y' }, 'contentType'],
    ['an invalid date', { time: new Date('x') }, 'time'],
    ['a date beyond the year 9999', { time: new Date(8.64e15) }, 'time'],
    ['a day without a time', { time: '2026-01-01' }, 'time'],
    ['a time without a zone', { time: '2026-01-01T00:00:00' }, 'time'],
    ['a day that no February has', { time: '2026-02-30T00:00:00Z' }, 'time'],
    ['a month that no year has', { time: '2026-13-01T00:00:00Z' }, 'time'],
    ['the year 0', { time: '0000-01-01T00:00:00Z' }, 'time'],
    ['a time in seconds', { time: 1767225600 }, 'time'],
    ['a time in words', { deliverAt: 'tomorrow' }, 'deliverAt'],
    ['an end in words', { expiresAt: 'never' }, 'expiresAt'],
    ['an order that there is not', { order: 'fifo', key: 'k' }, 'order'],
    ['the order of commits without a key', { order: 'commit' }, 'order'],
    ['an option that there is not', { delay: 5 }, 'delay'],
    ['a header name with a space', { headers: { 'a b': 'x' } }, 'headers.a b'],
    ['an empty header name', { headers: { '': 'x' } }, 'headers.'],
    ['a header name of 129 characters', { headers: { ['n'.repeat(129)]: 'x' } }, `headers.${'n'.repeat(129)}`, 128],
    ['a header value beyond ASCII', { headers: { a: 'ü' } }, 'headers.a'],
    ['a header value with a line break', { headers: { a: 'x\r\ny: z' } }, 'headers.a'],
    ['a header value that is a number', { headers: { a: 1 } }, 'headers.a'],
    ['a header value of 4,097 characters', { headers: { a: 'v'.repeat(4097) } }, 'headers.a', 4096],
    ['the headers of fetch', { headers: new Headers({ a: 'x' }) }, 'headers'],
    ['a Map of headers', { headers: new Map([['a', 'x']]) }, 'headers'],
    ['headers in one string', { headers: 'a: x' }, 'headers'],
    ['no headers by null', { headers: null }, 'headers'],
    ['a header given twice', { headers: { a: 'x', A: 'y' } }, 'headers.A'],
    ['a header of the signature', { headers: { 'Webhook-Id': 'x' } }, 'headers.Webhook-Id'],
    ['a header of CloudEvents', { headers: { 'ce-id': 'x' } }, 'headers.ce-id'],
    ['a header of Postrider', { headers: { 'postrider-attempt': '1' } }, 'headers.postrider-attempt'],
    ['33 headers', { headers: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`h${i}`, 'x'])) }, 'headers', 32],
    ['a trace parent of one word', { headers: { traceparent: 'x' } }, 'headers.traceparent'],
    ['a trace parent in upper case', { headers: { traceparent: parent.toUpperCase() } }, 'headers.traceparent'],
    ['a trace parent of the version that is none', { headers: { traceparent: `ff${parent.slice(2)}` } }, 'headers.traceparent'],
    ['a trace parent of version 00 with more fields', { headers: { traceparent: `${parent}-more` } }, 'headers.traceparent'],
    ['a trace id of zeros', { headers: { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` } }, 'headers.traceparent'],
    [
      'a parent id of zeros',
      { headers: { traceparent: `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01` } },
      'headers.traceparent',
    ],
    ['a trace state without a value', { headers: { tracestate: 'rojo' } }, 'headers.tracestate'],
    [
      'a trace state of 33 members',
      { headers: { tracestate: Array.from({ length: 33 }, (_, i) => `k${i}=v`).join() } },
      'headers.tracestate',
    ],
  ])('%s', async ([, options, path, limit]) => {
    expect(await refusal(options)).toMatchObject({
      code: 'invalid_event',
      details: { path, ...(limit !== undefined && { limit }) },
    })
  })

  test('a payload that JSON cannot hold', async () => {
    expect(await refusal({}, { a: [Number.NaN] })).toMatchObject({
      code: 'invalid_payload',
      message: 'event 1 (noted): payload.a[0] is NaN, which JSON cannot hold',
      details: { path: 'payload.a[0]' },
    })
  })

  test('a payload of more than 256 KiB, counted in bytes of UTF-8', async () => {
    const fits = 'é'.repeat(131_071)
    expect((await stored({}, fits))?.['payload']).toBe(fits)
    expect(await refusal({}, `${fits}x`)).toMatchObject({
      code: 'payload_too_large',
      message: 'event 1 (noted): payload has 262145 bytes, the limit is 262144',
      details: { path: 'payload', limit: 262_144, actual: 262_145 },
    })
  })
})
