import type { Dispatcher } from 'undici'

type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What came of one request: an answer, as soon as there was a status, or an error. */
export type Ended =
  | { readonly answered: true; readonly status: number; readonly headers: ResponseHeaders; readonly body: Buffer }
  | { readonly answered: false; readonly error: Error; readonly stale: boolean }

/** The request was ended from our side. */
export class Cut extends Error {
  override readonly name = 'Cut'
  readonly why: 'deadline' | 'interrupted' | 'malformed'

  constructor(why: Cut['why']) {
    super(why)
    this.why = why
  }
}

/** Whether a connection has carried a request before. */
export interface Line {
  used: boolean
}

/** Of an answer this much is read, so that the connection can serve again; then the connection is given up. */
const readLimitBytes = 16_384
const keepLimitBytes = 2_048
/**
 * A server that closes an idle connection, just as it is used, tells so at once. One that closes it later, or keeps silent, may
 * have taken the request.
 */
const closesWithinMs = 1_000
const closed: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
/** An empty buffer costs as much as any other, and most answers have no body. */
const nothing = Buffer.alloc(0)
/** Some servers send a 103 or two. One that never stops restarts the timer for headers each time. */
const informationalLimit = 16

/**
 * One request on the wire, as undici's dispatch wants it. It ends exactly once, with the status if there was one: how the
 * body of an answer goes on changes nothing about the answer.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly ended: Promise<Ended>
  /** Set when a connection was chosen. */
  line: Line | null = null
  /** Called when the connection can serve again, or is gone; also when the exchange had ended before. */
  onClosed: (() => void) | null = null
  readonly #keepBody: (status: number) => boolean
  readonly #resolve: (ended: Ended) => void
  #controller: Dispatcher.DispatchController | null = null
  #over = false
  #onUsedLine = false
  #begunAt: number | null = null
  #heard = false
  #informational = 0
  #status = 0
  #headers: ResponseHeaders = {}
  #bytes = 0
  #kept: Buffer[] | null = null

  constructor(keepBody: (status: number) => boolean) {
    const { promise, resolve } = Promise.withResolvers<Ended>()
    this.ended = promise
    this.#resolve = resolve
    this.#keepBody = keepBody
  }

  /** It was cut, or has ended. */
  get isOver(): boolean {
    return this.#over
  }

  /** Ends it now, whatever state it is in. */
  cut(why: Cut['why']): void {
    const error = new Cut(why)
    this.#end(error)
    this.#controller?.abort(error)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // It was cut while it waited for a connection. Throwing spares the connection; abort() would destroy it.
    if (this.#over) throw new Cut('interrupted')
    this.#controller = controller
    this.#begunAt = performance.now()
    if (this.line === null) return
    this.#onUsedLine = this.line.used
    this.line.used = true
  }

  onResponseStarted(): void {
    this.#heard = true
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (status >= 200) {
      this.#status = status
      this.#headers = headers
    } else if (++this.#informational > informationalLimit) this.cut('malformed')
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const room = keepLimitBytes - this.#bytes
    if (room > 0 && this.#keepBody(this.#status)) (this.#kept ??= []).push(Buffer.from(chunk.subarray(0, room)))
    this.#bytes += chunk.length
    if (this.#bytes <= readLimitBytes) return
    this.#end()
    controller.abort(new Cut('malformed'))
  }

  onResponseEnd(): void {
    this.#end()
    this.#close()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#end(error)
    this.#close()
  }

  #close(): void {
    const { onClosed } = this
    this.onClosed = null
    onClosed?.()
  }

  /** Without an error only where a status is known: making an Error costs more than all else here. */
  #end(error?: Error): void {
    if (this.#over) return
    this.#over = true
    if (this.#status !== 0) {
      const body = this.#kept === null ? nothing : Buffer.concat(this.#kept)
      this.#resolve({ answered: true, status: this.#status, headers: this.#headers, body })
    } else {
      const why = error ?? new Cut('malformed')
      this.#resolve({ answered: false, error: why, stale: this.#isStale(why) })
    }
  }

  /** The connection was closed for having been idle, and the request says nothing about the destination. */
  #isStale(error: Error & { readonly code?: unknown }): boolean {
    if (this.#heard || !closed.has(String(error.code))) return false
    // It was found closed before anything was sent.
    if (this.#begunAt === null) return this.line?.used === true
    return this.#onUsedLine && performance.now() - this.#begunAt < closesWithinMs
  }
}
