/** The demo from the first act to the last: what is started, what is killed, and what is compared in the end. */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@postrider/migrations'
import { generateSecret } from '@postrider/webhook'
import pg from 'pg'
import { administer, databaseUrl } from '../postgres/cluster.ts'
import { startPostgres } from '../postgres/embedded.ts'
import { check, type Findings } from './check.ts'
import type { Diary } from './diary.ts'
import { inboxTable, readInbox } from './inbox.ts'
import type { ReceiverReport, ReceiverSettings, RelayReport, RelaySettings } from './messages.ts'
import type { DemoOptions } from './options.ts'
import { OrderService, ordersTable } from './order-service.ts'
import type { Score } from './score.ts'
import { startChild, type Child } from './start-child.ts'
import { charge, runTraffic, writers } from './traffic.ts'

/** The result, as `--json` prints it. */
export interface Result extends Findings {
  readonly committed: number
  readonly rolledBack: number
  readonly duplicates: number
  readonly badSignatures: number
  readonly relayKills: number
}

/** At these shares of the commits: late enough to be in full swing, early enough to see the recovery. */
const killRelayAt = 0.33
const killReceiverAt = 0.66

const sink = 'warehouse'
const lanes = 4
/** Short, so that nobody has to wait long: the lanes of a dead relay are free after this time. */
const leaseMs = 1_500
const startMs = 20_000
const pollMs = 20
/** Nothing waits at the relay, yet something is missing: after this time it will not come. */
const lostAfterMs = 2_000

/**
 * @throws when something of the demo itself fails, or `signal` aborts. Whatever happens, nothing is left running.
 */
export async function play(options: DemoOptions, diary: Diary, score: Score, signal: AbortSignal): Promise<Result> {
  const stage = new Stage(options, diary, score, signal)
  try {
    return await stage.play()
  } finally {
    await stage.clear()
  }
}

class Stage {
  readonly #options: DemoOptions
  readonly #score: Score
  readonly #diary: Diary
  readonly #secret = generateSecret()
  readonly #closers: (() => Promise<unknown>)[] = []
  readonly #fault = new AbortController()
  /** Broken off, from outside or by a fault of the demo itself. */
  readonly #brokenOff: AbortSignal
  readonly #cleared = new AbortController()
  readonly #over: AbortSignal
  readonly #deadline: number
  #shopUrl = ''
  #warehouseUrl = ''
  #receiverPort = 0
  #relay: Child | undefined
  #receiver: Child | undefined
  #relayKills = 0
  #onRequest: (() => void) | undefined

  constructor(options: DemoOptions, diary: Diary, score: Score, signal: AbortSignal) {
    this.#options = options
    this.#diary = diary
    this.#score = score
    this.#brokenOff = AbortSignal.any([signal, this.#fault.signal])
    this.#over = AbortSignal.any([this.#brokenOff, this.#cleared.signal])
    this.#deadline = performance.now() + options.deadlineMs
  }

