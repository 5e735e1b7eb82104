import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { answerWith, type Answer } from './answer.ts'
import type { HeaderSource } from './headers.ts'
import { bodyParsed, type BodySource } from './read-body.ts'

/** A request before its body is read; reading throws what {@link readBody} throws. */
export interface ArrivingRequest {
  readonly headers: HeaderSource
  /** Bytes that a framework has read already, as they came, or where to read them. */
  readonly body: () => Uint8Array | BodySource
}

/** Answers any request, and never throws. */
export type Receive = (request: ArrivingRequest) => Promise<Answer>

/** For `node:http`: `createServer(consumer.node())`. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => void

/** For Express: `app.post('/hooks', consumer.express())`. */
export type ExpressHandler = (request: IncomingMessage & { body?: unknown }, response: ServerResponse) => void

/** For Hono, or what else has a `Request` of fetch at `req.raw`. */
export type HonoHandler = (context: { readonly req: { readonly raw: Request } }) => Promise<Response>

/** For Fastify: `app.register(consumer.fastify('/hooks'))`. Its parsers for bodies are its own, and touch no other route. */
export type FastifyPlugin = (scope: FastifyScope) => Promise<void>

/** As much of a Fastify instance as the plugin needs. */
export interface FastifyScope {
  removeAllContentTypeParsers(): unknown
  addContentTypeParser(
    contentType: string,
    options: { readonly bodyLimit: number },
    parser: (request: unknown, payload: Readable) => Promise<unknown>,
  ): unknown
  post(path: string, handler: (request: FastifyRequestLike, reply: FastifyReplyLike) => Promise<unknown>): unknown
}

interface FastifyRequestLike {
  readonly raw: IncomingMessage
  readonly body?: unknown
}

interface FastifyReplyLike {
  code(status: number): unknown
  headers(values: Record<string, string>): unknown
  send(body: string): unknown
}

export function serveNode(receive: Receive): NodeListener {
  return (request, response) => {
    if (request.method !== 'POST') return write(response, answerWith(405, 'method_not_allowed', { allow: 'POST' }))
    void answerTo(request, response, receive({ headers: request.headersDistinct, body: () => streamed(request) }))
  }
}

export function serveExpress(receive: Receive): ExpressHandler {
  return (request, response) => {
    void answerTo(
      request,
      response,
      receive({ headers: request.headersDistinct, body: () => bytesOrStream(request, request.body) }),
    )
  }
}

export function serveFastify(receive: Receive, path: string, maxBodyBytes: number): FastifyPlugin {
  return async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { bodyLimit: maxBodyBytes }, async (_request, payload) => payload)
    scope.post(path, async ({ raw, body }, reply) => {
      // The requests that app.inject makes have no headersDistinct.
      const answer = await receive({
        headers: raw.headersDistinct ?? raw.headers,
        body: () => streamed((body as Readable | undefined) ?? raw, raw),
      })
      reply.code(answer.status)
      reply.headers({ ...answer.headers })
      return reply.send(answer.body)
    })
  }
}

export function serveHono(receive: Receive): HonoHandler {
  const serve = serveFetch(receive)
  return (context) => serve(context.req.raw)
}

/** For everything that speaks fetch: Next.js, Deno, Bun. */
export function serveFetch(receive: Receive): (request: Request) => Promise<Response> {
  return async (request) => {
    const { status, headers, body } = await receive({ headers: request.headers, body: () => fetched(request) })
    return new Response(body, { status, headers: { ...headers } })
  }
}

function bytesOrStream(request: IncomingMessage, body: unknown): Uint8Array | BodySource {
  if (body instanceof Uint8Array) return body
  if (body !== undefined) throw bodyParsed('a parser has read the body')
  return streamed(request)
}

function streamed(stream: Readable, request: IncomingMessage = stream as IncomingMessage): BodySource {
  if (stream.readableDidRead) throw bodyParsed('something has read the body')
  return { chunks: stream.iterator({ destroyOnReturn: false }), contentLength: request.headers['content-length'] }
}

function fetched(request: Request): Uint8Array | BodySource {
  if (request.bodyUsed) throw bodyParsed('something has read the body')
  if (request.body === null) return new Uint8Array()
  const chunks = request.body.values({ preventCancel: true })
  return { chunks, contentLength: request.headers.get('content-length') ?? undefined }
}

async function answerTo(request: IncomingMessage, response: ServerResponse, answering: Promise<Answer>): Promise<void> {
  const answer = await answering
  // Who went away hears nothing; the event, if it was taken, is found done at the next attempt.
  if (!request.socket.destroyed && !response.headersSent) write(response, answer)
}

function write(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body)
}
