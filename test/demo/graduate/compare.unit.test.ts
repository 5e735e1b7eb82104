import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Arrivals } from './arrivals.ts'
import { compare, type Effect, type Order } from './compare.ts'
import { fingerprint } from './fingerprint.ts'
import type { Result } from './play.ts'
import { isProven, summarise } from './summarise.ts'

const orders: readonly Order[] = [
  { id: 1, customer: 'ada', nth: 1 },
  { id: 2, customer: 'bela', nth: 1 },
  { id: 3, customer: 'ada', nth: 2 },
]
const effect = (orderId: number, customer: string, nth: number, road: Effect['road'] = 'webhook'): Effect => ({
  orderId,
  customer,
  nth,
  road,
})
const [ada1, bela1, ada2] = [effect(1, 'ada', 1), effect(2, 'bela', 1), effect(3, 'ada', 2, 'kafka')]
const faultless = { orders: 3, effects: 3, missing: 0, twice: 0, invented: 0, outOfOrder: 0, byWebhook: 2, byKafka: 1 }

test('every order with one effect, those of each customer in their order, is as it should be', () => {
  expect(compare(orders, [ada1, ada2, bela1])).toEqual(faultless)
})

test.each([
  ['an order without effect is missing', [ada1, bela1], { effects: 2, missing: 1 }],
  ['an order with two effects is there twice', [ada1, bela1, ada2, ada1], { effects: 4, twice: 1, outOfOrder: 0 }],
  ['an effect of no order is invented', [ada1, bela1, ada2, effect(9, 'ada', 3)], { effects: 4, invented: 1 }],
  ['an effect for the wrong customer is invented', [ada1, effect(2, 'ada', 1), ada2], { invented: 1, missing: 1 }],
  ['an effect after that of a later order of its customer is out of order', [ada2, bela1, ada1], { outOfOrder: 1, missing: 0 }],
])('%s', (_, effects, expected) => {
  expect(compare(orders, effects)).toMatchObject(expected)
})

const result: Result = {
  ...faultless,
  rolledBack: 1,
  late: 1,
  byBoth: 0,
  backfilled: 1,
  verified: 1,
  steps: [],
  totalMs: 1,
  shop: { sha256: 'a'.repeat(64), unchanged: true, restarts: 0 },
}

test('what is as it should be is proven', () => {
  expect(isProven(result)).toBe(true)
  expect(summarise(result, false).join('\n')).not.toContain('✗')
})

test.each<Partial<Result>>([
  { missing: 1 },
  { twice: 1 },
  { invented: 1 },
  { outOfOrder: 1 },
  { backfilled: 0 },
  { backfilled: 2, verified: 1 },
  { byKafka: 0 },
  { byWebhook: 0 },
  { shop: { ...result.shop, unchanged: false } },
  { shop: { ...result.shop, restarts: 1 } },
])('%j breaks a promise, and is told', (broken) => {
  expect(isProven({ ...result, ...broken })).toBe(false)
  expect(summarise({ ...result, ...broken }, false).filter((line) => line.startsWith('✗'))).toHaveLength(1)
})

test('an event that comes by both roads counts once, by the first, however often it comes', () => {
  const arrivals = new Arrivals()
  for (const road of ['webhook', 'webhook', 'kafka', 'kafka'] as const) arrivals.note('a', road)
  arrivals.note('b', 'kafka')
  expect(arrivals.intake).toEqual({ webhook: 1, kafka: 1, both: 1 })
})

test('a byte, a name or a file more changes the fingerprint of a folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'postrider-fingerprint-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const seen = new Set<string>()
  const look = async (): Promise<void> => void seen.add(await fingerprint(folder))
  await writeFile(join(folder, 'a.ts'), 'one')
  await look()
  await look()
  expect(seen.size).toBe(1)
  await writeFile(join(folder, 'a.ts'), 'two')
  await look()
  await rename(join(folder, 'a.ts'), join(folder, 'b.ts'))
  await look()
  await writeFile(join(folder, 'c.ts'), '')
  await look()
  expect(seen.size).toBe(4)
})
