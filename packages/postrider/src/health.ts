import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { RelayHealth } from '@postrider/relay'
import { PostriderError } from '@postrider/schema'
import type { HealthConfig } from './config.ts'

/** A relay whose loops have stood still for so long is stuck; one that waits for the database still ticks. */
const stuckMs = 60_000

/** The probes of a running relay. */
export interface HealthServer extends AsyncDisposable {
  readonly host: string
  /** The port taken, when any free one was asked for. */
  readonly port: number
}

interface Answer {
  readonly ok: boolean
  readonly body: Readonly<Record<string, unknown>>
}

/**
 * Answers `GET /livez`, `/readyz` and `/healthz` from what the relay knows already: no probe touches the database.
 * On plain node:http and a port of its own, so that nothing else can stop it.
 * @throws PostriderError `invalid_options` when the port cannot be taken.
 */
export async function serveHealth({ host, port }: Required<HealthConfig>, health: () => RelayHealth): Promise<HealthServer> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 }, (request, response) => {
    const answer = answerTo(request.url, health)
    const status = request.method !== 'GET' && request.method !== 'HEAD' ? 405 : answer === null ? 404 : answer.ok ? 200 : 503
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    response.end(status >= 404 ? undefined : `${JSON.stringify(answer?.body)}\n`)
  })
  await listen(server, host, port)
  return {
    host,
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function answerTo(url: string | undefined, health: () => RelayHealth): Answer | null {
  switch (url?.split('?', 1)[0]) {
    case '/livez':
      return live(health())
    case '/readyz':
      return ready(health())
    case '/healthz':
      return { ok: true, body: detail(health()) }
    default:
      return null
  }
}

/** Fails only for a reason that a restart would mend. */
function live({ lastTickAt }: RelayHealth): Answer {
  const ok = Date.now() - lastTickAt.getTime() < stuckMs
  return { ok, body: { status: ok ? 'ok' : 'stuck', lastTickAt } }
}

/** Fails while the relay stops, and while the database does not answer; never for what a sink does. */
function ready({ ready, stopping, database }: RelayHealth): Answer {
  const ok = ready && !stopping
  return { ok, body: { status: ok ? 'ok' : stopping ? 'stopping' : 'not ready', database: database.up ? 'up' : 'down' } }
}

function detail(health: RelayHealth): Readonly<Record<string, unknown>> {
  const { database, listener, lanes, lastTickAt } = health
  return {
    live: live(health).ok,
    ready: ready(health).ok,
    stopping: health.stopping,
    lastTickAt,
    database: {
      up: database.up,
      lastOkAt: database.lastOkAt,
      ...(!database.up && { hint: 'The relay keeps trying; its log says why.' }),
    },
    listener: {
      state: listener,
      ...(listener === 'polling' && {
        hint: 'Events arrive within pollMs. A direct connection (database.directUrl) makes it sooner.',
      }),
    },
    lanes: Object.groupBy(lanes, ({ sink }) => sink),
  }
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host, port }, resolve)
  try {
    await promise
  } catch (error) {
    const problem = `health: ${host}:${port} cannot be taken (${error instanceof Error ? error.message : String(error)}); name another port, or health: false`
    throw new PostriderError('invalid_options', problem, { problems: [problem] }, { cause: error })
  } finally {
    server.off('error', reject)
  }
}
