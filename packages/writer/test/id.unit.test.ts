import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createIds, uuidv7 } from '../src/id.ts'

const version7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const millisecondOf = (id: string): number => Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)

test('an id is a UUID of version 7 that carries the time of its making', () => {
  const before = Date.now()
  const id = uuidv7()
  expect(id).toMatch(version7)
  expect(millisecondOf(id)).toBeGreaterThanOrEqual(before)
  expect(millisecondOf(id)).toBeLessThanOrEqual(Date.now())
})

test('100,000 ids of one process grow and differ', () => {
  const ids = Array.from({ length: 100_000 }, () => uuidv7())
  expect(ids).toEqual([...new Set(ids)].sort())
})

test('ids grow whatever the clock does: stand still, jump, or run backwards', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 ** 48 - 10_000 }), { minLength: 1, maxLength: 200 }), (times) => {
      let now = 0
      const next = createIds(() => now)
      let last = ''
      for (now of times) {
        const id = next()
        expect(id).toMatch(version7)
        expect(id > last).toBe(true)
        last = id
      }
    }),
  )
})

test('a full counter borrows the next millisecond, and no more than it needs', () => {
  const next = createIds(() => 1_000_000)
  const ids = Array.from({ length: 50_000 }, next)
  expect(ids).toEqual([...new Set(ids)].sort())
  // A millisecond holds 2,049 to 4,096 ids, by where its counter starts.
  const borrowed = millisecondOf(ids.at(-1) as string) - 1_000_000
  expect(borrowed).toBeGreaterThanOrEqual(Math.floor(50_000 / 4096))
  expect(borrowed).toBeLessThanOrEqual(Math.ceil(50_000 / 2048))
})

test('two processes at the same millisecond make different ids', () => {
  const ids = Array.from({ length: 1000 }, () => createIds(() => 5)())
  expect(new Set(ids).size).toBe(1000)
})