  async play(): Promise<Result> {
    const { events, writingMs } = this.#options
    const score = this.#score
    const outbox = await this.#prepare()
    score.receiver = { number: 1, standing: 'starting' }
    await this.#startReceiver(['EUR', 'USD'])
    score.happen(
      `receiver 1 answers on http://127.0.0.1:${this.#receiverPort}; it has bad days: some answers are 500, some never come`,
    )
    await this.#startRelay()
    score.happen(`relay 1 has taken ${score.relay.lanes} lanes`, 'good')

    const service = new OrderService(this.#shopUrl, charge, this.#diary)
    this.#closers.push(() => service.close())
    score.service = 'up'
    score.happen(`the order service: ${writers} writers, ${events} events in about ${Math.round(writingMs / 1000)} s`)
    this.#followBacklog(outbox)
    const traffic = runTraffic(service, this.#diary, { events, durationMs: writingMs, signal: this.#over }).then(() => {
      score.service = 'done'
      score.happen(`all ${events} events are committed; ${this.#diary.rolledBackTransactions} transactions were rolled back`)
    })
    traffic.catch((error: unknown) => this.#fault.abort(error))

    await this.#until(() => score.committed >= killRelayAt * events)
    await this.#killRelay()
    await this.#until(() => score.committed >= killReceiverAt * events)
    await this.#killReceiver()
    await this.#retryDeadLetters(outbox)
    await traffic
    await this.#drain()

    await this.#relay?.end()
    score.relay = { ...score.relay, standing: 'done' }
    await this.#receiver?.end()
    score.receiver = { ...score.receiver, standing: 'done' }
    return this.#judge()
  }

  /** In the reverse order of the start. */
  async clear(): Promise<void> {
    this.#cleared.abort()
    for (const close of this.#closers.toReversed()) {
      await close().catch((error: unknown) => this.#score.happen(`could not clear up: ${String(error)}`, 'bad'))
    }
  }

  /** A server, two databases, the tables; returns a connection to the database with the outbox. */
  async #prepare(): Promise<pg.Client> {
    this.#score.happen('starting PostgreSQL from its npm package')
    const server = await startPostgres()
    this.#closers.push(() => server.stop(this.#brokenOff.aborted ? 'immediate' : 'fast'))
    this.#over.throwIfAborted()
    await administer(server.url, 'create database shop', 'create database warehouse')
    this.#shopUrl = databaseUrl(server.url, 'shop')
    this.#warehouseUrl = databaseUrl(server.url, 'warehouse')
    const outbox = await this.#connect(this.#shopUrl)
    const applied = await migrate(outbox)
    await outbox.query(ordersTable)
    await administer(this.#warehouseUrl, inboxTable)
    this.#score.happen(`PostgreSQL ${server.version} is up, ${applied.length} migrations are applied`)
    return outbox
  }

  async #connect(connectionString: string): Promise<pg.Client> {
    const client = new pg.Client({ connectionString, connectionTimeoutMillis: 10_000, query_timeout: 15_000 })
    client.on('error', () => {}) // the query that was running rejects
    await client.connect()
    this.#closers.push(() => client.end())
    return client
  }

  async #startReceiver(currencies: readonly string[]): Promise<void> {
    const score = this.#score
    const { number } = score.receiver
    const settings: ReceiverSettings = {
      connectionString: this.#warehouseUrl,
      secret: this.#secret,
      port: this.#receiverPort,
      currencies,
      faults: number === 1 ? this.#options.faults : [],
    }
    const onReport = (report: ReceiverReport): void => {
      if (report.is === 'listening') {
        this.#receiverPort = report.port
        score.receiver = { number, standing: 'up' }
        return
      }
      score.request(report)
      if (report.result === 'refused') {
        score.happen(
          `receiver ${number} refuses order ${report.orderId}, it cannot take JPY (422): a dead letter. ` +
            'What follows in this order waits, all others go on',
          'bad',
        )
      }
      this.#onRequest?.()
    }
    const child = startChild<ReceiverReport>('receiver.ts', settings, { onReport, onFault: (error) => this.#fault.abort(error) })
    this.#receiver = child
    this.#closers.push(() => child.kill())
    await this.#until(() => score.receiver.standing === 'up', startMs, 'the receiver did not start')
  }

  async #startRelay(): Promise<void> {
    const score = this.#score
    const number = this.#relayKills + 1
    const settings: RelaySettings = {
      connectionString: this.#shopUrl,
      name: `relay ${number}`,
      sink,
      lanes,
      leaseMs,
      url: `http://127.0.0.1:${this.#receiverPort}/orders`,
      secret: this.#secret,
    }
    let held = 0
    score.relay = { number, standing: 'starting', lanes: 0 }
    const onReport = (report: RelayReport): void => {
      if (report.is === 'lane') {
        held += report.change === 'claimed' ? 1 : -1
        if (score.relay.number === number && score.relay.standing !== 'killed') {
          score.relay = { number, standing: 'up', lanes: held }
        }
        if (report.change === 'lost') score.happen(`relay ${number} was too slow for its lease and lost a lane; it comes back`)
      } else if (report.is === 'attempt') {
        if (report.verdict === 'retry') score.retries++
      } else {
        score.happen(`a fault of relay ${number}: ${report.message}`, 'bad')
        this.#fault.abort(new Error(report.message))
      }
    }
    const child = startChild<RelayReport>('relay.ts', settings, { onReport, onFault: (error) => this.#fault.abort(error) })
    this.#relay = child
    this.#closers.push(() => child.kill())
    await this.#until(() => score.relay.lanes === lanes, startMs, `relay ${number} did not get its lanes`)
  }

  /** In the middle of a delivery: the receiver has it, and the relay will never settle it. */
  async #killRelay(): Promise<void> {
    const score = this.#score
    await this.#nextRequest()
    const killedAt = performance.now()
    score.relay = { ...score.relay, standing: 'killed', lanes: 0 }
    await this.#relay?.kill()
    this.#relayKills++
    score.happen(`relay ${this.#relayKills} killed with SIGKILL, in the middle of a delivery; the orders go on`, 'bad')
    await this.#startRelay()
    const seconds = ((performance.now() - killedAt) / 1000).toFixed(1)
    score.happen(`relay ${this.#relayKills + 1} has taken over ${score.relay.lanes} lanes, ${seconds} s after the kill`, 'good')
  }

  async #killReceiver(): Promise<void> {
    const score = this.#score
    await this.#nextRequest()
    score.receiver = { number: 1, standing: 'killed' }
    await this.#receiver?.kill()
    score.happen('receiver 1 killed with SIGKILL; what it has not acknowledged is tried again', 'bad')
    await sleep(this.#options.json ? 500 : 1_500, undefined, { signal: this.#over })
    score.receiver = { number: 2, standing: 'starting' }
    await this.#startReceiver(['EUR', 'USD', 'JPY'])
    score.happen('receiver 2 answers; it can take JPY now', 'good')
  }

  /** What an operator does, in plain SQL, when the receiver has been mended. */
  async #retryDeadLetters(outbox: pg.Client): Promise<void> {
    const score = this.#score
    const { rows } = await outbox.query<{ id: string; key: string; ids: string[] }>(
      `select d.event_id as id, d.key, (select array_agg(t.event_id) from postrider.trouble as t where t.key = d.key) as ids
       from postrider.dead_letters as d`,
    )
    for (const { id, key, ids } of rows) {
      await outbox.query('select postrider.retry($1)', [id])
      score.happen(`an operator: select postrider.retry('${id}')`)
      const behind = ids.length - 1
      const arrived = (): boolean => ids.every((each) => score.has(each))
      void this.#until(arrived).then(
        () =>
          score.happen(
            `${key.replace('-', ' ')} has arrived: the dead letter first, then what waited behind it (${behind})`,
            'good',
          ),
        () => {}, // told elsewhere
      )
    }
  }

