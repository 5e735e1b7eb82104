import type { LogEvent } from '@postrider/schema'
import type { Outcome, Sink } from '../sink.ts'

/** How the destination of a sink under test shall behave towards what comes next. */
export type Behaviour =
  /** Takes everything. */
  | 'accept'
  /** Fails in a way that may heal, such as a status 500. */
  | 'fail'
  /** Refuses these bytes for good. */
  | 'refuse'
  /** Asks for a pause. */
  | 'throttle'
  /** Never answers. */
  | 'stall'
  /** Breaks the connection. */
  | 'break'

/** A sink and its real destination. */
export interface SinkHarness extends AsyncDisposable {
  readonly sink: Sink
  /** Behaviours that this destination cannot show, with the reason; their promises are left out by name. */
  readonly cannot?: Partial<Record<Behaviour, string>>
  behave(behaviour: Behaviour): void
  /** What has arrived so far: event ids and the payload's bytes, in the order of arrival. */
  received(): readonly { readonly id: string; readonly payload: string }[]
}

export interface Promised {
  /** The promise, as the name of a test. */
  readonly promise: string
  /** Throws when it is broken. */
  readonly check: () => Promise<void>
}

const never = new AbortController().signal

/**
 * What every sink promises. Run them with the test runner of your choice:
 *
 *     it.each(sinkContract(makeHarness))('$promise', async ({ check }) => await check())
 *
 * `make` gives a fresh harness for each promise; it is disposed of afterwards.
 */
export function sinkContract(make: () => Promise<SinkHarness>): Promised[] {
  const promises: Promised[] = []
  const promise = (text: string, needs: readonly Behaviour[], test: (harness: SinkHarness) => Promise<void>): void => {
    promises.push({
      promise: text,
      check: async () => {
        await using harness = await make()
        if (needs.some((behaviour) => harness.cannot?.[behaviour] !== undefined)) return
        await test(harness)
      },
    })
  }
  const send = (harness: SinkHarness, event: LogEvent, number = 1, signal = never): Promise<Outcome> =>
    harness.sink.deliver({ event, number }, signal)

  promise('an event that is taken is delivered, once', ['accept'], async (harness) => {
    harness.behave('accept')
    const event = testEvent(1)
    expectKind(await send(harness, event), 'delivered')
    equal(
      harness.received().map(({ id }) => id),
      [event.id],
      'ids received',
    )
  })

  promise('the id is the same on every attempt', ['accept', 'fail'], async (harness) => {
    const event = testEvent(2)
    harness.behave('fail')
    expectKind(await send(harness, event, 1), 'retry')
    harness.behave('accept')
    expectKind(await send(harness, event, 2), 'delivered')
    equal(new Set(harness.received().map(({ id }) => id)).size, 1, 'number of ids')
  })

  promise('the payload arrives byte for byte, with integers above 2^53', ['accept'], async (harness) => {
    harness.behave('accept')
    const payloadText = '{"n": 9007199254740993, "text": "Zoë €😀", "list": [1.0, 1e2]}'
    expectKind(await send(harness, { ...testEvent(3), payloadText }), 'delivered')
    equal(harness.received()[0]?.payload, payloadText, 'payload')
  })

  promise('a failure that may heal is answered with retry, a code and a message', ['fail'], async (harness) => {
    harness.behave('fail')
    const outcome = expectKind(await send(harness, testEvent(4)), 'retry')
    if (outcome.kind === 'retry' && outcome.error.message === '') throw new Error('the message is empty')
  })

  promise('bytes that are refused for good are answered with reject', ['refuse'], async (harness) => {
    harness.behave('refuse')
    expectKind(await send(harness, testEvent(5)), 'reject')
  })

  promise('a destination that asks for a pause is answered with throttled, and how long', ['throttle'], async (harness) => {
    harness.behave('throttle')
    const outcome = expectKind(await send(harness, testEvent(6)), 'throttled')
    if (outcome.kind === 'throttled' && !(outcome.afterMs > 0)) throw new Error(`afterMs is ${outcome.afterMs}`)
  })

  promise('a connection that breaks is answered with retry', ['break'], async (harness) => {
    harness.behave('break')
    expectKind(await send(harness, testEvent(7)), 'retry')
  })

  promise('a destination that never answers is given up within deadlineMs', ['stall'], async (harness) => {
    harness.behave('stall')
    const before = performance.now()
    expectKind(await send(harness, testEvent(8)), 'retry')
    const took = performance.now() - before
    if (took > harness.sink.deadlineMs)
      throw new Error(`it took ${Math.round(took)} ms, deadlineMs is ${harness.sink.deadlineMs}`)
  })

  promise('a stop ends an attempt in flight at once, without a throw', ['stall'], async (harness) => {
    harness.behave('stall')
    const stop = new AbortController()
    const sending = send(harness, testEvent(9), 1, stop.signal)
    setTimeout(() => stop.abort(), 50)
    const before = performance.now()
    await sending
    const took = performance.now() - before
    if (took > 1_000) throw new Error(`it took ${Math.round(took)} ms to stop`)
  })

  promise(
    'a sink that is pipelined keeps the order of a key, and sends nothing behind what failed',
    ['accept', 'fail'],
    async (harness) => {
      if (harness.sink.pipelined !== true) return
      const events = Array.from({ length: 30 }, (_, index) => ({ ...testEvent(200 + index), key: 'one' }))
      harness.behave('accept')
      for (const outcome of await Promise.all(events.map((event) => send(harness, event)))) expectKind(outcome, 'delivered')
      const ids = (): string[] => harness.received().map(({ id }) => id)
      equal(
        ids(),
        events.map(({ id }) => id),
        'ids received',
      )
      harness.behave('fail')
      const more = Array.from({ length: 30 }, (_, index) => ({ ...testEvent(300 + index), key: 'one' }))
      const [first, ...rest] = await Promise.all(more.map((event) => send(harness, event)))
      if (first === undefined) throw new TypeError('no outcome')
      expectKind(first, 'retry')
      for (const outcome of rest) expectKind(outcome, 'behind')
    },
  )

  promise('many events at once all arrive', ['accept'], async (harness) => {
    harness.behave('accept')
    const events = Array.from({ length: 50 }, (_, index) => testEvent(100 + index))
    const outcomes = await Promise.all(events.map((event) => send(harness, event)))
    for (const outcome of outcomes) expectKind(outcome, 'delivered')
    equal(
      harness
        .received()
        .map(({ id }) => id)
        .toSorted(),
      events.map(({ id }) => id).toSorted(),
      'ids received',
    )
  })

  promise('after a failure the next event is delivered again', ['break', 'accept'], async (harness) => {
    harness.behave('break')
    await send(harness, testEvent(10))
    harness.behave('accept')
    expectKind(await send(harness, testEvent(11)), 'delivered')
  })

  return promises
}

/** An event such as the relay hands to a sink. */
export function testEvent(nr: number): LogEvent {
  return {
    position: String(nr),
    id: `01939b1e-0000-7000-8000-${String(nr).padStart(12, '0')}`,
    type: 'test.made',
    key: `key-${nr}`,
    source: 'postrider/contract',
    subject: null,
    tenant: null,
    time: '2026-01-01T00:00:00.000Z',
    contentType: 'application/json',
    headers: {},
    payloadText: `{"n": ${nr}}`,
    payloadBytes: null,
  }
}

function expectKind(outcome: Outcome, kind: Outcome['kind']): Outcome {
  if (outcome.kind !== kind) throw new Error(`expected ${kind}, got ${JSON.stringify(outcome)}`)
  return outcome
}

function equal(actual: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
  }
}
