import { Client, type Dispatcher } from 'undici'
import type { Exchange, Line } from './exchange.ts'

/** A connection is not used for longer, so that changes of DNS are followed and the address is vetted anew. */
const connectionAgeMs = 300_000

/** A connection that knows whether it has served before, and tells the exchange; and how old it is, so that it ends in time. */
class Connection extends Client {
  readonly #line: Line = { used: false }
  #connectedAt = Infinity

  constructor(origin: string, options: Client.Options) {
    super(origin, options)
    this.on('connect', () => {
      this.#line.used = false
      this.#connectedAt = performance.now()
    })
    this.on('disconnect', () => {
      this.#connectedAt = Infinity
    })
  }

  send(request: Dispatcher.DispatchOptions, exchange: Exchange): void {
    exchange.line = this.#line
    const isOld = performance.now() - this.#connectedAt > connectionAgeMs
    this.dispatch(isOld ? { ...request, reset: true } : request, exchange)
  }
}

/**
 * Connections to one origin, each with one request at a time, the one that was used last first: so those that are not needed
 * grow idle and are closed. (undici's Pool asks each of its clients, at every request and at every answer, whether it is free.)
 */
export class Connections {
  readonly #origin: string
  readonly #most: number
  readonly #options: Client.Options
  readonly #all: Connection[] = []
  readonly #free: Connection[] = []
  readonly #waiting: { readonly request: Dispatcher.DispatchOptions; readonly exchange: Exchange }[] = []
  #isDestroyed = false

  constructor(origin: string, most: number, options: Client.Options) {
    this.#origin = origin
    this.#most = most
    this.#options = options
  }

  /** Begins the exchange as soon as a connection is free; cuts it when there will be none any more. */
  send(request: Dispatcher.DispatchOptions, exchange: Exchange): void {
    if (this.#isDestroyed) return exchange.cut('interrupted')
    const connection = this.#free.pop() ?? this.#another()
    if (connection === undefined) this.#waiting.push({ request, exchange })
    else this.#begin(connection, request, exchange)
  }

  async destroy(): Promise<void> {
    this.#isDestroyed = true
    for (const { exchange } of this.#waiting.splice(0)) exchange.cut('interrupted')
    await Promise.all(this.#all.map((connection) => connection.destroy()))
  }

  #another(): Connection | undefined {
    if (this.#all.length === this.#most) return undefined
    const connection = new Connection(this.#origin, this.#options)
    this.#all.push(connection)
    return connection
  }

  #begin(connection: Connection, request: Dispatcher.DispatchOptions, exchange: Exchange): void {
    // Not within undici's own callback: it asserts that nothing was added meanwhile.
    exchange.onClosed = () => queueMicrotask(() => this.#next(connection))
    connection.send(request, exchange)
  }

  #next(connection: Connection): void {
    let next = this.#waiting.shift()
    while (next?.exchange.isOver === true) next = this.#waiting.shift()
    if (next === undefined) this.#free.push(connection)
    else this.#begin(connection, next.request, next.exchange)
  }
}
