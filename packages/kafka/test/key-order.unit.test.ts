import type { Outcome } from '@postrider/relay'
import { expect, it } from 'vitest'
import type { Item } from '../src/item.ts'
import { KeyOrder } from '../src/key-order.ts'
import { nth } from './event.ts'

const delivered: Outcome = { kind: 'delivered' }
const failed: Outcome = { kind: 'retry', error: { code: 'timeout', message: 'x' } }

function bench(): {
  order: KeyOrder
  started: number[]
  answers: Map<number, string>
  item: (n: number, key: string | null, topic?: string) => Item
} {
  const started: number[] = []
  const answers = new Map<number, string>()
  const order = new KeyOrder(
    (item) => item.topic,
    (item) => started.push(Number(item.attempt.event.position)),
  )
  return {
    order,
    started,
    answers,
    item: (n, key, topic = 't') => {
      const item: Item = {
        attempt: nth(n, { key }),
        topic,
        record: null,
        refusal: null,
        bytes: 0,
        leastBytes: 0,
        expiresAt: Infinity,
        answer: ({ kind }) => answers.set(n, kind),
        inFlight: false,
        settled: false,
      }
      order.add(item)
      return item
    },
  }
}

it('events of a key that go the same way start at once; what goes another way waits', () => {
  const { order, started, item } = bench()
  const [one, two] = [item(1, 'a'), item(2, 'a')]
  item(3, 'a', 'other')
  item(4, 'a')
  item(5, 'b', 'other')
  expect(started).toEqual([1, 2, 5])
  order.settle(one, delivered)
  expect(started).toEqual([1, 2, 5])
  order.settle(two, delivered)
  expect(started).toEqual([1, 2, 5, 3])
})

it('what is behind a failed event of its key is answered so, and other keys go on', () => {
  const { order, answers, item } = bench()
  const one = item(1, 'a')
  item(2, 'a')
  item(3, 'a', 'other')
  item(4, 'b')
  order.settle(one, failed)
  item(5, 'a')
  expect(answers).toEqual(
    new Map([
      [1, 'retry'],
      [2, 'behind'],
      [3, 'behind'],
      [5, 'behind'],
    ]),
  )
})

it('an event that fails is taken again at once', () => {
  const { order, started, item } = bench()
  order.settle(item(1, 'a'), failed)
  item(1, 'a')
  expect(started).toEqual([1, 1])
})

it('what is before a failed event goes on', () => {
  const { order, started, answers, item } = bench()
  const [one, two] = [item(1, 'a'), item(2, 'a')]
  const three = item(3, 'a', 'other')
  item(4, 'a', 'other')
  order.settle(three, failed)
  expect(answers).toEqual(
    new Map([
      [3, 'retry'],
      [4, 'behind'],
    ]),
  )
  order.settle(two, failed)
  order.settle(one, delivered)
  expect(answers.get(1)).toBe('delivered')
  expect(started).toEqual([1, 2])
  expect(order.size).toBe(0)
})

it('events without a key never wait for each other', () => {
  const { order, started, answers, item } = bench()
  order.settle(item(1, null), failed)
  item(2, null)
  expect(started).toEqual([1, 2])
  expect(answers.get(2)).toBeUndefined()
})
