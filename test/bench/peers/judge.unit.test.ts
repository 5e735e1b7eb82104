import { expect, test } from 'vitest'
import { judge } from './judge.ts'
import type { Arrival } from './recorder.ts'

const arrival = (key: string, n: number, cameAt: number, accepted = true): Arrival => ({
  key,
  n,
  cameAt,
  answeredAt: cameAt + 5,
  accepted,
})

test('order is kept when each job comes after the one in front of it was accepted, whatever other keys do', () => {
  const arrivals = [arrival('a', 1, 0), arrival('b', 1, 1), arrival('a', 2, 5), arrival('b', 2, 6)]
  expect(judge(arrivals, ['a', 'b'], 2)).toEqual({ brokenKeys: 0, missing: 0, repeats: 0 })
})

test('a job that overtakes breaks its key, and one that comes while another is still in hand does too', () => {
  const overtaking = [arrival('a', 2, 0), arrival('a', 1, 10)]
  const together = [arrival('b', 1, 0), arrival('b', 2, 3)]
  expect(judge([...overtaking, ...together, arrival('c', 1, 0), arrival('c', 2, 9)], ['a', 'b', 'c'], 2).brokenKeys).toBe(2)
})

test('what overtakes a job that failed breaks its key, also when that comes later', () => {
  expect(judge([arrival('a', 1, 0, false), arrival('a', 2, 10), arrival('a', 1, 20)], ['a'], 2).brokenKeys).toBe(1)
  expect(judge([arrival('a', 1, 0, false), arrival('a', 1, 10), arrival('a', 2, 20)], ['a'], 2).brokenKeys).toBe(0)
})

test('a repeat is counted and breaks nothing; what never came is missing, and what came behind it broke the order', () => {
  const repeated = [arrival('a', 1, 0), arrival('a', 2, 10), arrival('a', 1, 20), arrival('a', 2, 30)]
  expect(judge(repeated, ['a'], 2)).toEqual({ brokenKeys: 0, missing: 0, repeats: 2 })
  expect(judge([arrival('a', 1, 0)], ['a'], 3)).toEqual({ brokenKeys: 0, missing: 2, repeats: 0 })
  expect(judge([arrival('a', 2, 0)], ['a'], 2)).toEqual({ brokenKeys: 1, missing: 1, repeats: 0 })
})
