import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createVerifier } from '@postrider/inbox'
import { generateSecret } from '@postrider/webhook'
import { anEvent, deliver, localSink, secret } from './event.ts'
import { rawServer, receiver } from './receiver.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

describe('the request', () => {
  test('has exactly the headers that are documented', async () => {
    await using server = await receiver()
    await using sink = localSink(`${server.url}hook?a=1`, { headers: { Authorization: 'Bearer x' } })
    const attempt = { event: anEvent({ headers: { traceparent } }), number: 7 }
    expect(await sink.deliver(attempt, AbortSignal.timeout(5_000))).toEqual({ kind: 'delivered', status: 200 })

    const request = server.received.at(0)
    expect(request).toMatchObject({ method: 'POST', path: '/hook?a=1' })
    expect(request?.headers).toEqual({
      host: `127.0.0.1:${server.port}`,
      connection: 'keep-alive',
      'user-agent': `Postrider/${version}`,
      accept: '*/*',
      'accept-encoding': 'identity',
      authorization: 'Bearer x',
      'content-type': 'application/json',
      'content-length': String(request?.body.length),
      'postrider-attempt': '7',
      'postrider-event-type': 'order.placed',
      traceparent,
      tracestate: 'postrider=1',
      'webhook-id': attempt.event.id,
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/),
      'webhook-signature': expect.stringMatching(/^v1,.{44}$/),
    })
    expect(request?.rawHeaders).toHaveLength(2 * Object.keys(request?.headers ?? {}).length)
  })

  test('of a replay says which operation it is, and with a new id which event it was', async () => {
    await using server = await receiver()
    await using sink = localSink(server.url)
    const event = anEvent()
    const originalId = '019b76da-a800-7000-8000-00000000000f'
    for (const replay of [undefined, { operation: '12', originalId: null }, { operation: '13', originalId }]) {
      await sink.deliver({ event, number: 1, ...(replay !== undefined && { replay }) }, AbortSignal.timeout(5_000))
    }
    const told = server.received.map(({ headers, body }) => [
      headers['postrider-replay'],
      headers['postrider-original-id'],
      createVerifier({ secrets: [secret] }).check({ body, headers }).ok,
    ])
    expect(told).toEqual([
      [undefined, undefined, true],
      ['12', undefined, true],
      ['13', originalId, true],
    ])
  })

  test.each(['standard', 'cloudevents', 'cloudevents-binary', 'raw'] as const)(
    '%s: verify accepts what arrives, by every key',
    async (format) => {
      await using server = await receiver()
      const pair = generateSecret('whsk')
      const former = generateSecret()
      const previous = [{ secret: former, until: new Date(Date.now() + 60_000) }]
      await using sink = localSink(server.url, { format, secrets: { current: [secret, pair], previous } })
      await deliver(sink, {
        payloadText: null,
        payloadBytes: Uint8Array.of(0x22, 0xff, 0xfe, 0x22),
        subject: 'Zoë',
        contentType: 'image/png',
      })
      await deliver(sink, { payloadText: null })
      for (const { body, headers } of server.received) {
        for (const key of [secret, pair, former])
          expect(createVerifier({ secrets: [key] }).check({ body, headers })).toMatchObject({
            ok: true,
            attempt: 1,
            type: 'order.placed',
          })
        expect(createVerifier({ secrets: [generateSecret()] }).check({ body, headers })).toMatchObject({
          ok: false,
          reason: 'no_match',
        })
      }
      expect(server.received).toHaveLength(2)
    },
  )

  test('an attempt repeats id and body, and signs anew', async () => {
    await using server = await receiver((response) => response.writeHead(500).end())
    await using sink = localSink(server.url)
    const event = anEvent()
    await sink.deliver({ event, number: 1 }, AbortSignal.timeout(5_000))
    const second = Math.floor(Date.now() / 1000)
    while (Math.floor(Date.now() / 1000) === second) await setTimeout(20)
    await sink.deliver({ event, number: 2 }, AbortSignal.timeout(5_000))
    const [first, again] = [server.received.at(0), server.received.at(1)]
    expect(again?.body.toString()).toBe(first?.body.toString())
    expect(again?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
    expect(Number(again?.headers['webhook-timestamp'])).toBeGreaterThan(Number(first?.headers['webhook-timestamp']))
    expect(again?.headers['webhook-signature']).not.toBe(first?.headers['webhook-signature'])
  })

  test('what cannot be encoded is rejected without a request', async () => {
    await using server = await receiver()
    await using sink = localSink(server.url)
    expect(await deliver(sink, { id: 'a.b' })).toMatchObject({ kind: 'reject', error: { code: 'cannot_encode' } })
    expect(server.connections).toBe(0)
  })
})

