import { partitionOf, simulate } from '@postrider/kafka'
import { expect, it } from 'vitest'

it('a simulation puts every key where the sink would, for each number of partitions', () => {
  const keys = Array.from({ length: 1_000 }, (_, index) => ({ key: `k${index}`, records: index === 7 ? 1_001 : 1, bytes: 10 }))
  const [six] = simulate(keys, [6])
  const twelve = simulate(keys, [12]).at(0)!
  expect(six?.shares.map(({ keys: count }) => count).reduce((a, b) => a + b)).toBe(1_000)
  expect(twelve.shares).toHaveLength(12)
  const busiest = twelve.shares.at(partitionOf(Buffer.from('k7'), 12))!
  expect(busiest.records).toBeGreaterThanOrEqual(1_001)
  expect(twelve.imbalance).toBeCloseTo(busiest.records / (2_000 / 12))
  expect(six?.shares.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1)
})

it('no keys are shared evenly', () => {
  expect(simulate([], [3]).at(0)).toMatchObject({ imbalance: 1, partitions: 3 })
})
