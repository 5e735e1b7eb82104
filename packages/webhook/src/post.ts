import { Client, Pool, type Dispatcher } from 'undici'
import { guardedConnector } from './connect.ts'
import { Cut, Exchange, type Ended, type Line } from './exchange.ts'
import { hostOf } from './target.ts'
import { localAddresses } from './hosts.ts'
import type { WebhookSettings } from './check-options.ts'
import { createResolver } from './resolve.ts'

export interface PostRequest {
  readonly body: Buffer
  readonly headers: readonly string[]
}

/** The connections of one sink. */
export interface Poster extends AsyncDisposable {
  /** Ends within the total deadline, and at once when the signal aborts. Never throws. */
  post(request: PostRequest, signal: AbortSignal): Promise<Ended>
}

const keepAliveMs = 10_000
const keepAliveMaxMs = 60_000
/** A connection is not used for longer, so that changes of DNS are followed and the address is vetted anew. */
const connectionAgeMs = 300_000
const silentBodyMs = 5_000
const maxResponseHeaderBytes = 16_384

/** A connection that knows whether it has served before, and tells the exchange. */
class CountingClient extends Client {
  readonly #line: Line = { used: false }

  constructor(origin: URL, options: Client.Options) {
    super(origin, options)
    this.on('connect', () => {
      this.#line.used = false
    })
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (handler instanceof Exchange) handler.line = this.#line
    return super.dispatch(options, handler)
  }
}

export function createPoster(settings: WebhookSettings): Poster {
  const { url, trust, guard, timeouts, capture, tls } = settings
  const host = hostOf(url)
  const resolver = createResolver({
    host,
    known: trust === 'internal' ? localAddresses(host) : [],
    servers: settings.dnsServers,
    deadlineMs: timeouts.dnsMs,
  })
  const pool = new Pool(url.origin, {
    connections: settings.connections,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMaxMs,
    clientTtl: connectionAgeMs,
    maxHeaderSize: maxResponseHeaderBytes,
    // undici's timers start anew with every chunk and every 1xx, and are coarse: only the total deadline bounds a request.
    headersTimeout: timeouts.firstByteMs,
    bodyTimeout: silentBodyMs,
    connect: guardedConnector({ guard, resolver, tls, deadlineMs: timeouts.connectMs }),
    factory: (origin, options) => new CountingClient(origin, options),
  })
  // From the URL, so it always begins with a slash: undici would take an absolute URL for a path.
  const path = url.pathname + url.search
  const keepBody = (status: number): boolean => capture === 'all' || (capture === 'failures' && (status < 200 || status > 299))

  function send({ body, headers }: PostRequest): Exchange {
    const exchange = new Exchange(keepBody)
    pool.dispatch({ method: 'POST', path, headers: headers as string[], body }, exchange)
    return exchange
  }

  return {
    // A timer and a listener of our own cost a tenth of AbortSignal.any with AbortSignal.timeout.
    async post(request, signal) {
      if (signal.aborted) return { answered: false, error: new Cut('interrupted'), stale: false }
      let exchange = send(request)
      const interrupt = (): void => exchange.cut('interrupted')
      const timer = setTimeout(() => exchange.cut('deadline'), timeouts.totalMs)
      signal.addEventListener('abort', interrupt, { once: true })
      try {
        const ended = await exchange.ended
        if (ended.answered || !ended.stale) return ended
        // The server closed an idle connection just as we used it: that says nothing about this request.
        exchange = send(request)
        return await exchange.ended
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', interrupt)
      }
    },
    async [Symbol.asyncDispose]() {
      resolver.close()
      await pool.destroy()
    },
  }
}
