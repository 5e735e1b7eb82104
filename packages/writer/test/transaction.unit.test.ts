import { Kysely, PostgresDialect, type ControlledTransaction, type Transaction } from 'kysely'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { createWriter, event, type QueryTransaction, type TransactionHandle } from '../src/index.ts'

const outbox = createWriter({ source: 'test', events: { 'order.placed': event<{ orderId: string }>() } })
const data = { orderId: 'o-1' }

/** Never connects: what is refused here must be refused before a query. */
const pool = new pg.Pool({ host: '127.0.0.1', port: 1 })
const kysely = new Kysely<object>({ dialect: new PostgresDialect({ pool }) })

const refused = (message: string): object =>
  expect.objectContaining({ code: 'not_in_transaction', message: expect.stringContaining(message) as string })

describe('a handle that is no transaction is refused by the compiler and at run time', () => {
  test('a pool', async () => {
    // @ts-expect-error every query of a pool commits on its own
    await expect(outbox.emit(pool, 'order.placed', data)).rejects.toEqual(refused('pool.connect()'))
  })

  test('Kysely itself', async () => {
    // @ts-expect-error every query of the root commits on its own
    await expect(outbox.emit(kysely, 'order.placed', data)).rejects.toEqual(refused('db.transaction().execute'))
  })

  test('a pool, also when there is nothing to write', async () => {
    // @ts-expect-error as above
    await expect(outbox.emitMany(pool, [])).rejects.toEqual(refused('pool.connect()'))
  })

  test('no handle at all', async () => {
    // @ts-expect-error the transaction was forgotten
    await expect(outbox.emit(undefined, 'order.placed', data)).rejects.toEqual(refused('needs a transaction first'))
    // @ts-expect-error so it was
    await expect(outbox.emit({}, 'order.placed', data)).rejects.toEqual(refused('needs a transaction first'))
  })

  test('a handle that answers to no type of Kysely or pg is a transaction when it has query(text, values)', async () => {
    const sent: unknown[] = []
    const handle: QueryTransaction = {
      query: async (...call) => {
        sent.push(call)
      },
    }
    await outbox.emit(handle, 'order.placed', data)
    expect(sent).toEqual([['select postrider.emit($1::text::jsonb)', [expect.stringContaining('"payload":{"orderId":"o-1"}')]]])
  })
})

test('transactions of Kysely and clients of pg are handles without a cast', () => {
  const handles = (
    transaction: Transaction<{ orders: object }>,
    controlled: ControlledTransaction<{ orders: object }>,
    client: pg.Client,
    poolClient: pg.PoolClient,
    base: pg.ClientBase,
  ): TransactionHandle[] => [transaction, controlled, client, poolClient, base]
  expect(handles).toBeTypeOf('function')
})
