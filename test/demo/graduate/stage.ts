/** Everything that runs in this demo, with one owner that clears it away. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@postrider/migrations'
import { generateSecret } from '@postrider/webhook'
import pg from 'pg'
import { startKafka, type Kafka } from '../../kafka/index.ts'
import { openKeeper, type Keeper } from '../../kafka/real/keeper.ts'
import { administer, databaseUrl } from '../../postgres/cluster.ts'
import { startPostgres } from '../../postgres/embedded.ts'
import { startChild, type Child } from '../start-child.ts'
import type { Effect, Order } from './compare.ts'
import { configuration, topic } from './configuration.ts'
import type { BillingOrder, BillingReport, BillingSettings, Intake, ShopReport, ShopSettings } from './messages.ts'
import { runPostrider, startRelay, type RunningRelay } from './postrider.ts'
import type { Sales } from './shop/customers.ts'
import { shopTables } from './shop/orders.ts'

const kafkaStartMs = 60_000
const partStartMs = 20_000
const pollMs = 50
const secretFile = 'billing.secret'

/** @throws with what can be done about it */
async function openKafka(): Promise<Kafka> {
  try {
    return await startKafka({ startTimeoutMs: kafkaStartMs })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const next =
      'The first run fetches it from Maven Central, or finds its jars where POSTRIDER_KAFKA_CACHE says; it takes 400 MB of memory'
    throw new Error(`Kafka cannot start: ${why}\n${next}`, { cause })
  }
}

interface Servers {
  readonly shopUrl: string
  readonly billingUrl: string
  readonly brokers: readonly string[]
  /** Owns the directory with the configuration, and the relay. */
  readonly keeper: Keeper
}

export class Stage implements AsyncDisposable {
  sales: Sales = { committed: 0, rolledBack: 0, late: 0 }
  intake: Intake = { webhook: 0, kafka: 0, both: 0 }
  /** Every process that the shop has been. */
  readonly shopPids = new Set<number>()
  readonly #fault = new AbortController()
  readonly #over: AbortSignal
  readonly #closers: (() => Promise<unknown>)[] = []
  #deadline = Infinity
  #servers: Servers | undefined
  #outbox: pg.Client | undefined
  #shop: Child | undefined
  #billing: Child | undefined
  #webhookUrl = ''
  #isReading = false
  #relay: RunningRelay | undefined
  #relays = 0

  /** @param signal breaks everything off */
  constructor(signal: AbortSignal) {
    this.#over = AbortSignal.any([signal, this.#fault.signal])
  }

  /**
   * PostgreSQL with two databases, and Kafka; from then on everything has so long.
   * @throws when one of them cannot start
   */
  async open(deadlineMs: number): Promise<void> {
    const [server, kafka, keeper] = await this.#all([startPostgres(), openKafka(), openKeeper('postrider-graduate')])
    const [shopUrl, billingUrl] = [databaseUrl(server.url, 'shop'), databaseUrl(server.url, 'billing')]
    await administer(server.url, 'create database shop', 'create database billing')
    this.#servers = { shopUrl, billingUrl, brokers: kafka.bootstrap, keeper }
    this.#outbox = await this.#connect(shopUrl)
    await migrate(this.#outbox)
    await this.#outbox.query(shopTables)
    await this.#startBilling()
    this.#deadline = performance.now() + deadlineMs
  }

  /** Starts what is given at once; whatever of it comes up is cleared away in the end. */
  async #all<Parts extends readonly Promise<AsyncDisposable>[]>(
    parts: readonly [...Parts],
  ): Promise<{ [Nth in keyof Parts]: Awaited<Parts[Nth]> }> {
    for (const part of parts) {
      let started: AsyncDisposable | undefined
      const starting = part.then(
        (up) => (started = up),
        () => undefined,
      )
      this.#closers.push(async () => {
        // After an interruption nobody waits for what is still starting: it ends with this process.
        if (!this.#over.aborted) await starting
        await started?.[Symbol.asyncDispose]()
      })
    }
    const { promise: brokenOff, reject } = Promise.withResolvers<never>()
    const breakOff = (): void => reject(this.#over.reason)
    this.#over.addEventListener('abort', breakOff)
    try {
      this.#over.throwIfAborted()
      return await Promise.race([Promise.all(parts), brokenOff])
    } finally {
      this.#over.removeEventListener('abort', breakOff)
    }
  }

  get #up(): Servers {
    if (this.#servers === undefined) throw new TypeError('the stage is not open')
    return this.#servers
  }

