import { Connections } from './connections.ts'
import { createDialler } from './dial.ts'
import { Cut, Exchange, type Ended } from './exchange.ts'
import type { WebhookSettings } from './check-options.ts'

export interface PostRequest {
  /** Default POST. */
  readonly method?: 'POST' | 'OPTIONS'
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
const silentBodyMs = 5_000
const maxResponseHeaderBytes = 16_384

/** What is under way, by the signal that interrupts it: one listener, however many there are. */
class Interruptible {
  readonly #exchanges = new WeakMap<AbortSignal, Set<Exchange>>()

  of(signal: AbortSignal): Set<Exchange> {
    let exchanges = this.#exchanges.get(signal)
    if (exchanges === undefined) {
      const started = new Set<Exchange>()
      exchanges = started
      this.#exchanges.set(signal, exchanges)
      const interrupt = (): void => {
        for (const exchange of started) exchange.cut('interrupted')
      }
      signal.addEventListener('abort', interrupt, { once: true })
    }
    return exchanges
  }
}

export function createPoster(settings: WebhookSettings): Poster {
  const { url, timeouts, capture } = settings
  const dialler = createDialler(settings)
  const connections = new Connections(url.origin, settings.connections, {
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMaxMs,
    maxHeaderSize: maxResponseHeaderBytes,
    // undici's timers start anew with every chunk and every 1xx, and are coarse: only the total deadline bounds a request.
    headersTimeout: timeouts.firstByteMs,
    bodyTimeout: silentBodyMs,
    connect: dialler.connect,
  })
  // From the URL, so it always begins with a slash: undici would take an absolute URL for a path.
  const path = url.pathname + url.search
  const interruptible = new Interruptible()
  const keepBody = (status: number): boolean => capture === 'all' || (capture === 'failures' && (status < 200 || status > 299))

  function send({ method = 'POST', body, headers }: PostRequest): Exchange {
    const exchange = new Exchange(keepBody)
    connections.send({ method, path, headers: headers as string[], body }, exchange)
    return exchange
  }

  return {
    // A timer and a set of our own cost a tenth of AbortSignal.any with AbortSignal.timeout.
    async post(request, signal) {
      if (signal.aborted) return { answered: false, error: new Cut('interrupted'), stale: false }
      const underWay = interruptible.of(signal)
      let exchange = send(request)
      underWay.add(exchange)
      const timer = setTimeout(() => exchange.cut('deadline'), timeouts.totalMs)
      try {
        const ended = await exchange.ended
        if (ended.answered || !ended.stale || signal.aborted) return ended
        // The server closed an idle connection just as we used it: that says nothing about this request.
        underWay.delete(exchange)
        exchange = send(request)
        underWay.add(exchange)
        return await exchange.ended
      } finally {
        clearTimeout(timer)
        underWay.delete(exchange)
      }
    },
    async [Symbol.asyncDispose]() {
      dialler[Symbol.dispose]()
      await connections.destroy()
    },
  }
}
