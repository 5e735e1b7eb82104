/** The consumer: one handler for both roads, with an inbox in its own database. It takes webhooks, and reads a topic when it is told to. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createConsumer, createInbox } from '@postrider/inbox'
import { Kafka, logLevel, type Consumer } from 'kafkajs'
import pg from 'pg'
import { obeyParent, tellParent } from '../obey-parent.ts'
import { Arrivals } from './arrivals.ts'
import type { BillingOrder, BillingReport, BillingSettings } from './messages.ts'

/** What events do here. Nothing in it keeps an order from being billed twice: that is left to the inbox. */
const invoicesTable = `
  create table invoices (
    nr       bigint  generated always as identity primary key,
    order_id integer not null,
    customer text    not null,
    nth      integer not null,
    total    integer not null,
    came_by  text    not null
  )`

interface OrderPlaced {
  readonly orderId: number
  readonly customer: string
  readonly nth: number
  readonly total: number
}

const parent = await obeyParent()
const settings = parent.settings as BillingSettings
const tell = (report: BillingReport): void => tellParent(report)
const pool = new pg.Pool({ connectionString: settings.connectionString, max: 12, connectionTimeoutMillis: 10_000 })
pool.on('error', () => {}) // an idle connection broke: the pool opens another when it needs one
await createInbox(pool)
await pool.query(invoicesTable)

const billing = createConsumer({
  name: 'billing',
  db: pool,
  secrets: [settings.secret],
  handler: async (event, trx) => {
    const { orderId, customer, nth, total } = event.data as OrderPlaced
    await trx.query('insert into invoices (order_id, customer, nth, total, came_by) values ($1, $2, $3, $4, $5)', [
      orderId,
      customer,
      nth,
      total,
      event.transport,
    ])
  },
})

const arrivals = new Arrivals()
const webhooks = billing.node()
const server = createServer((request, response) => {
  const id = String(request.headers['webhook-id'])
  response.on('finish', () => response.statusCode === 200 && arrivals.note(id, 'webhook'))
  webhooks(request, response)
})
parent.leave.addEventListener('abort', () => process.exit(0))
server.listen(0, '127.0.0.1', () => tell({ is: 'listening', port: (server.address() as AddressInfo).port }))
setInterval(() => tell({ is: 'intake', ...arrivals.intake }), 50)

let reader: Consumer | undefined
parent.onOrder((given) => {
  const order = given as BillingOrder
  const obeyed = order.do === 'read' ? read(order) : stopReading()
  void obeyed.catch(fail)
})

async function read({ brokers, topic, group }: Extract<BillingOrder, { do: 'read' }>): Promise<void> {
  const client = new Kafka({ brokers: [...brokers], clientId: group, logLevel: logLevel.NOTHING })
  reader = client.consumer({ groupId: group, sessionTimeout: 10_000, heartbeatInterval: 1_000, maxWaitTimeInMs: 50 })
  reader.on(reader.events.CRASH, ({ payload }) => !payload.restart && fail(payload.error))
  await reader.connect()
  await reader.subscribe({ topics: [topic] })
  const { eachMessage } = billing.kafka()
  await reader.run({
    partitionsConsumedConcurrently: 3,
    eachMessage: async (payload) => {
      await eachMessage(payload)
      arrivals.note(String(payload.message.headers?.['ce_id']), 'kafka')
    },
  })
  tell({ is: 'reading' })
}

/** Ends what it has begun and commits where it has come to. */
async function stopReading(): Promise<void> {
  await reader?.disconnect()
  tell({ is: 'no longer reading' })
}

function fail(error: unknown): void {
  console.error(error)
  process.exit(1)
}
