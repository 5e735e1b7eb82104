import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeJson } from '../src/json.ts'
import { formatPath } from '../src/path.ts'

const encode = (value: unknown): string =>
  encodeJson(value, (keys, reason) => {
    throw new Error(`${formatPath('payload', keys)} ${reason}`)
  })

/** Any JSON value, with every kind of text that `jsonb` can hold. */
const anyJson = fc.jsonValue({ stringUnit: 'binary' }).filter((value) => !holdsNul(value))

function holdsNul(value: unknown): boolean {
  return JSON.stringify(value).replaceAll('\\\\', '').includes('\\u0000')
}

describe('the JSON of a payload', () => {
  test('any JSON value reads back as it was, in the text that JSON.stringify makes', () => {
    fc.assert(
      fc.property(anyJson, (value) => {
        expect(encode(value)).toBe(JSON.stringify(value))
        expect(JSON.parse(encode(value))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
      { numRuns: 1000 },
    )
  })

  test('any BigInt is a JSON number with all its digits', () => {
    fc.assert(
      fc.property(fc.bigInt(), (n) => {
        expect(encode({ n })).toBe(`{"n":${n}}`)
      }),
    )
    expect(encode([9007199254740993n, Object(1n)])).toBe('[9007199254740993,1]')
  })

  test('objects say what they are by toJSON, which runs once, and its result is taken as it stands', () => {
    let runs = 0
    const money = { toJSON: (key: string) => ({ key, runs: ++runs, toJSON: 'not again' }) }
    expect(encode({ price: money, at: new Date(0) })).toBe(
      '{"price":{"key":"price","runs":1,"toJSON":"not again"},"at":"1970-01-01T00:00:00.000Z"}',
    )
    const itself = { a: 1, toJSON: (): unknown => itself }
    expect(() => encode(itself)).toThrow('payload.toJSON is a function')
  })

  test('instances, objects without a prototype, boxed values and raw JSON are written as JSON.stringify writes them', () => {
    class Order {
      readonly id = 'o-1'
      get hidden(): string {
        return 'on the prototype'
      }
    }
    const bare = Object.assign(Object.create(null) as object, { a: [] })
    const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('1.10')
    const value = {
      order: new Order(),
      bare,
      boxed: [Object(1), Object('x'), Object(true)],
      raw,
      left: undefined,
      ['__proto__']: 1,
    }
    expect(encode(value)).toBe(JSON.stringify(value))
    expect(encode(value)).toContain('"raw":1.10')
  })

  test('one object in two places is no cycle', () => {
    const address = { city: 'Graz' }
    expect(encode({ from: address, to: address })).toBe('{"from":{"city":"Graz"},"to":{"city":"Graz"}}')
  })

  test('a thousand levels are written, one more is refused', () => {
    const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
    expect(encode(nested(1000))).toHaveLength(2000)
    expect(() => encode(nested(1001))).toThrow('is nested deeper than 1000 levels')
  })

  const cyclic: { items: unknown[] } = { items: [] }
  cyclic.items.push({ order: cyclic })
  const rawString = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String.raw`"a\u0000b"`)

  test.for<[name: string, value: unknown, message: string]>([
    ['undefined at the root', undefined, 'payload is undefined'],
    ['undefined in an array', { a: [1, undefined] }, 'payload.a[1] is undefined'],
    ['a hole in an array', [1, , 2], 'payload[1] is undefined'], // oxlint-disable-line no-sparse-arrays
    ['a function', { a: () => 1 }, 'payload.a is a function, which JSON cannot hold'],
    ['a symbol', { a: Symbol('x') }, 'payload.a is a symbol, which JSON cannot hold'],
    ['NaN', { a: { b: Number.NaN } }, 'payload.a.b is NaN, which JSON cannot hold'],
    ['Infinity', [[-Infinity]], 'payload[0][0] is -Infinity, which JSON cannot hold'],
    ['a Map', { 'unit prices': new Map() }, 'payload["unit prices"] is an object of type Map, which JSON cannot hold'],
    ['a Set', new Set([1]), 'payload is an object of type Set, which JSON cannot hold'],
    [
      'a promise that was not awaited',
      { user: Promise.resolve(1) },
      'payload.user is an object of type Promise, which JSON cannot hold',
    ],
    ['an error', { cause: new RangeError('x') }, 'payload.cause is an object of type Error, which JSON cannot hold'],
    ['a regular expression', [/x/], 'payload[0] is an object of type RegExp, which JSON cannot hold'],
    ['bytes within JSON', { file: Buffer.from('x') }, 'payload.file is binary'],
    ['an array buffer', { file: new ArrayBuffer(1) }, 'payload.file is an object of type ArrayBuffer'],
    ['an invalid date', { at: new Date('x') }, 'payload.at is an invalid date'],
    ['a cycle', cyclic, 'payload.items[0].order contains itself'],
    ['a NUL in a string', { a: ['x', 'a\0b'] }, 'payload.a[1] holds a NUL character (at 1)'],
    ['a NUL in a name', { a: { 'b\0': 1 } }, String.raw`payload.a["b\u0000"] has a name that holds a NUL character (at 1)`],
    ['a NUL in raw JSON', { a: rawString }, 'payload.a holds a NUL character (at 1)'],
    ['a lone surrogate', { a: 'x\ud800' }, 'payload.a holds half of a surrogate pair'],
    ['a lone surrogate in a name', { '\udc00': 1 }, 'has a name that holds half of a surrogate pair'],
  ])('%s is refused with its path', ([, value, message]) => {
    expect(() => encode(value)).toThrow(message)
  })

  const hostile = fc.string({
    unit: fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
      fc.constantFrom('\0', '\ud800', '\udfff', String.raw`\u0000`, String.raw`\ud800`),
    ),
  })
  const fits = (text: string): boolean => text.isWellFormed() && !text.includes('\0')

  test('text that jsonb refuses never gets through, wherever it stands', () => {
    fc.assert(
      fc.property(
        hostile.filter((text) => !fits(text)),
        (text) => {
          for (const place of [text, [text], { [text]: 1 }]) expect(() => encode(place)).toThrow(/NUL|surrogate/)
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('text that only looks like it is written as it is', () => {
    fc.assert(
      fc.property(hostile.filter(fits), (text) => {
        for (const place of [text, [text], { [text]: 1 }]) expect(encode(place)).toBe(JSON.stringify(place))
      }),
      { numRuns: 1000 },
    )
  })
})
