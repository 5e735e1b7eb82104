import { channel } from 'node:diagnostics_channel'
import type { Messages } from '@postrider/relay'
import { PostriderError } from '@postrider/schema'
import { generateSecret } from '@postrider/webhook'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { configShape } from '../src/config/shape.ts'
import { createLog } from '../src/log.ts'
import { followRelays } from '../src/log/follow.ts'

const canary = 'canary-7f3a9c51'
const secret = generateSecret()
const settings = configShape.parse({
  database: { url: `postgres://app:${canary}-password@db.example/app` },
  relay: { name: 'relay-1' },
  log: { level: 'debug' },
  sinks: {
    billing: {
      kind: 'webhook',
      url: `https://hooks.example.com/${canary}-path?token=${canary}-query`,
      secrets: { current: secret },
      headers: { 'x-token': `${canary}-header` },
    },
  },
})

type AttemptMessage = Messages['postrider:attempt']

const attempt: AttemptMessage = {
  sink: 'billing',
  kind: 'webhook',
  relay: 'b1f5bd0e-7c0a-4b8e-9b0e-0a3f5f3c7a11',
  eventId: '0192b0f0-0000-7000-8000-000000000001',
  type: 'order.placed',
  key: 'o-1',
  position: '7',
  attempt: 1,
  outcome: 'delivered',
  verdict: 'delivered',
  errorCode: null,
  error: null,
  status: 200,
  durationMs: 12.4,
  queueMs: 3.2,
  nextAttemptInMs: null,
}
const failed: AttemptMessage = {
  ...attempt,
  outcome: 'retry',
  verdict: 'retry',
  errorCode: 'timeout',
  error: 'no answer in time',
  status: null,
  nextAttemptInMs: 5_000,
}

let lines: string[]
let following: Disposable

function publish<Name extends keyof Messages>(name: Name, message: Messages[Name]): void {
  channel(name).publish(message)
}

function follow(level: 'debug' | 'info'): void {
  lines = []
  following = followRelays(
    createLog({ settings: { ...settings, log: { level } }, destination: { write: (line) => lines.push(line) } }),
  )
}

const logged = (): Record<string, unknown>[] => lines.map((line) => JSON.parse(line) as Record<string, unknown>)

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-11-21T08:00:00Z'), toFake: ['setInterval', 'Date'] })
  follow('debug')
})
afterEach(() => {
  following[Symbol.dispose]()
  vi.useRealTimers()
})

