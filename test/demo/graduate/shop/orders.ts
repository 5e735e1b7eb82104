/**
 * A small shop, as yours might be: an order and its event are written in one transaction. Everything about Postrider is in
 * `createWriter` and in the line with `outbox.emit`. Nothing here knows who will read the events, or by what road they get there.
 */
import { createWriter } from '@postrider/writer'
import { Kysely, PostgresDialect, type Generated } from 'kysely'
import pg from 'pg'
import { z } from 'zod'

interface Tables {
  customers: { name: string; orders: Generated<number> }
  orders: { id: Generated<number>; customer: string; nth: number; total: number }
}

export const shopTables = `
  create table customers (
    name   text    primary key,
    orders integer not null default 0
  );
  create table orders (
    id       integer generated always as identity primary key,
    customer text    not null references customers,
    nth      integer not null, -- of this customer, without gaps
    total    integer not null,
    unique (customer, nth)
  )`

const outbox = createWriter({
  source: 'shop/orders',
  events: {
    'order.placed': z.object({ orderId: z.int(), customer: z.string(), nth: z.int(), total: z.int() }),
  },
  key: { 'order.placed': ({ customer }) => customer },
})

/** The customer did not pay: the transaction is rolled back, and the event with it. */
export class Declined extends Error {}

export class Shop {
  readonly #db: Kysely<Tables>

  constructor(connectionString: string) {
    const pool = new pg.Pool({ connectionString, max: 12, connectionTimeoutMillis: 10_000, query_timeout: 10_000 })
    pool.on('error', () => {}) // an idle connection broke: the pool opens another when it needs one
    this.#db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  }

  async register(...names: readonly string[]): Promise<void> {
    await this.#db
      .insertInto('customers')
      .values(names.map((name) => ({ name })))
      .execute()
  }

  /**
   * @param pay false when the customer does not
   * @throws Declined
   */
  async place(customer: string, total: number, pay: () => Promise<boolean>): Promise<void> {
    await this.#db.transaction().execute(async (trx) => {
      // Holds the customer until the end, so that one order follows the other, and so do their events.
      const { orders: nth } = await trx
        .updateTable('customers')
        .set(({ eb }) => ({ orders: eb('orders', '+', 1) }))
        .where('name', '=', customer)
        .returning('orders')
        .executeTakeFirstOrThrow()
      const { id } = await trx.insertInto('orders').values({ customer, nth, total }).returning('id').executeTakeFirstOrThrow()
      await outbox.emit(trx, 'order.placed', { orderId: id, customer, nth, total })
      if (!(await pay())) throw new Declined(`${customer} did not pay`)
    })
  }

  async close(): Promise<void> {
    await this.#db.destroy()
  }
}
