/** What a service hands to the writer: an event that PostgreSQL takes, or an error that names what is wrong; nothing in between. */
import { answerOr, fuzz, hostileText } from '@postrider/test/fuzz'
import { limits, typePattern } from '@postrider/schema'
import { createWriter, event, type EmitOptions, type WriterOptions } from '@postrider/writer'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeEvent, type Encoded } from '../src/encode.ts'
import { encodeJson } from '../src/json.ts'
import { formatPath } from '../src/path.ts'

const place = { index: 0, type: 'order.placed' }
const refusals = ['invalid_event', 'invalid_payload', 'payload_too_large'] as const
const anything = fc.anything({
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withObjectString: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
})
const text = fc.oneof(hostileText(), fc.constantFrom('order.placed', 'commit', '2026-01-01T00:00:00Z'))
const loose = fc.oneof(
  text,
  fc.date({ noInvalidDate: false }),
  fc.integer(),
  fc.constant(null),
  fc.constant(undefined),
  fc.object(),
)

function encode(data: unknown, options: unknown): Encoded | null {
  return answerOr(refusals, () => encodeEvent(data, options as EmitOptions, { source: '"shop"', makeKey: undefined }, place))
}

test('any payload is written as JSON that PostgreSQL takes, or refused with its path', () => {
  fuzz(
    fc.oneof(anything, fc.uint8Array(), hostileText()),
    (data) => {
      const encoded = encode(data, {})
      if (encoded === null) return
      expect(encoded.json.isWellFormed()).toBe(true)
      expect(encoded.json).not.toMatch(/(?<!\\)(?:\\\\)*\\u0000/)
      const { id, type } = JSON.parse(encoded.json) as Record<string, unknown>
      expect([id, type]).toEqual([encoded.id, 'order.placed'])
    },
    { runs: 2_000 },
  )
})

test('a value that JSON can hold is written to mean the same', () => {
  fuzz(fc.jsonValue({ noUnicodeString: false }), (data) => {
    const written = answerOr(['invalid_payload'], () => encode(data, {}))
    if (written !== null)
      expect(JSON.stringify((JSON.parse(written.json) as { payload: unknown }).payload)).toBe(JSON.stringify(data))
  })
})

test('any options are written as they are or refused; none of them gets out of its own member', () => {
  const names = ['id', 'key', 'subject', 'tenant', 'source', 'contentType', 'time', 'deliverAt', 'expiresAt', 'order'] as const
  const known = fc.record(Object.fromEntries(names.map((name) => [name, loose])), { requiredKeys: [] })
  const headers = fc.oneof(fc.dictionary(text, loose), fc.array(fc.tuple(text, text)), anything)
  const options = fc
    .tuple(known, fc.option(headers, { nil: undefined }), fc.dictionary(text, loose, { maxKeys: 1 }))
    .map(([some, given, more]) => ({ ...some, headers: given, ...more }))
  const members = 'id type source key subject tenant content_type time deliver_at expires_at order headers payload'.split(' ')
  fuzz(
    options,
    (given) => {
      const encoded = encode({ a: 1 }, given)
      if (encoded === null) return
      const written = JSON.parse(encoded.json) as Record<string, string>
      expect(members).toEqual(expect.arrayContaining(Object.keys(written)))
      expect((encoded.json.match(/^\{"id":"/g) ?? []).length).toBe(1)
      expect(written['type']).toBe('order.placed')
      expect([...(written['key'] ?? '')].length).toBeLessThanOrEqual(limits.keyLength)
    },
    { runs: 2_000 },
  )
})

test('nested too deep, in a circle, or too large: refused at once, and no stack overflows', () => {
  const deep = (levels: number): unknown => Array.from({ length: levels }).reduce<unknown>((inner) => [inner], 1)
  const circle: { self?: unknown } = {}
  circle.self = [circle]
  expect(encode(deep(1_000), {})).not.toBeNull()
  for (const data of [
    deep(1_001),
    deep(200_000),
    circle,
    'x'.repeat(limits.payloadBytes),
    new Uint8Array(limits.payloadBytes + 1),
  ]) {
    expect(encode(data, {})).toBeNull()
  }
})

test('whatever a refusal points at, its path is one line that names the way', () => {
  fuzz(fc.array(fc.oneof(hostileText(40), fc.nat()), { maxLength: 6 }), (keys) => {
    const path = formatPath('payload', keys)
    expect(path.startsWith('payload')).toBe(true)
    expect(path).not.toMatch(/[\n\r\0]/)
  })
  fuzz(anything, (data) => {
    try {
      encodeJson(data, (keys, reason) => {
        throw new RangeError(`${formatPath('payload', keys)} ${reason}`)
      })
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      expect(error.message).toMatch(/^payload/)
    }
  })
})

test('options of a writer are taken or refused as invalid_options, and no type passes that is none', () => {
  const options = fc.record(
    {
      source: fc.oneof(text, loose),
      schema: fc.oneof(text, loose),
      events: fc.dictionary(text, fc.oneof(fc.constant(event()), loose), { maxKeys: 3 }),
      key: fc.dictionary(
        text,
        fc.oneof(
          fc.constant(() => 'k'),
          loose,
        ),
        { maxKeys: 2 },
      ),
    },
    { requiredKeys: ['source', 'events'] },
  )
  fuzz(options, (given) => {
    const writer = answerOr(['invalid_options'], () => createWriter(given as unknown as WriterOptions<Record<string, never>>))
    if (writer !== null) for (const type of Object.keys(given.events)) expect(type).toMatch(typePattern)
  })
})
