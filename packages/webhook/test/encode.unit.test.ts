import { HTTP, type CloudEvent } from 'cloudevents'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LogEvent } from '@postrider/schema'
import { encodeHeaderValue } from '../src/cloudevents.ts'
import { encode, type WebhookFormat } from '../src/encode.ts'
import { anEvent } from './event.ts'

const head = '"id":"019b76da-a800-7000-8000-000000000001","type":"order.placed","timestamp":"2026-01-01T00:00:00.000Z"'
const tail = '"source":"shop","sequence":"00000000000000000042"'
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const everyFormat: readonly WebhookFormat[] = ['standard', 'cloudevents', 'cloudevents-binary', 'raw']

function body(format: WebhookFormat, change: Partial<LogEvent> = {}): string {
  return encode(anEvent(change), format).body.toString()
}

function headers(format: WebhookFormat, change: Partial<LogEvent> = {}): Record<string, string> {
  const flat = encode(anEvent(change), format).headers
  return Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index], flat[2 * index + 1]]))
}

describe('standard', () => {
  test.each<[name: string, change: Partial<LogEvent>, expected: string]>([
    ['splices the payload, digits above 2^53 included', {}, `{${head},"data":{"n": 9007199254740993},${tail}}`],
    ['keeps spacing and order of the text', { payloadText: '{ "b":1.0 ,"a":2}' }, `{${head},"data":{ "b":1.0 ,"a":2},${tail}}`],
    ['says null for no payload', { payloadText: null }, `{${head},"data":null,${tail}}`],
    [
      'gives bytes as base64 with their media type',
      { payloadText: null, payloadBytes: Uint8Array.of(0, 255, 254), contentType: 'image/png' },
      `{${head},"data_base64":"AP/+","datacontenttype":"image/png",${tail}}`,
    ],
    [
      'has the subject when there is one, escaped',
      { subject: 'a"b\n€' },
      `{${head},"data":{"n": 9007199254740993},"source":"shop","subject":"a\\"b\\n€","sequence":"00000000000000000042"}`,
    ],
    ['leaves out an empty source', { source: '' }, `{${head},"data":{"n": 9007199254740993},"sequence":"00000000000000000042"}`],
  ])('%s', (_name, change, expected) => {
    expect(body('standard', change)).toBe(expected)
    expect(() => JSON.parse(expected) as unknown).not.toThrow()
  })

  test('positions sort as strings as they do as numbers', () => {
    const large = '9223372036854775807'
    const sequence = (position: string): string => (JSON.parse(body('standard', { position })) as { sequence: string }).sequence
    expect(sequence('9') < sequence('10')).toBe(true)
    expect(sequence(large)).toBe(`0${large}`)
  })
})

