/** Whatever an event holds, a consumer reads what was written, or the sink refuses to send it: nothing in between. */
import { eventFromRecord, eventFromRequest, type ReceivedEvent } from '@postrider/inbox'
import { encode as encodeRecord } from '@postrider/kafka'
import { limits, type LogEvent } from '@postrider/schema'
import { encode } from '@postrider/webhook'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { answerOr, fuzz, hostileText } from './fuzz.ts'

const text = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
  hostileText(60).map((given) => given.toWellFormed().replaceAll('\0', '') || 'x'),
)
const events: fc.Arbitrary<LogEvent> = fc
  .record({
    position: fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(String),
    id: fc.uuid(),
    type: fc.oneof(
      fc.constantFrom('order.placed', 'a', 'a.b.c'),
      text.map((given) => given.slice(0, limits.typeLength)),
    ),
    key: fc.option(text),
    source: text,
    subject: fc.option(text),
    tenant: fc.option(text),
    time: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-12-31') }).map((date) => date.toISOString()),
    headers: fc.constant({}),
    payload: fc.oneof(
      fc.json().map((json) => ({ json })),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ bytes })),
    ),
  })
  .map(({ payload, ...event }) => ({
    ...event,
    contentType: 'json' in payload ? 'application/json' : 'application/octet-stream',
    payloadText: 'json' in payload ? payload.json : null,
    payloadBytes: 'bytes' in payload ? payload.bytes : null,
  }))

function expectSame(read: ReceivedEvent, event: LogEvent): void {
  const told = [event.id, event.type, event.source, event.subject, event.contentType, BigInt(event.position)]
  expect([read.id, read.type, read.source, read.subject, read.contentType, read.position]).toEqual(told)
  const payload = event.payloadBytes ?? Buffer.from(event.payloadText ?? '')
  expect(Buffer.compare(Buffer.from(read.bytes ?? []), payload)).toBe(0)
}

/** A payload of JSON alone may look like an envelope of its own; in the formats with an envelope it cannot. */
const formats = ['standard', 'cloudevents', 'cloudevents-binary'] as const

test.each(formats)('a request in the format %s is read back', (format) => {
  fuzz(
    events,
    (event) => {
      const encoded = answerOr(['cannot_encode'], () => encode(event, format))
      if (encoded === null) return
      const headers: Record<string, string> = { 'webhook-id': event.id }
      for (let at = 0; at < encoded.headers.length; at += 2) headers[encoded.headers[at] ?? ''] = encoded.headers[at + 1] ?? ''
      const read = eventFromRequest({ headers, body: encoded.body })
      expectSame(read, event)
      if (format !== 'standard') expect([read.key, read.tenant, read.time]).toEqual([event.key, event.tenant, event.time])
    },
    { runs: 500 },
  )
})

test('a record of Kafka is read back', () => {
  fuzz(
    events,
    (event) => {
      const record = answerOr(['cannot_encode'], () => encodeRecord({ event, number: 1 }, 'cloudevents', 'relay'))
      if (record === null) return
      const { key, value, headers } = record
      const read = eventFromRecord({ topic: 't', partition: 0, offset: 0, key, value, headers })
      expectSame(read, event)
      expect([read.key, read.tenant]).toEqual([event.key, event.tenant])
    },
    { runs: 500 },
  )
})