  /** Waits until everything has arrived, or it is plain that it will not. */
  async #drain(): Promise<void> {
    const score = this.#score
    let quietSince = performance.now()
    let requests = -1
    const finished = (): boolean => {
      const waits = score.trouble.waiting > 0 || score.requests !== requests
      if (waits) quietSince = performance.now()
      requests = score.requests
      const complete = score.backlog === 0 && this.#diary.committed.every(({ id }) => score.has(id))
      return complete || performance.now() - quietSince > lostAfterMs
    }
    await this.#until(finished, Infinity, '', false)
    // Whatever should not come could still do so.
    await sleep(300, undefined, { signal: this.#over })
    if (score.backlog === 0) score.happen('nothing waits any more', 'good')
    else score.happen(`${score.backlog} events have not arrived`, 'bad')
  }

  async #judge(): Promise<Result> {
    const { committed, rolledBack } = this.#diary
    const warehouse = await this.#connect(this.#warehouseUrl)
    const findings = check(committed, await readInbox(warehouse))
    return {
      committed: committed.length,
      rolledBack: rolledBack.length,
      delivered: findings.delivered,
      duplicates: this.#score.duplicates,
      lost: findings.lost,
      phantom: findings.phantom,
      outOfOrder: findings.outOfOrder,
      badSignatures: this.#score.badSignatures,
      p50Ms: findings.p50Ms,
      p99Ms: findings.p99Ms,
      relayKills: this.#relayKills,
    }
  }

  /** Asks the outbox how it stands, for the screen and to know when nothing waits. */
  #followBacklog(outbox: pg.Client): void {
    const follow = async (): Promise<void> => {
      while (!this.#over.aborted) {
        const { rows } = await outbox.query<Score['trouble']>(
          `select (pending + scheduled + retrying + blocked)::int as waiting, blocked::int, dead::int from postrider.backlog`,
        )
        if (rows[0] !== undefined) this.#score.trouble = rows[0]
        await sleep(200, undefined, { signal: this.#over }).catch(() => {})
      }
    }
    const following = follow().catch((error: unknown) => this.#fault.abort(error))
    this.#closers.push(() => following)
  }

  /** The next request at the receiver, but no longer than a second. */
  async #nextRequest(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onRequest = resolve
    const timer = setTimeout(resolve, 1_000)
    await promise
    clearTimeout(timer)
    this.#onRequest = undefined
    this.#over.throwIfAborted()
  }

  /** @throws when the demo is broken off, or it takes longer than `withinMs` or, if `strict`, than the whole demo may */
  async #until(done: () => boolean, withinMs = Infinity, late = 'the demo takes too long', strict = true): Promise<void> {
    const until = Math.min(performance.now() + withinMs, this.#deadline)
    while (!done()) {
      this.#over.throwIfAborted()
      if (performance.now() > until) {
        if (strict) throw new Error(late)
        return
      }
      await sleep(pollMs)
    }
  }
}
