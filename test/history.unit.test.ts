import { expect, test } from 'vitest'
import { faultless, faultsOf, repeats, type Written } from './history.ts'

const event = (key: string, n: number): Written => ({ id: `${key}${n}`, key, n })
const [a1, a2, a3, b1] = [event('a', 1), event('a', 2), event('a', 3), event('b', 1)]

test('a history in order, with repeats, is faultless', () => {
  const received = [a1, b1, a2, a1, a2, a3]
  expect(faultsOf([b1, a1, a2, a3], received)).toEqual(faultless)
  expect(repeats(received)).toBe(2)
})

test('the checker sees what was lost, invented, turned round and changed', () => {
  expect(faultsOf([a1, a2], [a1]).lost).toEqual(['a2'])
  expect(faultsOf([a1], [a1, b1]).phantom).toEqual(['b1'])
  expect(faultsOf([a1, a2, a3], [a1, a3, a2]).outOfOrder).toEqual(['a: 2 after 3'])
  expect(faultsOf([a1], [{ ...a1, n: 2 }]).changed).toEqual(['a1'])
})
