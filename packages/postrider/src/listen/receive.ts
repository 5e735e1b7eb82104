import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createVerifier, type VerifyFailure } from '@postrider/inbox'
import { PostriderError } from '@postrider/schema'
import { Ledger, type Totals } from './ledger.ts'
import { conductOf, type Conduct, type Mischief } from './misbehave.ts'
import { placeOf } from './place.ts'

export interface ReceiverOptions {
  readonly host: string
  /** 0 takes any free one. */
  readonly port: number
  /** Signatures are checked against any of these; none: they are not checked. */
  readonly secrets: readonly string[]
  readonly mischief: Mischief
  readonly seed: number
  /** Status of requests that fail. */
  readonly status: number
  /** Every answer waits for so long. */
  readonly delayMs: number
  /** `retry-after` of requests that fail, or null. */
  readonly retryAfterMs: number | null
  readonly onDelivery: (delivery: Delivery) => void
}

/** One request, and what became of it. */
export interface Delivery {
  readonly time: Date
  readonly id: string | null
  readonly type: string | null
  /** Says the sender. */
  readonly attempt: number | null
  readonly key: string | null
  readonly sequence: string | null
  readonly bytes: number
  /** Null when there was no answer. */
  readonly status: number | null
  readonly result: 'taken' | 'duplicate' | 'bad signature' | 'too large' | Exclude<Conduct, 'behave'>
  readonly reason: VerifyFailure | null
  readonly outOfOrder: boolean
}

export interface Receiver extends AsyncDisposable {
  readonly url: string
  readonly totals: Totals
}

const mostBytes = 4 * 1024 * 1024

/** A receiver of webhooks for local testing: checks signatures, tells duplicates, and misbehaves on request. */
export async function startReceiver(options: ReceiverOptions): Promise<Receiver> {
  const verifier = options.secrets.length === 0 ? null : createVerifier({ secrets: options.secrets, maxBodyBytes: mostBytes })
  const ledger = new Ledger()
  const closing = new AbortController()
  const server = createServer({ requestTimeout: 60_000 }, (request, response) => {
    receive(request, response).catch(() => request.socket.destroy())
  })

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request)
    const id = one(request.headers['webhook-id'])
    const arrival = ledger.arrive(id)
    const place = body === null ? { key: null, sequence: null } : placeOf(request.headers, body)
    const common = {
      time: new Date(),
      id,
      type: one(request.headers['postrider-event-type']) ?? one(request.headers['ce-type']),
      attempt: Number(one(request.headers['postrider-attempt'])) || null,
      ...place,
      bytes: body?.length ?? 0,
      reason: null,
      outOfOrder: false,
    }
    if (options.delayMs > 0) await sleep(options.delayMs, undefined, { signal: closing.signal })
    if (body === null) return answer(response, 413, { ...common, result: 'too large' })

    const verified = verifier?.check({ body, headers: request.headers })
    if (verified?.ok === false) {
      ledger.refuse()
      return answer(response, 401, { ...common, result: 'bad signature', reason: verified.reason })
    }
    const conduct = conductOf(options.mischief, options.seed, id ?? '', arrival)
    if (conduct !== 'behave') {
      ledger.misbehave()
      return misbehave(conduct, response, common)
    }
    const { duplicate, outOfOrder } = ledger.take(id, place)
    answer(response, 200, { ...common, result: duplicate ? 'duplicate' : 'taken', outOfOrder })
  }

  function misbehave(
    conduct: Exclude<Conduct, 'behave'>,
    response: ServerResponse,
    common: Omit<Delivery, 'status' | 'result'>,
  ): void {
    if (conduct === 'fail') {
      if (options.retryAfterMs !== null) response.setHeader('retry-after', Math.ceil(options.retryAfterMs / 1_000))
      return answer(response, options.status, { ...common, result: 'fail' })
    }
    if (conduct === 'drop') response.destroy()
    options.onDelivery({ ...common, status: null, result: conduct })
  }

  function answer(response: ServerResponse, status: number, delivery: Omit<Delivery, 'status'>): void {
    options.onDelivery({ ...delivery, status })
    response.writeHead(status, { 'content-length': 0 }).end()
  }

  await listen(server, options)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}/`,
    get totals() {
      return ledger.totals
    },
    async [Symbol.asyncDispose]() {
      closing.abort()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

/** Null when it is over the limit. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes <= mostBytes) chunks.push(chunk)
  }
  return bytes > mostBytes ? null : Buffer.concat(chunks)
}

function one(value: string | string[] | undefined): string | null {
  return (typeof value === 'string' ? value : value?.[0]) ?? null
}

async function listen(server: ReturnType<typeof createServer>, { host, port }: ReceiverOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen({ host, port }, resolve)
  try {
    await promise
  } catch (error) {
    const problem = `${host}:${port} cannot be taken (${error instanceof Error ? error.message : String(error)}); name another with --port`
    throw new PostriderError('invalid_options', problem, { problems: [problem] }, { cause: error })
  }
}
