import { expect, test } from 'vitest'
import { bench } from './drain.ts'
import { runBench } from './run-bench.ts'

test('a benchmark runs to its end on a server and a relay of its own, and every figure is a number', async () => {
  const printed: string[] = []
  const args = ['--quick', '--events', '1000', '--audit', 'all']
  await runBench(
    bench,
    args,
    () => {},
    (text) => printed.push(...text.split('\n')),
  )
  const { rows, postgres } = JSON.parse(printed.at(-1) ?? '') as {
    readonly rows: readonly Record<string, string | number>[]
    readonly postgres: Record<string, string>
  }
  expect(postgres).toMatchObject({ fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' })
  expect(rows).toHaveLength(1)
  const { events, audit, log, ...figures } = rows[0]!
  expect({ events, log, audit }).toEqual({ events: 1_000, log: 'fresh', audit: 'all' })
  expect(figures['deliveries/s']).toBeGreaterThan(0)
  expect(figures['WAL bytes']).toBeGreaterThan(0)
  for (const value of Object.values(figures)) expect(value).toSatisfy(Number.isFinite)
}, 60_000)