describe('the log', () => {
  test('has one line for each attempt: delivered is debug, retry info, dead warn', () => {
    publish('postrider:attempt', attempt)
    publish('postrider:attempt', failed)
    publish('postrider:attempt', {
      ...failed,
      outcome: 'reject',
      verdict: 'dead',
      errorCode: 'gone',
      error: 'answered 410',
      status: 410,
      nextAttemptInMs: null,
    })
    expect(logged().map(({ level, msg }) => [level, msg])).toEqual([
      ['debug', 'delivered'],
      ['info', 'failed, will be tried again'],
      ['warn', 'dead, will not be tried again by itself'],
    ])
    expect(logged()[1]).toEqual({
      level: 'info',
      time: '2026-11-21T08:00:00.000Z',
      service: 'postrider',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      instance: 'relay-1',
      component: 'delivery',
      relay: attempt.relay,
      event_id: attempt.eventId,
      event_type: 'order.placed',
      seq: '7',
      key_hash: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
      sink: 'billing',
      kind: 'webhook',
      attempt: 1,
      outcome: 'retry',
      error_code: 'timeout',
      error: 'no answer in time',
      duration_ms: 12,
      queue_ms: 3,
      next_attempt_at: '2026-11-21T08:00:05.000Z',
      msg: 'failed, will be tried again',
    })
  })

  test('tells the same failure ten times in ten seconds, and how many more there were', () => {
    following[Symbol.dispose]()
    follow('info')
    for (let i = 0; i < 25; i++) publish('postrider:attempt', failed)
    publish('postrider:attempt', { ...failed, errorCode: 'connect' })
    expect(logged()).toHaveLength(11)
    vi.advanceTimersByTime(10_000)
    expect(logged()[11]).toMatchObject({ level: 'info', component: 'summary', sink: 'billing', retried: 26, suppressed: 15 })
    publish('postrider:attempt', failed)
    expect(logged()).toHaveLength(13)
  })

  test('sums up each sink every ten seconds, but only when something happened', () => {
    vi.advanceTimersByTime(30_000)
    expect(lines).toEqual([])
    for (const durationMs of [10, 20, 30, 40]) publish('postrider:attempt', { ...attempt, queueMs: 0, durationMs })
    publish('postrider:attempt', { ...failed, outcome: 'throttled' })
    vi.advanceTimersByTime(10_000)
    expect(logged().at(-1)).toMatchObject({ delivered: 4, retried: 0, throttled: 1, dead: 0, p50_ms: 30, p95_ms: 40 })
    vi.advanceTimersByTime(30_000)
    expect(logged().filter(({ component }) => component === 'summary')).toHaveLength(1)
  })

  test('says once that the database or the listener has changed, not while it stays', () => {
    for (const up of [true, true, false, false, true]) publish('postrider:database', { up, error: up ? null : 'ECONNREFUSED' })
    for (const state of ['listening', 'listening', 'polling', 'polling'] as const)
      publish('postrider:listener', { state, reason: 'because' })
    expect(logged().map(({ level, component, up, state }) => [level, component, up ?? state])).toEqual([
      ['info', 'database', true],
      ['warn', 'database', false],
      ['info', 'database', true],
      ['info', 'wake', 'listening'],
      ['warn', 'wake', 'polling'],
    ])
  })

  test('ends with its last summary, and writes nothing afterwards', () => {
    publish('postrider:attempt', attempt)
    following[Symbol.dispose]()
    expect(logged().at(-1)).toMatchObject({ component: 'summary', delivered: 1 })
    const written = lines.length
    publish('postrider:attempt', attempt)
    expect(lines).toHaveLength(written)
  })

  test('never shows a secret, whoever puts it into a message', () => {
    const everything = `postgres://app:${canary}-password@db.example/app https://hooks.example.com/${canary}-path?token=${canary}-query ${canary}-header ${secret}`
    publish('postrider:attempt', { ...failed, key: `${canary}-key`, error: everything })
    publish('postrider:database', { up: false, error: everything })
    publish('postrider:listener', { state: 'polling', reason: everything })
    publish('postrider:fault', { error: new PostriderError('sink_threw', everything, {}, { cause: new Error(everything) }) })
    const log = createLog({ settings, secrets: [`${canary}\n"quoted"`], destination: { write: (line) => lines.push(line) } })
    log.info(
      { payload: canary, headers: { authorization: canary }, sink: { secrets: { current: canary }, url: canary } },
      'by mistake',
    )
    log.info(`a file said ${canary}\n"quoted"`)
    log.error({ err: new Error('connect failed: amqp://somebody:else-1234@broker/') }, 'a URL that we do not know')
    expect(lines).toHaveLength(7)
    expect(lines.join('')).not.toContain(canary)
    expect(lines.join('')).not.toContain(secret)
    expect(lines.join('')).not.toContain('else-1234')
    expect(lines.join('')).toContain('[redacted]')
  })
})

test('a chore by which a sink loses something is an error, one that failed a warning, and one with nothing to do no line', () => {
  const chore = (result: 'done' | 'nothing' | 'failed', detail: string | null, loss = false): void =>
    publish('postrider:chore', { chore: 'segments', result, detail, loss })
  chore('done', 'segment 3 was emptied; billing was left behind and will not get 7 events', true)
  chore('failed', 'permission denied')
  chore('done', 'segment 4 was emptied')
  chore('nothing', null)
  expect(logged().map(({ level, chore, msg }) => [level, chore, msg])).toEqual([
    ['error', 'segments', 'segment 3 was emptied; billing was left behind and will not get 7 events'],
    ['warn', 'segments', 'permission denied'],
    ['info', 'segments', 'segment 4 was emptied'],
  ])
})
