import type { Attempt } from '@postrider/relay'
import type { LogEvent } from '@postrider/schema'

export function anEvent(change: Partial<LogEvent> = {}): LogEvent {
  return {
    position: '42',
    id: '019b76da-a800-7000-8000-000000000001',
    type: 'order.placed',
    key: 'order-7',
    source: 'shop',
    subject: null,
    tenant: null,
    time: '2026-01-01T00:00:00.000Z',
    contentType: 'application/json',
    headers: {},
    payloadText: '{"n": 9007199254740993}',
    payloadBytes: null,
    ...change,
  }
}

/** Of the present: a real broker soon deletes what is older than its retention. */
const time = new Date().toISOString()

/** The nth event of a log, with an id of its own. */
export function nth(n: number, change: Partial<LogEvent> = {}): Attempt {
  const id = `019b76da-a800-7000-8000-${String(n).padStart(12, '0')}`
  return { event: anEvent({ position: String(n), id, time, payloadText: `{"n": ${n}}`, ...change }), number: 1 }
}
