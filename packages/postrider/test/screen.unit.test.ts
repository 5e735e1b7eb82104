import { PassThrough } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Tailed } from '../src/inspect/attempts.ts'
import { Lines } from '../src/inspect/word-tail.ts'
import { openScreen } from '../src/screen.ts'
import type { SinkStatus, Status } from '../src/status.ts'
import { advise, wordStatus } from '../src/word-status.ts'

beforeAll(() => {
  process.env['NO_COLOR'] = '1'
})

function openStream(tty: boolean): { readonly stream: NodeJS.WriteStream; readonly written: () => string } {
  const stream = Object.assign(new PassThrough(), { isTTY: tty, rows: 5, columns: 80 })
  let written = ''
  stream.on('data', (chunk: Buffer) => (written += chunk.toString()))
  return { stream: stream as unknown as NodeJS.WriteStream, written: () => written }
}

describe('a screen', () => {
  test('draws each picture over the one before in one write, never more than fits, and gives the cursor back', () => {
    const { stream, written } = openStream(true)
    {
      using screen = openScreen(stream)
      expect(screen.rows).toBe(5)
      screen.draw(['one', 'two'])
      screen.draw(['three', '4', '5', '6', '7', '8'])
    }
    const [first, second, ...more] = written().split('\x1b[?7h')
    // Home, each line cleared behind its text, and what was below cleared too; the screen itself is never cleared.
    expect(first?.endsWith('\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J')).toBe(true)
    expect(second).toBe('\x1b[?7l\x1b[Hthree\x1b[K\n4\x1b[K\n5\x1b[K\n6\x1b[K\n\x1b[J')
    expect(more).toEqual(['\x1b[?25h'])
  })

  test('without a terminal is one picture after the other, without control characters', () => {
    const { stream, written } = openStream(false)
    {
      using screen = openScreen(stream)
      expect(screen.rows).toBe(Infinity)
      screen.draw(['one'])
      screen.draw(['two'])
    }
    expect(written()).toBe('one\n\ntwo\n\n')
  })
})

test('lines of tail stand one under the other, and cannot steer the terminal', () => {
  const lines = new Lines()
  const attempt: Tailed = {
    kind: 'attempt',
    startedAt: '2026-01-05T09:30:00.123456Z',
    sink: 'billing',
    eventId: '0192b0f0-7a3e-7c51-9b1e-2f5d8c4a6e01',
    position: '17',
    type: 'order.placed',
    key: 'o-1',
    attempt: 1,
    outcome: 'delivered',
    status: 200,
    errorCode: null,
    error: null,
    durationMs: 12,
    relay: null,
  }
  const shown = [
    lines.word(attempt),
    lines.word({
      ...attempt,
      sink: 'a',
      outcome: 'retry',
      attempt: 3,
      status: null,
      key: '\x1b[2J',
      errorCode: 'connect',
      error: 're\nfused',
    }),
    lines.word({
      kind: 'event',
      createdAt: '2026-01-05T09:30:00Z',
      eventId: attempt.eventId,
      position: '18',
      type: 'x',
      key: null,
      tenant: null,
    }),
  ].map(stripVTControlCharacters)
  expect(shown[0]).toMatch(/^\d\d:\d\d:00\.123 {2}billing {2}delivered {2}200 {2}12ms {2}order\.placed {2}o-1 {2}0192b0f0-\S+$/)
  expect(shown[1]).toMatch(
    /^\S+ {2}a {8}retry {6} {3} {2}12ms {2}order\.placed {2}\\u001b\[2J {2}0192b0f0-\S+ {2}attempt 3 {2}connect: re\\u000afused$/,
  )
  expect(shown[2]).toMatch(/ written .* x .* - .*0192b0f0-\S+$/)
  expect(shown[1]?.indexOf('retry')).toBe(shown[0]?.indexOf('delivered'))
})

test('of more sinks than fit, those in trouble are shown', () => {
  const sink = (name: string, more: Partial<SinkStatus> = {}): SinkStatus => ({
    name,
    kind: 'webhook',
    mode: 'live',
    state: 'active',
    since: null,
    by: null,
    reason: null,
    until: null,
    circuit: 'closed',
    quietUntil: null,
    concurrency: 32,
    rate: null,
    limitsAreLive: false,
    pending: 0,
    pendingIsAll: true,
    oldestPendingSeconds: null,
    scheduled: 0,
    retrying: 0,
    blocked: 0,
    dead: 0,
    deliveredPerSecond: 0,
    failedPerSecond: 0,
    lanes: [],
    ...more,
  })
  const status: Status = {
    schema: 'postrider',
    sinks: [
      sink('a'),
      sink('b', { oldestPendingSeconds: 60 }),
      sink('c', { state: 'paused', by: 'ann', reason: 'their\nrelease' }),
      sink('d', { dead: 12_000 }),
    ],
    relays: [],
  }
  const shown = stripVTControlCharacters(wordStatus(status, 2)).split('\n')
  expect(shown.slice(1, 4)).toEqual([
    expect.stringMatching(/^c +paused by ann: their\\u000arelease /),
    expect.stringMatching(/^d +active .* 10,000\+ /),
    '… and 2 more',
  ])
  expect(stripVTControlCharacters(wordStatus(status)).split('\n')[1]).toMatch(/^a /)
  expect(advise(status)).toEqual([
    expect.stringContaining('postrider start'),
    expect.stringContaining('postrider resume c'),
    expect.stringContaining('postrider dead list'),
  ])
})