  get outbox(): pg.Client {
    if (this.#outbox === undefined) throw new TypeError('the stage is not open')
    return this.#outbox
  }

  /** Runs `postrider …` beside the configuration. */
  async postrider<Answer>(command: string): Promise<Answer> {
    return (await runPostrider(command.replace(/^postrider /, ''), this.#up.keeper, this.#over)) as Answer
  }

  /** Writes the configuration, with Kafka or without. */
  async configure({ kafka }: { readonly kafka: boolean }): Promise<void> {
    const { keeper, shopUrl, brokers } = this.#up
    const places = { databaseUrl: shopUrl, webhookUrl: this.#webhookUrl, secretFile: join(keeper.directory, secretFile) }
    await writeFile(join(keeper.directory, 'postrider.config.yaml'), configuration({ ...places, ...(kafka && { brokers }) }))
  }

  async restartRelay(): Promise<void> {
    await this.#relay?.stop()
    this.#over.throwIfAborted()
    this.#relay = await startRelay(this.#up.keeper, ++this.#relays)
  }

  async stopRelay(): Promise<void> {
    await this.#relay?.stop()
  }

  /** Starts the shop, for once and all. */
  startShop(history: number, perSecond: number): void {
    const settings: ShopSettings = { connectionString: this.#up.shopUrl, history, perSecond }
    const onReport = ({ is: _is, pid, ...sales }: ShopReport): void => {
      this.sales = sales
      this.shopPids.add(pid)
    }
    this.#shop = this.#start('shop/main.ts', settings, (report) => onReport(report as ShopReport))
  }

  /** It ends what it has begun. */
  async closeShop(): Promise<void> {
    await this.#shop?.end()
  }

  async #startBilling(): Promise<void> {
    const { billingUrl, keeper } = this.#up
    const secret = generateSecret()
    await writeFile(join(keeper.directory, secretFile), secret, { mode: 0o600 })
    const settings: BillingSettings = { connectionString: billingUrl, secret }
    this.#billing = this.#start('billing.ts', settings, (given) => {
      const report = given as BillingReport
      if (report.is === 'listening') this.#webhookUrl = `http://127.0.0.1:${report.port}/hooks/orders`
      else if (report.is === 'intake') this.intake = { webhook: report.webhook, kafka: report.kafka, both: report.both }
      else this.#isReading = report.is === 'reading'
    })
    await this.until(() => this.#webhookUrl !== '', 'the consumer did not start', partStartMs)
  }

  /** The consumer takes webhooks all the time, and reads the topic from now on. */
  async read(group: string): Promise<void> {
    const order: BillingOrder = { do: 'read', brokers: this.#up.brokers, topic, group }
    this.#billing?.tell(order)
    await this.until(() => this.#isReading, 'the consumer could not read the topic', partStartMs)
  }

  async stopReading(): Promise<void> {
    const order: BillingOrder = { do: 'stop reading' }
    this.#billing?.tell(order)
    await this.until(() => !this.#isReading, 'the consumer did not stop reading', partStartMs)
  }

  #start(file: string, settings: object, onReport: (report: unknown) => void): Child {
    const onFault = (error: Error): void => this.#fault.abort(error)
    const child = startChild<unknown>(join('graduate', file), settings, { onReport, onFault })
    this.#closers.push(() => child.kill())
    return child
  }

  async #connect(connectionString: string): Promise<pg.Client> {
    const client = new pg.Client({ connectionString, connectionTimeoutMillis: 10_000, query_timeout: 15_000 })
    client.on('error', () => {}) // the query that was running rejects
    await client.connect()
    this.#closers.push(() => client.end())
    return client
  }

  async readOrders(): Promise<Order[]> {
    return (await this.outbox.query<Order>('select id, customer, nth from orders order by id')).rows
  }

  /** In the order in which they came about. */
  async readEffects(): Promise<Effect[]> {
    const billing = await this.#connect(this.#up.billingUrl)
    const { rows } = await billing.query<Effect>(
      'select order_id as "orderId", customer, nth, came_by as road from invoices order by nr',
    )
    return rows
  }

  /** @throws when it takes too long, something of the demo failed, or it is broken off */
  async until(done: () => boolean | Promise<boolean>, late: string, withinMs = Infinity): Promise<void> {
    const until = Math.min(performance.now() + withinMs, this.#deadline)
    for (;;) {
      this.#over.throwIfAborted()
      await this.#relay?.requireAlive()
      if (await done()) return
      if (performance.now() > until) throw new Error(late)
      await sleep(pollMs)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over.aborted) await this.#relay?.stop()
    for (const close of this.#closers.toReversed()) await close().catch(() => {}) // what is left ends with this process
  }
}
