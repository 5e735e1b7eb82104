import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseRetryAfter } from '../src/retry-after.ts'

const now = Date.UTC(2026, 0, 1)

test.each([
  ['0', 0],
  ['30', 30_000],
  [' 30\t', 30_000],
  ['9999999999', 9_999_999_999_000],
  ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
  ['Thursday, 01-Jan-26 00:01:00 GMT', 60_000],
  ['Thu Jan  1 00:01:00 2026', 60_000],
  ['Wed, 31 Dec 2025 23:59:59 GMT', 0],
  ['Sunday, 06-Nov-94 08:49:37 GMT', 0],
  ['Sat, 28 Feb 2026 00:00:00 GMT', 58 * 86_400_000],
])('%j is %d ms', (value, expected) => expect(parseRetryAfter(value, now)).toBe(expected))

test.each([
  '',
  '-5',
  '120.5',
  '1e3',
  '+5',
  '0x10',
  '12345678901',
  '5 s',
  'soon',
  '２',
  'NaN',
  'Infinity',
  '2026-01-01T00:01:00Z',
  'Thu, 01 Jan 2026 00:01:00',
  'Thu, 01 Jan 2026 00:01:00 +0100',
  'Thu, 1 Jan 2026 00:01:00 GMT',
  'Thu, 32 Jan 2026 00:01:00 GMT',
  'Sun, 30 Feb 2026 00:01:00 GMT',
  'Thu, 01 Jan 2026 24:00:00 GMT',
  'Thu, 01 Foo 2026 00:01:00 GMT',
  'thu, 01 jan 2026 00:01:00 gmt',
  'Thu, 01 Jan 2026 00:61:00 GMT',
])('%j is ignored', (value) => expect(parseRetryAfter(value, now)).toBeNull())

test('every moment that Date prints for HTTP is read back to the second', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date(now), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }), (date) => {
      const seconds = Math.floor(date.getTime() / 1000) * 1000
      return parseRetryAfter(date.toUTCString(), now) === seconds - now
    }),
  )
})

test('whatever comes, the answer is null or a whole number of milliseconds from 0', () => {
  const nearly = fc
    .tuple(
      fc.constantFrom('Thu, 01 Jan 2026 00:01:00 GMT', 'Thursday, 01-Jan-26 00:01:00 GMT', '120'),
      fc.nat(30),
      fc.string({ maxLength: 3 }),
    )
    .map(([text, at, noise]) => text.slice(0, at) + noise + text.slice(at + noise.length))
  fc.assert(
    fc.property(fc.oneof(fc.string(), nearly), (text) => {
      const wait = parseRetryAfter(text, now)
      return wait === null || (Number.isSafeInteger(wait) && wait >= 0)
    }),
  )
})