describe('the answer', () => {
  test('is judged by status and headers', async () => {
    await using server = await receiver((response, { headers }) => {
      const [status, name, value] = String(headers['postrider-event-type']).split('.')
      response
        .writeHead(
          Number(status?.slice(1)),
          name === undefined ? {} : { [name.replaceAll('_', '-')]: value?.replaceAll('_', ' ') ?? '' },
        )
        .end()
    })
    await using sink = localSink(server.url, { permanentStatuses: [422] })
    expect(await deliver(sink, { type: 's201' })).toEqual({ kind: 'delivered', status: 201 })
    expect(await deliver(sink, { type: 's503.retry_after.9' })).toMatchObject({ kind: 'throttled', afterMs: 9_000, status: 503 })
    expect(await deliver(sink, { type: 's500.postrider_retry.Never' })).toMatchObject({
      kind: 'reject',
      error: { code: 'payload_refused' },
    })
    expect(await deliver(sink, { type: 's422' })).toMatchObject({ kind: 'reject', status: 422 })
    expect(await deliver(sink, { type: 's410' })).toMatchObject({ kind: 'gone', error: { code: 'gone' } })
    expect(await deliver(sink, { type: 's404' })).toMatchObject({ kind: 'retry', error: { code: 'status_4xx' }, maxAttempts: 5 })
  })

  const page = (response: ServerResponse, status: number): unknown =>
    response
      .writeHead(status, {
        'content-type': 'text/plain',
        server: 'test',
        'x-secret': 'x',
        'set-cookie': 'a=b',
        location: 'https://else.test/token?x=1',
      })
      .end(`begin\0${'é'.repeat(3_000)}`)

  test('a failure keeps 2 KiB of text without NUL, and few headers', async () => {
    await using server = await receiver((response) => page(response, 302))
    await using sink = localSink(server.url)
    const { detail } = await deliver(sink)
    expect(detail).toMatchObject({ headers: { 'content-type': 'text/plain', server: 'test', location: 'https://else.test' } })
    expect(Object.keys(detail?.['headers'] as object).sort()).toEqual(['content-type', 'date', 'location', 'server'])
    const body = String(detail?.['body'])
    expect(body).toMatch(/^beginé+$/)
    expect(Buffer.byteLength(body)).toBeGreaterThan(2_040)
    expect(Buffer.byteLength(body)).toBeLessThanOrEqual(2_048)
  })

  test('capture decides what is kept', async () => {
    await using server = await receiver((response, { headers }) =>
      page(response, headers['postrider-event-type'] === 'good' ? 200 : 500),
    )
    await using none = localSink(server.url, { capture: 'none' })
    await using all = localSink(server.url, { capture: 'all' })
    expect(Object.keys((await deliver(none, { type: 'bad' })).detail!)).toEqual(['url'])
    expect((await deliver(none, { type: 'good' })).detail).toBeUndefined()
    expect((await deliver(all, { type: 'good' })).detail).toHaveProperty('body')
  })

  test('no secret gets into the outcome, even if the receiver repeats it', async () => {
    await using server = await receiver((response, { path, headers }) =>
      response.writeHead(404).end(`cannot POST ${path} for ${headers['authorization']}`),
    )
    const path = 'services/T0000/canary-in-the-path?token=canary-in-the-query'
    await using sink = localSink(`${server.url}${path}`, { headers: { authorization: 'Bearer canary-in-the-header' } })
    const outcome = await deliver(sink)
    expect(JSON.stringify(outcome)).not.toContain('canary')
    expect(outcome.detail).toMatchObject({ body: 'cannot POST /services/T0000/[redacted]?token=[redacted] for [redacted]' })
    expect(outcome.detail!['url']).toMatch(new RegExp(`^http://127\\.0\\.0\\.1:${server.port}/#[0-9a-f]{8}$`))
  })
})

