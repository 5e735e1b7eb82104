import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createVerifier } from '@postrider/inbox'
import { generateSecret } from '@postrider/webhook'
import type { Written } from './history.ts'

/** A request, as it arrived. */
export interface Arrival extends Written {
  /** As the relay counts. */
  readonly attempt: number
  readonly at: number
  /** Who sends it, where the sender says so. */
  readonly sender: string | null
}

/** A status, or no answer at all: the connection is cut. */
export type Answer = number | 'cut'

export interface ReceiverOptions {
  /** Default: 204 at once. */
  readonly answer?: (arrival: Arrival, body: string) => Answer | Promise<Answer>
  /** Default: a free one. */
  readonly port?: number
  /** Default: a new one. */
  readonly secret?: string
}

export interface Receiver extends AsyncDisposable {
  readonly url: string
  readonly secret: string
  /** Every signed request, in the order of arrival. */
  readonly arrivals: readonly Arrival[]
  /** Those that were answered with success, in the order of arrival. */
  readonly taken: readonly Arrival[]
  /** Different events taken. */
  readonly distinct: number
  /** What a receiver must never see: bad signatures, other bytes for the same id, two requests of a key at once. */
  readonly complaints: readonly string[]
}

/** A number that JavaScript cannot hold: every event carries it, and must carry it unharmed. */
export const bigNumber = '9007199254740993'

/** A real HTTP server on 127.0.0.1 that checks and remembers everything that it is sent. */
export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const { answer = () => 204, port = 0, secret = generateSecret() } = options
  const verifier = createVerifier({ secrets: [secret] })
  const arrivals: Arrival[] = []
  const taken = new Set<Arrival>()
  const bodies = new Map<string, string>()
  const busy = new Set<string>()
  const complaints: string[] = []
  const distinct = new Set<string>()

  const receive = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    const verified = verifier.check({ body, headers: request.headers })
    if (!verified.ok) {
      complaints.push(`signature: ${verified.reason}`)
      response.writeHead(401).end()
      return
    }
    const { id, data } = JSON.parse(body) as { id: string; data: { key: string; n: number } }
    if (id !== verified.id || !body.includes(bigNumber) || (bodies.get(id) ?? body) !== body) complaints.push(`bytes: ${body}`)
    bodies.set(id, body)
    if (busy.has(data.key)) complaints.push(`two at once: ${data.key} ${data.n}`)
    busy.add(data.key)
    const sender = request.headers['webhook-request-origin']?.toString() ?? null
    const arrival: Arrival = { id, key: data.key, n: data.n, attempt: verified.attempt ?? 0, at: performance.now(), sender }
    arrivals.push(arrival)
    const answered = await answer(arrival, body)
    busy.delete(data.key)
    if (answered === 'cut') {
      request.socket.destroy()
      return
    }
    if (answered < 300) {
      taken.add(arrival)
      distinct.add(id)
    }
    response.writeHead(answered).end()
  }

  const server = createServer((request, response) => {
    receive(request, response).catch(() => response.destroy())
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    secret,
    arrivals,
    get taken() {
      return arrivals.filter((arrival) => taken.has(arrival))
    },
    get distinct() {
      return distinct.size
    },
    complaints,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Answers with success after a while. */
export function after(ms: number): () => Promise<Answer> {
  return () => sleep(ms, 204)
}
