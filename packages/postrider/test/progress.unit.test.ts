import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { pointInTime, rate, words } from '../src/filter.ts'
import { Progress } from '../src/progress.ts'

let stderr: string
let stdout: string

beforeEach(() => {
  stderr = ''
  stdout = ''
  vi.useFakeTimers({ toFake: ['performance'] })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true))
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true))
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** 100 a second, told ten times a second. */
function work(progress: Progress, seconds: number, total: number | null = 10_000): void {
  for (let tick = 0; tick <= seconds * 10; tick++) {
    progress.show({ done: tick * 10, total, waits: null, more: { operation: '7' } })
    vi.advanceTimersByTime(100)
  }
}

test('on a terminal there is a bar with done, rate and time to go, and it goes away', () => {
  const progress = new Progress('operation 7', { json: false, quiet: false }, true)
  work(progress, 50)
  const last = stderr.split('\r').at(-1)
  expect(last).toBe('operation 7 [###############---------------] 5,000/10,000  100/s  eta 50s\u001b[K')
  progress.clear()
  expect(stderr.endsWith('\r\u001b[K')).toBe(true)
  expect(stdout).toBe('')
})

test('elsewhere there is a line each ten seconds, without anything that moves', () => {
  work(new Progress('operation 7', { json: false, quiet: false }, false), 35)
  expect(stderr.split('\n')).toEqual([
    'operation 7: 1,000/10,000  100/s  eta 1m30s',
    'operation 7: 2,000/10,000  100/s  eta 1m20s',
    'operation 7: 3,000/10,000  100/s  eta 1m10s',
    '',
  ])
})

test('what has no known end shows what is done', () => {
  work(new Progress('exported', { json: false, quiet: false }, false), 11, null)
  expect(stderr).toBe('exported: 1,000  100/s\n')
})

test('with --json there is a line each second on stdout', () => {
  work(new Progress('operation 7', { json: true, quiet: false }, true), 2)
  expect(stderr).toBe('')
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { type: 'progress', operation: '7', done: 0, total: 10_000, perSecond: 0, etaSeconds: null, waits: null },
    { type: 'progress', operation: '7', done: 100, total: 10_000, perSecond: 100, etaSeconds: 99, waits: null },
    { type: 'progress', operation: '7', done: 200, total: 10_000, perSecond: 100, etaSeconds: 98, waits: null },
  ])
})

test.each([
  ['2026-01-31T08:30:00Z', '2026-01-31T08:30:00Z'],
  ['2026-01-31T08:30:00.123456+02:00', '2026-01-31T08:30:00.123456+02:00'],
  ['2026-01-31', '2026-01-31T00:00:00Z'],
])('the time %s is %s', (text, time) => {
  expect(pointInTime(text)).toBe(time)
})

test('a time may be so long ago', () => {
  expect(Date.now() - Date.parse(pointInTime('90m'))).toBeLessThan(90 * 60_000 + 1_000)
  expect(Date.now() - Date.parse(pointInTime('7d'))).toBeGreaterThanOrEqual(7 * 86_400_000)
})

test.each(['yesterday', '', '2026-13-01', '2026-01-31T08:30:00', '1w', '-1h'])('%j is no time', (text) => {
  expect(() => pointInTime(text)).toThrow('Expected a time')
})

test('rates and lists of words', () => {
  expect([rate('100/s'), rate('30/m'), rate('2.5')]).toEqual([100, 0.5, 2.5])
  for (const wrong of ['0', 'fast', '1/h', '-1', '']) expect(() => rate(wrong)).toThrow('Expected a rate')
  expect(words('a, b', ['c'])).toEqual(['c', 'a', 'b'])
})
