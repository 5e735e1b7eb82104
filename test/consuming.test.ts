/** From the producer's commit to the consumer's: a relay, a webhook sink, and a consumer with a database of its own. */
import { createServer } from 'node:http'
import { once as onceEvent } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createConsumer, createInbox, type ReceivedEvent } from '@postrider/inbox'
import { createRelay } from '@postrider/relay'
import { createWebhookSink, generateSecret, type WebhookFormat } from '@postrider/webhook'
import { createWriter, event } from '@postrider/writer'
import pg from 'pg'
import { expect, test } from 'vitest'
import { testDatabase } from './postgres/index.ts'
import { until } from './until.ts'

const formats: readonly WebhookFormat[] = ['standard', 'cloudevents', 'cloudevents-binary', 'raw']

test.each(formats)(
  'every committed event takes effect once, in the order of its key, though answers get lost and handlers fail: %s',
  async (format) => {
    await using shop = await testDatabase()
    await using warehouse = await testDatabase({ migrated: false })
    const client = await warehouse.client()
    await createInbox(client)
    await client.query('create table effects (nr bigint generated always as identity, event_id text, key text, n int)')
    const pool = new pg.Pool({ connectionString: warehouse.url, max: 8 })

    const secret = generateSecret()
    const seen: ReceivedEvent[] = []
    let calls = 0
    const consumer = createConsumer({
      name: 'warehouse',
      db: pool,
      secrets: [generateSecret(), secret],
      onFailure: async () => {},
      retryAfterSeconds: 0,
      handler: async (received, trx) => {
        const { key, n } = received.data as { key: string; n: number }
        await trx.query('insert into effects (event_id, key, n) values ($1, $2, $3)', [received.id, key, n])
        if (++calls % 5 === 0) throw new Error('every fifth fails, after it has written')
        seen.push(received)
      },
    })
    const serve = consumer.node()
    let requests = 0
    const server = createServer((request, response) => {
      // The work is done, but the sender never hears of it.
      if (++requests % 7 === 0) response.end = () => request.socket.destroy() as never
      serve(request, response)
    }).listen(0, '127.0.0.1')
    await onceEvent(server, 'listening')

    const sink = createWebhookSink({
      name: 'warehouse',
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      trust: 'internal',
      allow: ['127.0.0.1'],
      secrets: { current: secret },
      format,
    })
    const retry = { delaysMs: Array.from({ length: 20 }, () => 20), jitter: 0, maxAgeMs: 60_000 }
    const relay = createRelay({ connectionString: shop.url, pollMs: 100, sinks: [{ sink, retry }] })
    const stop = new AbortController()
    const running = relay.run(stop.signal)
    try {
      const producer = await shop.client()
      const outbox = createWriter({
        source: 'shop/orders',
        events: { 'order.placed': event<{ key: string; n: number }>() },
        key: { 'order.placed': ({ key }) => key },
      })
      const ids: string[] = []
      for (let n = 0; n < 40; n++) {
        await producer.query('begin')
        const options = { tenant: 'acmé', subject: 'a "b"' }
        ids.push(await outbox.emit(producer, 'order.placed', { key: `k-${n % 4}`, n }, options))
        await producer.query('commit')
      }
      const done = `select count(*)::int as n from effects`
      await until(
        'every event has an effect',
        async () => (await client.query<{ n: number }>(done)).rows.at(0)!.n >= ids.length,
        25_000,
      )

      const { rows } = await client.query<{ event_id: string; key: string; n: number }>(
        'select event_id, key, n from effects order by nr',
      )
      expect(rows.map((row) => row.event_id).sort()).toEqual([...ids].sort())
      for (const key of ['k-0', 'k-1', 'k-2', 'k-3']) {
        const numbers = rows.filter((row) => row.key === key).map(({ n }) => n)
        expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
      }
      expect(requests).toBeGreaterThan(ids.length)
      const one = seen.at(0)!
      expect(one).toMatchObject({ transport: 'webhook', type: 'order.placed', contentType: 'application/json', replay: null })
      expect(Buffer.from(one.bytes ?? []).toString()).toMatch(/^\{"n": \d+, "key": "k-\d"\}$/)
      if (format !== 'raw')
        expect(one).toMatchObject({ source: 'shop/orders', subject: 'a "b"', position: expect.any(BigInt) as bigint })
      if (format.startsWith('cloudevents'))
        expect(one).toMatchObject({ tenant: 'acmé', key: `k-${(one.data as { n: number }).n % 4}` })
    } finally {
      stop.abort()
      await running
      server.closeAllConnections()
      server.close()
      await pool.end()
    }
  },
  60_000,
)
