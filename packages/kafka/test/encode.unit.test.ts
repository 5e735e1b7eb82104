import { encode, type StreamRecord } from '@postrider/kafka'
import { expect, it } from 'vitest'
import { anEvent } from './event.ts'

const namesAndTexts = ({ headers }: StreamRecord): Record<string, string> =>
  Object.fromEntries(headers.map(([name, value]) => [name, value.toString()]))

it('the profile cloudevents is the binary mode of CloudEvents, with the payload as it stands in the log', () => {
  const event = anEvent({ subject: 'order/7', tenant: 'acme' })
  const record = encode({ event, number: 3 }, 'cloudevents', '')
  expect(namesAndTexts(record)).toEqual({
    ce_specversion: '1.0',
    ce_id: event.id,
    ce_source: 'shop',
    ce_type: 'order.placed',
    ce_time: '2026-01-01T00:00:00.000Z',
    ce_subject: 'order/7',
    ce_partitionkey: 'order-7',
    ce_sequence: '00000000000000000042',
    ce_tenant: 'acme',
    'content-type': 'application/json',
    'postrider-position': '42',
    'postrider-attempt': '3',
  })
  expect(record.key?.toString()).toBe('order-7')
  expect(record.value?.toString()).toBe('{"n": 9007199254740993}')
  expect(record.timestampMs).toBe(Date.UTC(2026, 0, 1))
})

it('the profile debezium has the headers of the outbox event router', () => {
  const record = encode({ event: anEvent(), number: 1 }, 'debezium', '')
  expect(namesAndTexts(record)).toMatchObject({ id: anEvent().id, eventType: 'order.placed', 'content-type': 'application/json' })
  expect(record.headers.some(([name]) => name.startsWith('ce_'))).toBe(false)
})

it('an event without a payload becomes a tombstone, one without a key has none', () => {
  const record = encode({ event: anEvent({ payloadText: null, key: null }), number: 1 }, 'cloudevents', '')
  expect([record.key, record.value]).toEqual([null, null])
})

it('bytes go out as they are', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index).subarray(3)
  const record = encode({ event: anEvent({ payloadText: null, payloadBytes: bytes }), number: 1 }, 'cloudevents', '')
  expect(record.value).toEqual(Buffer.from(bytes))
})

it('a replay says so, and which event it was', () => {
  const record = encode({ event: anEvent(), number: 1, replay: { operation: '9', originalId: 'first' } }, 'cloudevents', '')
  expect(namesAndTexts(record)).toMatchObject({ 'postrider-replay': '9', 'postrider-original-id': 'first' })
})

it('headers of the producer go along, but cannot pass for those of the sink', () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const headers = {
    traceparent,
    tracestate: 'a=b',
    color: 'blue',
    ce_id: 'forged',
    'postrider-position': '1',
    'content-type': 'x/y',
  }
  const record = encode({ event: anEvent({ headers }), number: 1 }, 'cloudevents', '')
  expect(namesAndTexts(record)).toMatchObject({
    traceparent,
    tracestate: 'a=b',
    color: 'blue',
    ce_id: anEvent().id,
    'postrider-position': '42',
  })
  expect(record.headers).toHaveLength(new Set(record.headers.map(([name]) => name)).size)
})

it('a trace context that breaks its form is left out', () => {
  const record = encode({ event: anEvent({ headers: { traceparent: 'nonsense' } }), number: 1 }, 'cloudevents', '')
  expect(namesAndTexts(record)).not.toHaveProperty('traceparent')
})

it('the source of the sink stands in for one that is missing; with neither the event is refused', () => {
  const attempt = { event: anEvent({ source: '' }), number: 1 }
  expect(namesAndTexts(encode(attempt, 'cloudevents', 'shop.example'))).toMatchObject({ ce_source: 'shop.example' })
  expect(() => encode(attempt, 'cloudevents', '')).toThrow(expect.objectContaining({ code: 'cannot_encode' }))
})
