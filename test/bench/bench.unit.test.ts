import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { nodeArgs } from '../node.ts'
import type { Bench } from './bench.ts'
import { readGiven, UsageError } from './given.ts'
import { keyOf, numberOf, payloadOf } from './payload.ts'
import { percentilesOf } from './percentiles.ts'
import { tableOf } from './print.ts'
import { median, Rounds, takeTurns } from './rounds.ts'
import { runBench } from './run-bench.ts'

const silent = (): void => {}

function run(...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...nodeArgs, join(import.meta.dirname, 'main.ts'), ...args], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  return { status, stdout, stderr }
}

describe('figures', () => {
  test('a median is the middle value, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([7])).toBe(7)
  })

  test('percentiles are values that were measured', () => {
    const { p50, p95, p99, max } = percentilesOf(Array.from({ length: 100 }, (_, index) => index + 1))
    expect([p50, p95, p99, max]).toEqual([51, 96, 100, 100])
  })

  test('a row holds the median of each figure with its least and greatest value, and leaves out what could not be had', () => {
    const rounds = new Rounds()
    for (const rate of [30, 10, 20]) rounds.add({ way: 'a' }, { rate, cpu: null })
    rounds.add({ way: 'b' }, { rate: 5, cpu: 1 })
    expect(rounds.rows()).toEqual([
      { way: 'a', rate: 20, 'rate min': 10, 'rate max': 30 },
      { way: 'b', rate: 5, 'rate min': 5, 'rate max': 5, cpu: 1, 'cpu min': 1, 'cpu max': 1 },
    ])
    expect(rounds.values({ way: 'a' }, 'rate')).toEqual([30, 10, 20])
  })

  test('variants take turns, forwards and backwards, never one block after the other', async () => {
    const order: string[] = []
    await takeTurns(['a', 'b', 'c'], 3, silent, async (variant, round) => {
      order.push(`${variant}${round}`)
      return { labels: { variant }, figures: { round } }
    })
    expect(order).toEqual(['a1', 'b1', 'c1', 'c2', 'b2', 'a2', 'a3', 'b3', 'c3'])
  })
})

describe('events', () => {
  test('a payload has the bytes that were asked for, and tells its number in either form of JSON', () => {
    for (const [n, bytes] of [
      [1, 40],
      [123_456, 300],
      [7, 262_144],
    ] as const) {
      const text = JSON.stringify(payloadOf(n, bytes))
      expect(Buffer.byteLength(text)).toBe(bytes)
      expect(numberOf(text)).toBe(n)
      expect(numberOf(text.replaceAll(':', ': '))).toBe(n)
    }
    expect(() => payloadOf(1, 5)).toThrow(RangeError)
  })

  test('events are spread over all of their keys, and one event always has the same', () => {
    const keys = Array.from({ length: 10_000 }, (_, n) => keyOf(n + 1, 100))
    expect(new Set(keys).size).toBe(100)
    expect(keyOf(5_000, 100)).toBe(keys[4_999])
    const most = Math.max(...[...Map.groupBy(keys, (key) => key).values()].map((some) => some.length))
    expect(most).toBeLessThan(200)
  })
})

describe('options', () => {
  const options: Bench['options'] = {
    events: { type: 'string', default: '50000,1000000', quick: '2000', about: 'sizes' },
    audit: { type: 'string', default: 'all,none', about: 'what' },
    held: { type: 'boolean', default: false, about: 'whether' },
  }

  test('an option has its default, with --quick its small one, and what was given outweighs both', () => {
    expect(readGiven(options, []).numbers('events')).toEqual([50_000, 1_000_000])
    expect(readGiven(options, []).rounds).toBe(3)
    const quick = readGiven(options, ['--quick', '--held'])
    expect([quick.numbers('events'), quick.rounds, quick.quick, quick.flag('held')]).toEqual([[2_000], 1, true, true])
    expect(readGiven(options, ['--quick', '--events', '7', '--rounds=5']).number('events')).toBe(7)
    expect(readGiven(options, []).words('audit', ['all', 'none'])).toEqual(['all', 'none'])
  })

  test('what cannot be is refused with a reason', () => {
    expect(() => readGiven(options, ['--evens', '5'])).toThrow(UsageError)
    expect(() => readGiven(options, ['stray'])).toThrow(UsageError)
    expect(() => readGiven(options, ['--events', 'many']).number('events')).toThrow('--events: expected a number')
    expect(() => readGiven(options, ['--rounds', '0']).rounds).toThrow('--rounds')
    expect(() => readGiven(options, ['--audit', 'some']).words('audit', ['all', 'none'])).toThrow('expected all, none')
  })
})

describe('report', () => {
  const bench: Bench = {
    name: 'tiny',
    about: 'adds up',
    options: { to: { type: 'string', default: '10', quick: '2', about: 'how far' } },
    async run(given, say) {
      const rounds = await takeTurns([given.number('to')], given.rounds, say, async (to, round) => ({
        labels: { to },
        figures: { sum: to * round },
      }))
      return {
        settings: { by: 1 },
        rows: rounds.rows(),
        notes: ['it added'],
        versions: { postgres: '18' },
        postgres: { fsync: 'on' },
      }
    },
  }

  test('the last line is everything as JSON; before it stand machine, versions, settings, table and notes', async () => {
    const printed: string[] = []
    await runBench(bench, [], silent, (text) => printed.push(...text.split('\n')))
    const { rows, machine, versions, settings, given, notes, rounds } = JSON.parse(printed.at(-1) ?? '') as Record<
      string,
      unknown
    >
    expect(rows).toEqual([{ to: 10, sum: 20, 'sum min': 10, 'sum max': 30 }])
    expect(machine).toMatchObject({ cores: expect.any(Number) as number, node: process.versions.node })
    expect({ versions, settings, rounds }).toEqual({
      versions: { node: process.versions.node, postgres: '18' },
      settings: { by: 1 },
      rounds: 3,
    })
    expect(given).toMatchObject({ to: '10' })
    expect(notes).toContain('it added')
    const text = printed.slice(0, -1).join('\n')
    for (const part of ['tiny: adds up', 'machine: ', 'fsync on', 'by 1', '20 (10–30)', '- it added'])
      expect(text).toContain(part)
  })

  test('a table shows a figure with its bounds in one column, numbers to the right', () => {
    const rows = [
      { way: 'relay', rate: 123_456, 'rate min': 120_000, 'rate max': 130_000 },
      { way: 'raw', rate: 7 },
    ]
    expect(tableOf(rows).split('\n')).toEqual([
      'way                          rate',
      '─────   ─────────────────────────',
      'relay   123 456 (120 000–130 000)',
      'raw                             7',
    ])
  })
})

describe('npm run bench', () => {
  test('without a name it lists what there is; a wrong name or option is refused with status 2, the reason and the list', () => {
    const listed = run()
    expect(listed.status).toBe(0)
    for (const name of ['drain', 'webhook', 'kafka', 'latency', 'producer', 'held', 'idle', 'soak', 'backfill'])
      expect(listed.stdout).toMatch(new RegExp(`^  ${name} +\\w`, 'm'))
    expect(listed.stdout).not.toContain('cannot be loaded')

    const unknown = run('drian')
    expect(unknown.status).toBe(2)
    expect(unknown.stderr).toContain('there is no benchmark "drian"')
    expect(unknown.stderr).toMatch(/^ {2}drain +\w/m)

    const wrong = run('drain', '--evens', '5')
    expect(wrong.status).toBe(2)
    expect(wrong.stderr).toContain('--evens')
    expect(wrong.stderr).toContain('--events')
  }, 60_000)
})
