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

/**
 * What is under way: one timer and one listener, however many there are, for all of a sink have the same time. (A timer for each,
 * or AbortSignal.any with AbortSignal.timeout, costs up to ten times as much.)
 */
class UnderWay implements Disposable {
  readonly #totalMs: number
  /** By when they began, so the first is due first. */
  readonly #posts = new Set<Post>()
  readonly #signals = new WeakSet<AbortSignal>()
  #timer: NodeJS.Timeout | undefined

  constructor(totalMs: number) {
    this.#totalMs = totalMs
  }

  add(post: Post): void {
    this.#posts.add(post)
    if (this.#timer === undefined) this.#cutIn(this.#totalMs)
    if (this.#signals.has(post.signal)) return
    this.#signals.add(post.signal)
    const interrupt = (): void => {
      for (const one of this.#posts) if (one.signal === post.signal) one.exchange.cut('interrupted')
    }
    post.signal.addEventListener('abort', interrupt, { once: true })
  }

  delete(post: Post): void {
    this.#posts.delete(post)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #cutLate(): void {
    const now = performance.now()
    this.#timer = undefined
    for (const post of this.#posts) {
      // A timer may fire a little early, and then has to be set again.
      const leftMs = post.begunAt + this.#totalMs - now
      if (leftMs > 0) {
        this.#cutIn(Math.ceil(leftMs))
        return
      }
      post.exchange.cut('deadline')
    }
  }

  #cutIn(ms: number): void {
    this.#timer = setTimeout(() => this.#cutLate(), ms)
    this.#timer.unref()
  }
}

interface Post {
  /** By `performance.now()`. */
  readonly begunAt: number
  readonly signal: AbortSignal
  /** The second one, when the connection of the first was stale. */
  exchange: Exchange
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
  const underWay = new UnderWay(timeouts.totalMs)
  const keepBody = (status: number): boolean => capture === 'all' || (capture === 'failures' && (status < 200 || status > 299))

  function send({ method = 'POST', body, headers }: PostRequest): Exchange {
    const exchange = new Exchange(keepBody)
    connections.send({ method, path, headers: headers as string[], body }, exchange)
    return exchange
  }

  return {
    post(request, signal) {
      if (signal.aborted) return Promise.resolve({ answered: false, error: new Cut('interrupted'), stale: false })
      const post = { begunAt: performance.now(), signal, exchange: send(request) }
      underWay.add(post)
      return post.exchange.ended.then((ended) => {
        if (ended.answered || !ended.stale || signal.aborted) {
          underWay.delete(post)
          return ended
        }
        // The server closed an idle connection just as we used it: that says nothing about this request.
        post.exchange = send(request)
        return post.exchange.ended.finally(() => underWay.delete(post))
      })
    },
    async [Symbol.asyncDispose]() {
      underWay[Symbol.dispose]()
      dialler[Symbol.dispose]()
      await connections.destroy()
    },
  }
}
