/** What a consumer does with a webhook: verify it, and take each event once, in one statement, before it says so. */
import pg from 'pg'
import { Webhook } from 'standardwebhooks'
import { z } from 'zod'

/** As much of an event as this consumer needs: the envelope of Standard Webhooks, and the payload. */
const orderEvent = z.object({
  type: z.string(),
  sequence: z.string(),
  data: z.object({ orderId: z.int(), currency: z.string().optional() }),
})

export type OrderEvent = z.infer<typeof orderEvent> & { readonly id: string }

export const inboxTable = `
  create table inbox (
    webhook_id uuid    primary key,
    nr         bigint  generated always as identity,
    order_id   integer not null,
    sequence   text    not null,
    at_ms      float8  not null
  )`

/** An event that came in, as the inbox remembers it. */
export interface Received {
  readonly id: string
  readonly orderId: number
  /** Says the relay: place in the log. Digits, padded: the order of texts is the order of numbers. */
  readonly sequence: string
  /** By the clock of clock.ts. */
  readonly atMs: number
}

export interface Inbox {
  /** Throws when the request was not signed with our secret, as these bytes, within the last minutes. */
  verify(body: Buffer, headers: Readonly<Record<string, string>>): OrderEvent
  /** False when it was there already. */
  take(event: OrderEvent, atMs: number): Promise<boolean>
}

export function openInbox(connectionString: string, secret: string): Inbox {
  const webhook = new Webhook(secret)
  const pool = new pg.Pool({ connectionString, max: 4, connectionTimeoutMillis: 10_000, query_timeout: 10_000 })
  pool.on('error', () => {}) // an idle connection broke: the pool opens another when it needs one
  return {
    verify: (body, headers) => ({ ...orderEvent.parse(webhook.verify(body, headers)), id: headers['webhook-id'] ?? '' }),
    async take({ id, sequence, data }, atMs) {
      const { rowCount } = await pool.query({
        name: 'take',
        text: `insert into inbox (webhook_id, order_id, sequence, at_ms) values ($1, $2, $3, $4) on conflict (webhook_id) do nothing`,
        values: [id, data.orderId, sequence, atMs],
      })
      return rowCount === 1
    },
  }
}

/** Everything that was taken, in the order in which it was taken. */
export async function readInbox(client: pg.Client): Promise<Received[]> {
  const { rows } = await client.query<Received>(
    `select webhook_id as id, order_id as "orderId", sequence, at_ms as "atMs" from inbox order by nr`,
  )
  return rows
}
