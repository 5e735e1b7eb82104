/**
 * A small order service, as yours might be: it changes its rows and writes its events in the same transaction.
 * Everything about Postrider is in `createWriter` and in the lines with `outbox.emit`.
 */
import { createWriter } from '@postrider/writer'
import { Kysely, PostgresDialect, type Generated, type Selectable, type Transaction } from 'kysely'
import pg from 'pg'
import { z } from 'zod'
import type { Diary, Note } from './diary.ts'

interface OrdersTable {
  id: Generated<number>
  customer: string
  currency: string
  total: number
  status: 'placed' | 'paid' | 'shipped' | 'cancelled'
  parcels: number
  parcels_sent: Generated<number>
}

interface Shop {
  orders: OrdersTable
}

export const ordersTable = `
  create table orders (
    id           integer generated always as identity primary key,
    customer     text    not null,
    currency     text    not null,
    total        integer not null,
    status       text    not null check (status in ('placed', 'paid', 'shipped', 'cancelled')),
    parcels      integer not null check (parcels > 0),
    parcels_sent integer not null default 0 check (parcels_sent <= parcels)
  )`

const outbox = createWriter({
  source: 'shop/orders',
  events: {
    'order.placed': z.object({ orderId: z.int(), customer: z.string(), currency: z.string().length(3), total: z.int() }),
    'order.paid': z.object({ orderId: z.int(), currency: z.string().length(3), total: z.int() }),
    'order.shipped': z.object({ orderId: z.int(), parcel: z.int(), of: z.int() }),
    'order.cancelled': z.object({ orderId: z.int(), reason: z.string() }),
  },
  key: {
    'order.placed': ({ orderId }) => `order-${orderId}`,
    'order.paid': ({ orderId }) => `order-${orderId}`,
    'order.shipped': ({ orderId }) => `order-${orderId}`,
    'order.cancelled': ({ orderId }) => `order-${orderId}`,
  },
})

export interface NewOrder {
  readonly customer: string
  readonly currency: string
  readonly total: number
  readonly parcels: number
}

/** The order cannot go that way, now or at all: the transaction is rolled back, and its events with it. */
export class Declined extends Error {}

export class OrderService {
  readonly #db: Kysely<Shop>
  readonly #diary: Diary
  readonly #charge: (total: number) => Promise<boolean>

  /**
   * @param charge takes the money; false when the card is declined
   * @param diary is told what was committed and what was rolled back, to compare it with what arrives
   */
  constructor(connectionString: string, charge: (total: number) => Promise<boolean>, diary: Diary) {
    const pool = new pg.Pool({ connectionString, max: 8, connectionTimeoutMillis: 10_000, query_timeout: 10_000 })
    pool.on('error', () => {}) // an idle connection broke: the pool opens another when it needs one
    this.#db = new Kysely<Shop>({ dialect: new PostgresDialect({ pool }) })
    this.#charge = charge
    this.#diary = diary
  }

  /** Places an order, and takes the money at once if it is paid in advance. Two events of one transaction keep their order. */
  async place(order: NewOrder, inAdvance: boolean): Promise<number> {
    return this.#change(async (trx, note) => {
      const status = inAdvance ? 'paid' : 'placed'
      const { id } = await trx
        .insertInto('orders')
        .values({ ...order, status })
        .returning('id')
        .executeTakeFirstOrThrow()
      const { customer, currency, total } = order
      const placed = { type: 'order.placed', data: { orderId: id, customer, currency, total } } as const
      const paid = { type: 'order.paid', data: { orderId: id, currency, total } } as const
      note(id, ...(await outbox.emitMany(trx, inAdvance ? [placed, paid] : [placed])))
      if (inAdvance) await this.#take(total)
      return id
    })
  }

  async pay(id: number): Promise<void> {
    await this.#change(async (trx, note) => {
      const { currency, total } = await lock(trx, id, 'placed')
      await trx.updateTable('orders').set({ status: 'paid' }).where('id', '=', id).execute()
      note(id, await outbox.emit(trx, 'order.paid', { orderId: id, currency, total }))
      await this.#take(total) // a declined card takes the row and the event back
    })
  }

  async shipParcel(id: number): Promise<void> {
    await this.#change(async (trx, note) => {
      const { parcels, parcels_sent } = await lock(trx, id, 'paid')
      const parcel = parcels_sent + 1
      const status = parcel === parcels ? 'shipped' : 'paid'
      await trx.updateTable('orders').set({ status, parcels_sent: parcel }).where('id', '=', id).execute()
      note(id, await outbox.emit(trx, 'order.shipped', { orderId: id, parcel, of: parcels }))
    })
  }

  async cancel(id: number, reason: string): Promise<void> {
    await this.#change(async (trx, note) => {
      await lock(trx, id, 'placed')
      await trx.updateTable('orders').set({ status: 'cancelled' }).where('id', '=', id).execute()
      note(id, await outbox.emit(trx, 'order.cancelled', { orderId: id, reason }))
    })
  }

  async close(): Promise<void> {
    await this.#db.destroy()
  }

  async #take(total: number): Promise<void> {
    if (!(await this.#charge(total))) throw new Declined('the card was declined')
  }

  async #change<T>(work: (trx: Transaction<Shop>, note: Note) => Promise<T>): Promise<T> {
    const page = this.#diary.open()
    try {
      const result = await this.#db.transaction().execute(async (trx) => {
        const done = await work(trx, page.note)
        page.committing()
        return done
      })
      page.committed()
      return result
    } catch (error) {
      page.rolledBack()
      throw error
    }
  }
}

/** Holds the order until the end of the transaction, so that its changes, and its events, follow one another. */
async function lock(trx: Transaction<Shop>, id: number, status: OrdersTable['status']): Promise<Selectable<OrdersTable>> {
  const order = await trx.selectFrom('orders').selectAll().where('id', '=', id).forUpdate().executeTakeFirstOrThrow()
  if (order.status !== status) throw new Declined(`order ${id} is ${order.status}, not ${status}`)
  return order
}
