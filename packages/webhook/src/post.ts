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

interface Post {
  /** By `performance.now()`. */
  readonly begunAt: number
  readonly signal: AbortSignal
  /** The second one, when the connection of the first was stale. */
  exchange: Exchange
  /** Its place among those under way. */
  place: number
}

/**
 * What is under way: one timer and one listener, however many there are, for all of a sink have the same time. (A timer for each,
 * or AbortSignal.any with AbortSignal.timeout, costs up to ten times as much.)
 *
 * Each has a place in an array, which the next one takes when it has ended. A Set would keep nearly all of them until a full
 * collection: V8 lets its outgrown tables point to their successors, so one that is old keeps those that come after it.
 */
class UnderWay implements Disposable {
  readonly #totalMs: number
  readonly #places: (Post | null)[] = []
  readonly #free: number[] = []
  readonly #signals = new WeakSet<AbortSignal>()
  #timer: NodeJS.Timeout | undefined

  constructor(totalMs: number) {
    this.#totalMs = totalMs
  }

  begin(exchange: Exchange, signal: AbortSignal): Post {
    const place = this.#free.pop() ?? this.#places.length
    const post = { begunAt: performance.now(), signal, exchange, place }
    this.#places[place] = post
    if (this.#timer === undefined) this.#cutIn(this.#totalMs)
    if (!this.#signals.has(signal)) this.#heed(signal)
    return post
  }

  end({ place }: Post): void {
    this.#places[place] = null
    this.#free.push(place)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #heed(signal: AbortSignal): void {
    this.#signals.add(signal)
    const interrupt = (): void => {
      for (const post of this.#places) if (post?.signal === signal) post.exchange.cut('interrupted')
    }
    signal.addEventListener('abort', interrupt, { once: true })
  }

  #cutIn(ms: number): void {
    this.#timer = setTimeout(() => this.#cutLate(), ms)
    this.#timer.unref()
  }

  #cutLate(): void {
    this.#timer = undefined
    const now = performance.now()
    let first = Infinity
    for (const post of this.#places) {
      if (post === null) continue
      if (now - post.begunAt >= this.#totalMs) post.exchange.cut('deadline')
      else first = Math.min(first, post.begunAt)
    }
    // A timer may fire a little early, and then has to be set again.
    if (first !== Infinity) this.#cutIn(Math.max(1, Math.ceil(first + this.#totalMs - now)))
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
      const post = underWay.begin(send(request), signal)
      return post.exchange.ended.then((ended) => {
        if (ended.answered || !ended.stale || signal.aborted) {
          underWay.end(post)
          return ended
        }
        // The server closed an idle connection just as we used it: that says nothing about this request.
        post.exchange = send(request)
        return post.exchange.ended.finally(() => underWay.end(post))
      })
    },
    async [Symbol.asyncDispose]() {
      underWay[Symbol.dispose]()
      dialler[Symbol.dispose]()
      await connections.destroy()
    },
  }
}
