/** A transaction as a shop makes it, with or without an event: the load of `producer`. */
import { randomUUID } from 'node:crypto'
import { createWriter, event } from '@postrider/writer'
import type pg from 'pg'
import { payloadOf } from './payload.ts'

const accounts = 10_000

/** What goes into the transaction beside the order and the account. */
export type Beside = 'nothing' | 'plain insert' | 'insert into the log' | 'emit' | Enqueue

/** What another system does to note an event in the transaction. */
export type Enqueue = (client: pg.Client, key: string, payload: ReturnType<typeof payloadOf>) => Promise<unknown>

/** Tables of the shop, and one of the shape of the log that is a plain table, with the same indexes. */
export async function makeShop(client: pg.Client): Promise<void> {
  await client.query('create table accounts (id int primary key, balance bigint not null default 0) with (fillfactor = 50)')
  await client.query(`insert into accounts (id) select generate_series(1, ${accounts})`)
  await client.query(
    `create table orders (id bigint generated always as identity primary key, account int not null references accounts,
       total int not null, placed_at timestamptz not null default now())`,
  )
  await client.query('create table plain_events (like postrider.events including all)')
  await client.query('vacuum analyze accounts')
}

const outbox = createWriter({ source: 'bench', events: { 'bench.made': event<ReturnType<typeof payloadOf>>() } })

/** One transaction: an order is inserted and an account updated, each statement sent as `pg` sends it when nobody names it. */
export async function transact(client: pg.Client, n: number, bytes: number, beside: Beside): Promise<void> {
  const account = 1 + Math.floor(Math.random() * accounts)
  await client.query('begin')
  await client.query('insert into orders (account, total) values ($1, $2)', [account, n % 1_000])
  await client.query('update accounts set balance = balance + $2 where id = $1', [account, n % 1_000])
  const key = `k${account}`
  if (typeof beside === 'function') await beside(client, key, payloadOf(n, bytes))
  else if (beside === 'emit') await outbox.emit(client, 'bench.made', payloadOf(n, bytes), { key })
  else if (beside !== 'nothing') {
    await client.query(
      `insert into ${beside === 'plain insert' ? 'plain_events' : 'postrider.events'} (id, bucket, type, key, source, content_type, headers, payload)
       values ($1, $2, 'bench.made', $3, 'bench', 'application/json', '{}', $4)`,
      [uuidv7(), account % 256, key, JSON.stringify(payloadOf(n, bytes))],
    )
  }
  await client.query('commit')
}

/** In the order of time, as the writer makes them, so that both find the same page of the index. */
function uuidv7(): string {
  const time = Date.now().toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}
