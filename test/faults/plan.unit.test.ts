import fc from 'fast-check'
import { expect, test } from 'vitest'
import { catalogue } from './catalogue.ts'
import { planOf, randomOf } from './plan.ts'
import { shrink } from './shrink.ts'
import { transactionsOf, type Transaction } from './transaction.ts'

const anyFault = fc.constantFrom(...catalogue)
const seeds = fc.nat(1_000_000)

function first(seed: number, fault: (typeof catalogue)[number], writer: number): Transaction[] {
  const plan = planOf(seed, fault, 8)
  const writing = transactionsOf(plan, writer, randomOf(seed, fault.name).stream('writers').stream(`writer ${writer}`))
  return Array.from({ length: 100 }, () => writing.next().value)
}

test('a seed gives the same plan and the same transactions each time, and another seed gives others', () => {
  fc.assert(
    fc.property(anyFault, seeds, fc.nat(3), (fault, seed, writer) => {
      expect(planOf(seed, fault, 8)).toEqual(planOf(seed, fault, 8))
      expect(first(seed, fault, writer)).toEqual(first(seed, fault, writer))
      expect(first(seed, fault, writer)).not.toEqual(first(seed + 1, fault, writer))
    }),
    { numRuns: 50 },
  )
})

test('a fault strikes at least once, never twice at once, and has what it needs', () => {
  fc.assert(
    fc.property(anyFault, seeds, fc.integer({ min: 3, max: 20 }), (fault, seed, seconds) => {
      const plan = planOf(seed, fault, seconds)
      expect(plan.blows.length).toBeGreaterThanOrEqual(Math.min(1, fault.blows))
      expect(plan.blows.length).toBeLessThanOrEqual(fault.blows)
      for (const [nr, { atMs, forMs }] of plan.blows.entries()) {
        expect(forMs).toBeGreaterThanOrEqual(fault.lastsMs[0])
        expect(forMs).toBeLessThanOrEqual(fault.lastsMs[1])
        expect(plan.blows[nr + 1]?.atMs ?? Infinity).toBeGreaterThan(atMs + forMs)
      }
      for (const [name, [low, high]] of Object.entries(fault.limits ?? {})) {
        const value = plan[name as keyof typeof fault.limits] as number
        expect(value).toBeGreaterThanOrEqual(low)
        expect(value).toBeLessThanOrEqual(high)
      }
    }),
  )
})

test('writers do everything that a transaction can do, and take their locks in one order', () => {
  const transactions = [1, 2, 3].flatMap((seed) => [0, 1].flatMap((writer) => first(seed, catalogue[0]!, writer)))
  const ends = new Set(transactions.map(({ end }) => end))
  expect([...ends].sort()).toEqual(
    ['commit', 'commit prepared', 'cut', 'cut at commit', 'rollback', 'rollback prepared', 'statement'].sort(),
  )
  const steps = transactions.flatMap((transaction) => transaction.steps)
  for (const what of ['emit', 'savepoint', 'rollback to', 'hold']) expect(steps.map((step) => step.do)).toContain(what)
  expect(steps.some((step) => step.do === 'emit' && step.dueInMs !== null)).toBe(true)
  for (const transaction of transactions) {
    const locked = transaction.steps.flatMap((step) => (step.do === 'emit' && step.discipline !== 'none' ? [step.key ?? ''] : []))
    expect(locked).toEqual(locked.toSorted((a, b) => a.localeCompare(b)))
  }
})

test('names of faults are there once, and each says what it does and what it attacks', () => {
  expect(new Set(catalogue.map(({ name }) => name)).size).toBe(catalogue.length)
  for (const { name, does, attacks } of catalogue) {
    expect(name).toMatch(/^[a-z-]+$/)
    expect(does.length).toBeGreaterThan(10)
    expect(attacks.length).toBeGreaterThan(0)
  }
})

test('a run that fails is made smaller as long as it fails, and no further', async () => {
  const plan = { ...planOf(1, catalogue[1]!, 8), writers: 5, relays: 3, lanes: 6, keys: 20, pageSize: 200, concurrency: 32 }
  // It fails where two writers meet on more than one lane.
  const smallest = await shrink(plan, {}, async ({ writers = 5, lanes = 6 }) => writers >= 2 && lanes > 1)
  expect(smallest).toEqual({ blows: 1, relays: 1, keys: 3, writers: 2, pageSize: 2, concurrency: 4 })
})
