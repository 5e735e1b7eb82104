import { expect, test } from 'vitest'
import { check, percentile } from './check.ts'
import type { Written } from './diary.ts'
import type { Received } from './inbox.ts'

const written = (id: string, orderId: number, place: number): Written => ({ id, orderId, place, committingMs: 100 })
const received = (id: string, orderId: number, sequence: number, atMs = 105): Received => ({
  id,
  orderId,
  sequence: String(sequence).padStart(20, '0'),
  atMs,
})
const diary = [written('a1', 1, 1), written('b1', 2, 2), written('a2', 1, 3)]

test('what was committed and arrived in order is delivered, and nothing else is said', () => {
  const findings = check(diary, [received('a1', 1, 11), received('a2', 1, 13), received('b1', 2, 12, 130)])
  expect(findings).toEqual({ delivered: 3, lost: 0, phantom: 0, outOfOrder: 0, p50Ms: 5, p99Ms: 30 })
})

test('a committed event that never arrived is lost', () => {
  expect(check(diary, [received('a1', 1, 11), received('b1', 2, 12)])).toMatchObject({ delivered: 2, lost: 1 })
})

test('an event that was never committed is a phantom', () => {
  const findings = check(diary, [received('a1', 1, 11), received('x', 1, 12), received('b1', 2, 12), received('a2', 1, 13)])
  expect(findings).toMatchObject({ lost: 0, phantom: 1, outOfOrder: 0 })
})

test('an event after a later one of its order is out of order, whatever the log says of its place', () => {
  const swapped = [received('a2', 1, 11), received('a1', 1, 13), received('b1', 2, 12)]
  expect(check(diary, swapped)).toMatchObject({ lost: 0, outOfOrder: 1 })
})

test('a place in the log that goes back within an order is out of order, whatever the service noted', () => {
  expect(check(diary, [received('a1', 1, 13), received('a2', 1, 11), received('b1', 2, 12)])).toMatchObject({ outOfOrder: 1 })
})

test('a receipt that was seen before the COMMIT was answered counts as no time, not as negative time', () => {
  expect(check([written('a1', 1, 1)], [received('a1', 1, 1, 99)])).toMatchObject({ p50Ms: 0, p99Ms: 0 })
})

test('a percentile is a value that occurred', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
  expect([percentile(hundred, 0.5), percentile(hundred, 0.99), percentile([7.04], 0.5), percentile([], 0.5)]).toEqual([
    50, 99, 7, 0,
  ])
})
