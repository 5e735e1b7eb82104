/** Requests and records are built by hand here; that the sinks send such is held by the tests of the whole road. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findMember } from '../src/find-member.ts'
import { eventFromRecord, eventFromRequest, type KafkaRecord, type ReceivedEvent } from '../src/index.ts'

const id = '0192b0f0-7a3e-7c51-9b1e-2f5d8c4a6e01'
const payload = '{"total": 9007199254740993, "name": "Zoë"}'
const time = '2026-01-05T09:30:00.123Z'
const base = { 'webhook-id': id, 'postrider-event-type': 'order.placed', 'postrider-attempt': '2' }
const json = { ...base, 'content-type': 'application/json' }

const malformed = expect.objectContaining({ code: 'malformed_event' }) as Error
const text = (event: ReceivedEvent): string => Buffer.from(event.bytes ?? []).toString()

const common = { id, type: 'order.placed', attempt: 2, contentType: 'application/json', record: null, replay: null }
const attributes = { source: 'shop', subject: 's 1', key: 'o-1 "é"', tenant: 'acme', time, position: 17n }

const cloud = `"specversion":"1.0","id":"${id}","source":"shop","type":"order.placed","time":"${time}","subject":"s 1","partitionkey":"o-1 \\"é\\"","sequence":"00000000000000000017","tenant":"acme"`
const binary = {
  ...json,
  'ce-specversion': '1.0',
  'ce-id': id,
  'ce-source': 'shop',
  'ce-type': 'order.placed',
  'ce-time': time,
  'ce-subject': 's%201',
  'ce-partitionkey': 'o-1%20%22%C3%A9%22',
  'ce-sequence': '00000000000000000017',
  'ce-tenant': 'acme',
}
const record: KafkaRecord = {
  topic: 'orders',
  partition: 3,
  offset: '42',
  key: Buffer.from('o-1 "é"'),
  value: Buffer.from(payload),
  timestamp: String(Date.parse(time)),
  headers: Object.fromEntries(
    Object.entries({
      ce_specversion: '1.0',
      ce_id: id,
      ce_source: 'shop',
      ce_type: 'order.placed',
      ce_time: time,
      ce_subject: 's 1',
      ce_partitionkey: 'o-1 "é"',
      ce_tenant: 'acme',
      'content-type': 'application/json',
      'postrider-position': '17',
      'postrider-attempt': '2',
    }).map(([name, value]) => [name, Buffer.from(value)]),
  ),
}

describe('a handler sees the same event, with the bytes of the log, whatever carried it', () => {
  test('webhook, standard', () => {
    const body = `{"id":"${id}","type":"order.placed","timestamp":"${time}","data":${payload},"source":"shop","subject":"s 1","sequence":"00000000000000000017"}`
    const event = eventFromRequest({ headers: json, body })
    expect(event).toMatchObject({ ...common, ...attributes, transport: 'webhook', key: null, tenant: null })
    expect(text(event)).toBe(payload)
  })

  test('webhook, cloudevents', () => {
    const body = `{${cloud},"datacontenttype":"application/json","data":${payload}}`
    const event = eventFromRequest({ headers: { ...base, 'content-type': 'application/cloudevents+json; charset=utf-8' }, body })
    expect(event).toMatchObject({ ...common, ...attributes, transport: 'webhook' })
    expect(text(event)).toBe(payload)
  })

  test('webhook, cloudevents-binary', () => {
    const event = eventFromRequest({ headers: binary, body: payload })
    expect(event).toMatchObject({ ...common, ...attributes, transport: 'webhook' })
    expect(text(event)).toBe(payload)
  })

  test('webhook, raw: what no header says is null', () => {
    const event = eventFromRequest({ headers: json, body: payload })
    expect(event).toMatchObject({ ...common, source: null, key: null, time: null, position: null })
    expect(text(event)).toBe(payload)
  })

  test('kafka, cloudevents in binary mode, as any client hands it over', () => {
    const pairs = Object.entries(record.headers as Record<string, Buffer>)
    const shapes: KafkaRecord[] = [
      record,
      { ...record, offset: 42n, headers: new Map(pairs.map(([name, value]) => [Buffer.from(name), value])) },
      {
        ...record,
        offset: 42,
        headers: Object.fromEntries(pairs.map(([name, value]) => [name, [Buffer.from('former'), value]])),
      },
      { ...record, headers: pairs.map(([name, value]) => [name, value.toString()] as const), value: payload },
    ]
    for (const shape of shapes) {
      const event = eventFromRecord(shape)
      expect(event).toMatchObject({
        ...common,
        ...attributes,
        transport: 'kafka',
        record: { topic: 'orders', partition: 3, offset: 42n },
      })
      expect(text(event)).toBe(payload)
    }
  })

  test('kafka, cloudevents in structured mode', () => {
    const headers = { 'content-type': 'application/cloudevents+json', 'postrider-attempt': '2' }
    const event = eventFromRecord({
      ...record,
      headers,
      value: `{${cloud},"datacontenttype":"application/json","data":${payload}}`,
    })
    expect(event).toMatchObject({ ...common, ...attributes, transport: 'kafka', record: { offset: 42n } })
    expect(text(event)).toBe(payload)
  })

  test('kafka, debezium: the id of a header, the key and time of the record', () => {
    for (const quoted of [`"${id}"`, id]) {
      const event = eventFromRecord({ ...record, headers: { id: quoted, eventType: 'order.placed' } })
      expect(event).toMatchObject({ id, type: 'order.placed', key: 'o-1 "é"', time, source: null, position: null, attempt: null })
      expect(event.data).toMatchObject({ name: 'Zoë' })
    }
  })
})

describe('the payload', () => {
  test('is parsed at the first look, once, and what is no JSON is a typed error there', () => {
    const event = eventFromRequest({ headers: json, body: payload })
    expect(event.data).toEqual({ total: 9007199254740992, name: 'Zoë' })
    expect(event.data).toBe(event.data)
    const broken = eventFromRequest({ headers: json, body: '{"a":' })
    expect(() => broken.data).toThrow(malformed)
    const latin = eventFromRequest({ headers: json, body: Buffer.from('"é"', 'latin1') })
    expect(() => latin.data).toThrow(malformed)
  })

  test('of another media type is its bytes, in an envelope too', () => {
    const bytes = Buffer.from([0, 255, 1])
    const octets = { ...base, 'content-type': 'application/octet-stream' }
    expect(eventFromRequest({ headers: octets, body: bytes }).data).toEqual(bytes)
    const body = `{"id":"${id}","type":"order.placed","timestamp":"${time}","data_base64":"AP8B","datacontenttype":"application/x-thing"}`
    const event = eventFromRequest({ headers: json, body })
    expect([event.data, event.contentType]).toEqual([bytes, 'application/x-thing'])
  })

  test('that is absent is null: a body or a value of nothing', () => {
    expect(eventFromRequest({ headers: binary, body: '' })).toMatchObject({ data: null, bytes: null })
    expect(eventFromRecord({ ...record, value: null })).toMatchObject({ data: null, bytes: null })
  })

  test('that looks like an envelope of another event is a payload', () => {
    const body = `{"id":"other","type":"x","timestamp":"${time}","data":1}`
    expect(eventFromRequest({ headers: json, body }).data).toEqual(JSON.parse(body))
  })
})

test('replay marks are told, by either transport', () => {
  const marks = { 'postrider-replay': '7', 'postrider-original-id': 'a' }
  const replay = { operation: '7', originalId: 'a' }
  expect(eventFromRequest({ headers: { ...json, ...marks }, body: '1' }).replay).toEqual(replay)
  expect(eventFromRecord({ ...record, headers: { ...(record.headers as object), ...marks } }).replay).toEqual(replay)
})

test('a sender of Standard Webhooks that is not Postrider is understood', () => {
  const headers = { 'webhook-id': 'msg_1', 'content-type': 'application/json' }
  const event = eventFromRequest({ headers, body: `{"type":"user.created","timestamp":"${time}","data":{"a":1}}` })
  expect(event).toMatchObject({ id: 'msg_1', type: 'user.created', time, data: { a: 1 } })
})

describe('what is no event is refused as malformed_event', () => {
  test.each([
    ['two ids', () => eventFromRequest({ headers: { ...binary, 'ce-id': 'other' }, body: payload })],
    ['a bad percent-encoding', () => eventFromRequest({ headers: { ...binary, 'ce-subject': '%ff' }, body: payload })],
    ['another version', () => eventFromRequest({ headers: { ...binary, 'ce-specversion': '2.0' }, body: payload })],
    ['no type', () => eventFromRequest({ headers: { 'webhook-id': id, 'content-type': 'text/plain' }, body: 'x' })],
    [
      'a batch',
      () => eventFromRequest({ headers: { ...base, 'content-type': 'application/cloudevents-batch+json' }, body: '[]' }),
    ],
    [
      'a CloudEvent that is no JSON',
      () => eventFromRequest({ headers: { ...base, 'content-type': 'application/cloudevents+json' }, body: '{' }),
    ],
    [
      'attributes that are no text',
      () =>
        eventFromRequest({
          headers: { ...base, 'content-type': 'application/cloudevents+json' },
          body: '{"specversion":"1.0","id":7}',
        }),
    ],
    ['a record without an id', () => eventFromRecord({ ...record, headers: {} })],
    ['a record without a type', () => eventFromRecord({ ...record, headers: { id } })],
    ['an id with NUL', () => eventFromRecord({ ...record, headers: { id: 'a\0b', eventType: 'x' } })],
    ['an id of 256 characters', () => eventFromRecord({ ...record, headers: { id: 'a'.repeat(256), eventType: 'x' } })],
  ])('%s', (_what, read) => {
    expect(read).toThrow(malformed)
  })

  test('whatever else: nothing but that error is ever thrown', () => {
    const headers = fc.dictionary(
      fc.constantFrom(
        'ce-id',
        'ce-type',
        'ce-specversion',
        'ce_id',
        'ce_type',
        'ce_specversion',
        'id',
        'eventType',
        'content-type',
        'webhook-id',
        '__proto__',
        'constructor',
      ),
      fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('1.0', id, 'application/json', 'application/cloudevents+json')),
    )
    const body = fc.oneof(
      fc.uint8Array(),
      fc.json().map((value) => Buffer.from(value)),
    )
    fc.assert(
      fc.property(headers, body, (given, bytes) => {
        for (const read of [
          () => eventFromRequest({ headers: given, body: bytes }),
          () => eventFromRecord({ ...record, headers: given, value: bytes }),
        ]) {
          try {
            void read().data
          } catch (error) {
            expect(error).toEqual(malformed)
          }
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

test('a member is found with its text to the byte, whatever stands around it', () => {
  const value = fc.json()
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ unit: 'binary' }), value), { maxLength: 6 }),
      value,
      fc.constantFrom('', ' ', '\n\t '),
      (others, data, blank) => {
        const members = [...others.filter(([name]) => name !== 'data'), ['data', data] as const]
        const written = members.map(([name, json]) => `${blank}${JSON.stringify(name)}${blank}:${blank}${json}${blank}`)
        expect(findMember(`${blank}{${written.join(',')}}`, 'data')).toBe(data)
        expect(findMember(`{${written.slice(0, -1).join(',')}}`, 'data')).toBeUndefined()
      },
    ),
    { numRuns: 1_000 },
  )
  expect(findMember('{"data":1,"data":2}', 'data')).toBe('2')
  expect(findMember(`{"data":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 'data')).toHaveLength(100_000)
})