describe('connections', () => {
  test.each([1, 3])('are used again, and are never more than %d', async (connections) => {
    await using server = await receiver()
    await using sink = localSink(server.url, { connections })
    for (let index = 0; index < 10; index += 1) await deliver(sink)
    await Promise.all(Array.from({ length: 20 }, () => deliver(sink)))
    expect(server.connections).toBe(connections)
    expect(server.received).toHaveLength(30)
  })

  test('a used connection that dies before an answer costs one more request, not the attempt', async () => {
    let requests = 0
    await using server = await rawServer((socket) => {
      let served = 0
      socket.on('data', (data) => {
        if (!data.includes('POST')) return
        requests += 1
        served += 1
        if (served === 1) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
        else socket.destroy()
      })
    })
    await using sink = localSink(server.url, { connections: 1 })
    for (let index = 0; index < 3; index += 1) expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
    expect(requests).toBe(5)
  })

  test('a new connection that dies before an answer is a failure, not sent again', async () => {
    let requests = 0
    await using server = await rawServer((socket) => {
      socket.on('data', () => {
        requests += 1
        socket.resetAndDestroy()
      })
    })
    await using sink = localSink(server.url)
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'connect' } })
    expect(requests).toBe(1)
  })

  test('a used connection that dies after the first byte of an answer is a failure, not sent again', async () => {
    let requests = 0
    await using server = await rawServer((socket) => {
      socket.on('data', () => {
        requests += 1
        if (requests === 1) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
        else socket.end('HTTP/1.1 2')
      })
    })
    await using sink = localSink(server.url, { connections: 1 })
    await deliver(sink)
    expect(await deliver(sink)).toMatchObject({ kind: 'retry' })
    expect(requests).toBe(2)
  })

  test('nobody listening is a failure to connect, and the message has no address', async () => {
    const server = await receiver()
    await server[Symbol.asyncDispose]()
    await using sink = localSink(server.url)
    expect(await deliver(sink)).toMatchObject({
      kind: 'retry',
      error: { code: 'connect', message: 'no connection (ECONNREFUSED)' },
    })
  })
})

describe('stopping', () => {
  test('an aborted signal ends an attempt at once, and a request is not even begun', async () => {
    await using server = await receiver(() => undefined)
    await using sink = localSink(server.url)
    const stop = new AbortController()
    const before = performance.now()
    const attempt = deliver(sink, {}, stop.signal)
    while (server.received.length === 0) await setTimeout(5)
    stop.abort()
    expect(await attempt).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
    expect(await deliver(sink, {}, stop.signal)).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
    expect(performance.now() - before).toBeLessThan(1_000)
    expect(server.received).toHaveLength(1)
  })

  test('a request that was stopped while it waited for a connection is never sent, and the connection goes on', async () => {
    let release: () => void = () => undefined
    await using server = await receiver((response, { headers }) => {
      if (headers['postrider-event-type'] === 'slow') release = () => response.end()
      else response.end()
    })
    await using sink = localSink(server.url, { connections: 1 })
    const first = deliver(sink, { type: 'slow' })
    await expect.poll(() => server.received).toHaveLength(1)
    const stop = new AbortController()
    const waiting = deliver(sink, { type: 'waiting' }, stop.signal)
    stop.abort()
    expect(await waiting).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
    release()
    expect(await first).toMatchObject({ kind: 'delivered' })
    expect(await deliver(sink, { type: 'last' })).toMatchObject({ kind: 'delivered' })
    expect(server.received.map(({ headers }) => headers['postrider-event-type'])).toEqual(['slow', 'last'])
    expect(server.connections).toBe(1)
  })

  test('dispose ends what is under way, closes every connection, and may come twice', async () => {
    const closed: Promise<unknown>[] = []
    await using server = await rawServer((socket) => void closed.push(once(socket.resume(), 'close')))
    const sink = localSink(server.url)
    const attempts = [deliver(sink), deliver(sink)]
    while (closed.length < 2) await setTimeout(5)
    await sink[Symbol.asyncDispose]()
    await sink[Symbol.asyncDispose]()
    for (const outcome of await Promise.all(attempts))
      expect(outcome).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
    await Promise.all(closed)
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
  })
})