describe('cloudevents', () => {
  const change = { subject: 'Zoë', tenant: 'acme', headers: { traceparent, tracestate: 'a=1', secret: 'no' } }

  test('the official package reads every attribute of the structured mode', () => {
    const { body, headers } = encode(anEvent({ ...change, payloadText: '{"a": 1}' }), 'cloudevents')
    const read = HTTP.toEvent({
      headers: { 'content-type': headers.at(1) },
      body: body.toString(),
    }) as CloudEvent<unknown>
    expect(read.validate()).toBe(true)
    expect(JSON.parse(JSON.stringify(read))).toEqual({
      specversion: '1.0',
      id: '019b76da-a800-7000-8000-000000000001',
      source: 'shop',
      type: 'order.placed',
      time: '2026-01-01T00:00:00.000Z',
      subject: 'Zoë',
      partitionkey: 'order-7',
      sequence: '00000000000000000042',
      tenant: 'acme',
      traceparent,
      tracestate: 'a=1',
      datacontenttype: 'application/json',
      data: { a: 1 },
    })
  })

  test('the official package reads bytes back', () => {
    const bytes = Uint8Array.of(0, 1, 254, 255)
    const { body, headers } = encode(
      anEvent({ payloadText: null, payloadBytes: bytes, contentType: 'application/octet-stream' }),
      'cloudevents',
    )
    const read = HTTP.toEvent({
      headers: { 'content-type': headers.at(1) },
      body: body.toString(),
    }) as CloudEvent<Uint8Array>
    expect(Buffer.from(read.data!).equals(bytes)).toBe(true)
  })

  test('digits above 2^53 survive, and no payload means no data', () => {
    expect(body('cloudevents')).toContain('"data":{"n": 9007199254740993}')
    expect(JSON.parse(body('cloudevents', { payloadText: null }))).not.toHaveProperty('data')
  })

  test('binary mode has the payload alone and percent-encoded attributes', () => {
    expect(body('cloudevents-binary', change)).toBe('{"n": 9007199254740993}')
    expect(headers('cloudevents-binary', change)).toEqual({
      'content-type': 'application/json',
      'postrider-event-type': 'order.placed',
      traceparent,
      tracestate: 'postrider=1,a=1',
      'ce-specversion': '1.0',
      'ce-id': '019b76da-a800-7000-8000-000000000001',
      'ce-source': 'shop',
      'ce-type': 'order.placed',
      'ce-time': '2026-01-01T00:00:00.000Z',
      'ce-subject': 'Zo%C3%AB',
      'ce-partitionkey': 'order-7',
      'ce-sequence': '00000000000000000042',
      'ce-tenant': 'acme',
      'ce-traceparent': traceparent,
      'ce-tracestate': 'a=1',
    })
  })

  test('the example of the binding is encoded as it says', () => {
    expect(encodeHeaderValue('Euro € 😀')).toBe('Euro%20%E2%82%AC%20%F0%9F%98%80')
    expect(encodeHeaderValue('"100%"')).toBe('%22100%25%22')
  })

  test('any attribute becomes visible ASCII and comes back the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const encoded = encodeHeaderValue(value)
        return /^[\x21\x23-\x7e]*$/.test(encoded) && decodeURIComponent(encoded) === value
      }),
    )
  })
})

describe('raw', () => {
  test('is the payload alone, text or bytes, under its own media type', () => {
    const bytes = Buffer.from('xxPNGxx').subarray(2, 5)
    expect(body('raw')).toBe('{"n": 9007199254740993}')
    expect(body('raw', { payloadText: null, payloadBytes: bytes })).toBe('PNG')
    expect(body('raw', { payloadText: null })).toBe('')
    expect(headers('raw', { contentType: 'image/png' })['content-type']).toBe('image/png')
  })
})

test.each(everyFormat)('%s: headers of the producer stay at home, but for trace context of the right form', (format) => {
  const sent = headers(format, { headers: { traceparent, authorization: 'x', 'webhook-id': 'forged', 'content-length': '1' } })
  expect(sent['traceparent']).toBe(traceparent)
  expect(sent).not.toHaveProperty('authorization')
  expect(Object.keys(sent).some((name) => name.startsWith('webhook-') || name === 'content-length')).toBe(false)
  expect(headers(format, { headers: { traceparent: `${traceparent}\r\nx: y`, tracestate: 'a=1' } })).not.toHaveProperty(
    'traceparent',
  )
})

test.each<[path: string, change: Partial<LogEvent>, formats: readonly WebhookFormat[]]>([
  ['id', { id: 'a.b' }, everyFormat],
  ['type', { type: 'a\r\nx: y' }, everyFormat],
  ['contentType', { contentType: 'text/plain\r\nx: y' }, everyFormat],
  ['contentType', { contentType: '' }, everyFormat],
  ['source', { source: '' }, ['cloudevents', 'cloudevents-binary']],
])('cannot_encode names %s', (path, change, formats) => {
  for (const format of formats) {
    expect(() => encode(anEvent(change), format)).toThrow(
      expect.objectContaining({ code: 'cannot_encode', details: expect.objectContaining({ path }) }),
    )
  }
})
