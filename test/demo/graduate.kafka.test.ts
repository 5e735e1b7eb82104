import { join } from 'node:path'
import { nodeArgs } from '@postrider/test/node'
import { describe, expect, test } from 'vitest'
import { ownKafka } from '../kafka/index.ts'
import { expectNothingLeft, processesOf, start, until } from './demo-process.ts'
import type { Result } from './graduate/play.ts'

const { available, reason } = ownKafka()
const main = [...nodeArgs, join(import.meta.dirname, 'graduate', 'main.ts')]
const events = 500

describe.skipIf(!available)(`from webhooks to Kafka, and back (${reason})`, () => {
  test(
    'each order takes effect once and in order by whatever road, and the shop is never touched',
    { timeout: 150_000 },
    async () => {
      const demo = await start([...main, '--events', String(events), '--json'])
      const code = await demo.ended
      expect(demo.stderr()).toContain('each took effect exactly once')
      expect(code).toBe(0)
      const lines = demo.stdout().trimEnd().split('\n')
      expect(lines).toHaveLength(1)
      const result = JSON.parse(lines.at(0)!) as Result
      const number = expect.any(Number) as number
      expect(result).toEqual({
        orders: number,
        effects: result.orders,
        missing: 0,
        twice: 0,
        invented: 0,
        outOfOrder: 0,
        byWebhook: number,
        byKafka: number,
        byBoth: number,
        rolledBack: number,
        late: number,
        backfilled: number,
        verified: number,
        steps: ['webhook', 'backfill', 'verify', 'cutover', 'rollback', 'cutover again', 'finish'].map((step) => ({
          step,
          ms: number,
          orders: number,
        })),
        totalMs: number,
        shop: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string, unchanged: true, restarts: 0 },
      })
      expect(result.byWebhook + result.byKafka).toBe(result.effects)
      expect(result.backfilled).toBeGreaterThanOrEqual(events)
      expect(result.verified).toBeGreaterThanOrEqual(result.backfilled)
      expect(result.orders).toBeGreaterThan(result.verified)
      // Two stays at Kafka, and one back at the webhook between them.
      expect(result.byKafka).toBeGreaterThanOrEqual(400)
      expect(result.byWebhook).toBeGreaterThanOrEqual(events + 200)
      expect(result.rolledBack).toBeGreaterThan(0)
      expect(result.late).toBeGreaterThan(0)
      // The shop wrote through every step.
      expect(result.steps.filter(({ orders }) => orders === 0)).toEqual([])
      await expectNothingLeft(demo)
    },
  )

  test('Ctrl-C ends it with exit status 130, and nothing is left', { timeout: 90_000 }, async () => {
    const demo = await start([...main, '--events', String(events), '--json'])
    await until(() => demo.stderr().includes('Kafka as a shadow'))
    const processes = processesOf(demo.temp).join('\n')
    for (const part of ['supervise.ts', 'bin/postgres', 'shop/main.ts', 'billing.ts', 'kafka.Kafka'])
      expect(processes).toContain(part)
    demo.child.kill('SIGINT')
    expect(await demo.ended).toBe(130)
    expect(demo.stdout()).toBe('')
    await expectNothingLeft(demo)
  })

  test('nothing is left when it is stopped while the servers start', { timeout: 60_000 }, async () => {
    const demo = await start([...main, '--json'])
    await until(() => processesOf(demo.temp).some((line) => line.includes('kafka')))
    demo.child.kill('SIGTERM')
    expect(await demo.ended).toBe(143)
    await expectNothingLeft(demo)
  })

  test('nothing is left after kill -9', { timeout: 90_000 }, async () => {
    const demo = await start([...main, '--events', String(events), '--json'])
    await until(() => demo.stderr().includes('Kafka as a shadow'))
    demo.child.kill('SIGKILL')
    await expectNothingLeft(demo)
  })
})

test('without Java it says what it needs, and starts nothing', async () => {
  const demo = await start([...main, '--json'], { PATH: '/nowhere', JAVA_HOME: '' })
  expect(await demo.ended).toBe(1)
  expect(demo.stderr()).toMatch(/Kafka cannot start: no java found\. Install Java 17/)
  expect(demo.stdout()).toBe('')
  await expectNothingLeft(demo)
})

test.for([
  [['--events', '99'], 'whole number from 100 to 50,000, got 99'],
  [['--evnts', '9'], '--evnts'],
] as const)('%j is refused with the reason and the help', async ([args, reason]) => {
  const demo = await start([...main, ...args])
  expect(await demo.ended).toBe(2)
  expect(demo.stderr()).toContain(reason)
  expect(demo.stderr()).toContain('npm run demo:graduate [-- options]')
  expect(demo.stdout()).toBe('')
})
