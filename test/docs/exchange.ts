import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { createWebhookSink, generateSecret, type WebhookFormat } from '@postrider/webhook'
import type { LogEvent } from '@postrider/schema'
import type { Outcome } from '@postrider/relay'
import { eventId } from './sample.ts'

/** The event whose requests docs/webhooks.md shows. */
export const shownEvent: LogEvent = {
  position: '17',
  id: eventId,
  type: 'order.placed',
  key: 'o-1',
  source: 'shop/orders',
  subject: null,
  tenant: null,
  time: '2026-01-05T09:30:00.123Z',
  contentType: 'application/json',
  headers: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'x-shop': 'stays at home' },
  payloadText: '{"total": 42, "orderId": "o-1"}',
  payloadBytes: null,
}

export interface SentRequest {
  /** Names and values in the order in which they came. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

/** What a webhook sink really sends for that event. */
export async function requestOf(format: WebhookFormat): Promise<SentRequest> {
  const arrived = Promise.withResolvers<SentRequest>()
  const server = createServer((request, response) => {
    buffer(request).then((body) => {
      const { rawHeaders } = request
      const headers = rawHeaders.flatMap((name, i) =>
        i % 2 === 0 ? [[name.toLowerCase(), rawHeaders[i + 1] ?? ''] as const] : [],
      )
      arrived.resolve({ headers, body: body.toString() })
      response.writeHead(204).end()
    }, arrived.reject)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const outcome = await post((server.address() as AddressInfo).port, generateSecret(), format)
    if (outcome.kind !== 'delivered') throw new Error(`not delivered: ${JSON.stringify(outcome)}`)
    return await arrived.promise
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

/** Sends that event to a receiver on this machine. */
export async function post(port: number, secret: string, format: WebhookFormat = 'standard'): Promise<Outcome> {
  await using sink = createWebhookSink({
    name: 'docs',
    url: `http://127.0.0.1:${port}/hooks/orders`,
    trust: 'internal',
    allow: ['127.0.0.1'],
    secrets: { current: secret },
    format,
  })
  return await sink.deliver({ event: shownEvent, number: 1 }, new AbortController().signal)
}

/** A request as a page shows it: its first line, and its headers. */
export function parseRequest(text: string): { readonly line: string; readonly headers: readonly (readonly [string, string])[] } {
  const [line = '', ...rest] = text.trim().split('\n')
  const headers = rest.map((one) => {
    const [, name = '', value = ''] = /^([^:]+): (.*)$/.exec(one) ?? []
    return [name, value] as const
  })
  return { line, headers }
}
