import type { LogEvent } from '@postrider/schema'
import { createWebhookSink, type WebhookOptions } from '@postrider/webhook'
import type { Outcome, Sink } from '@postrider/relay'

/** 32 bytes, 00 to 1f. */
export const secret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='

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

/** A sink for a server on 127.0.0.1. */
export function localSink(url: string, change: Partial<WebhookOptions> = {}): Sink {
  return createWebhookSink({
    name: 'local',
    url,
    secrets: { current: secret },
    trust: 'internal',
    allow: ['127.0.0.0/8'],
    ...change,
  })
}

export function deliver(sink: Sink, change: Partial<LogEvent> = {}, signal = new AbortController().signal): Promise<Outcome> {
  return sink.deliver({ event: anEvent(change), number: 1 }, signal)
}
