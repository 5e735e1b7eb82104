import { createServer, type Server } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { createVerifier } from '@postrider/inbox'
import { createRelay, type Relay, type RelayOptions, type SinkOptions } from '@postrider/relay'
import {
  createSealer,
  createWebhookEndpoints,
  generateSealKey,
  generateSecret,
  type WebhookEndpointsOptions,
} from '@postrider/webhook'
import pg from 'pg'
import { until } from './until.ts'

const secretKey = generateSealKey()
const sealer = createSealer({ current: secretKey })

/** A sink with endpoints, called `hooks`, whose endpoints are on this machine. */
export function hooks(options: Partial<WebhookEndpointsOptions> = {}, carried: Partial<SinkOptions> = {}): SinkOptions {
  const sink = createWebhookEndpoints({ name: 'hooks', trust: 'internal', allow: ['127.0.0.0/8'], secretKey, ...options })
  return { retry: { delaysMs: Array.from({ length: 50 }, () => 50), jitter: 0, maxAgeMs: 600_000 }, ...carried, sink }
}

export interface Carrying extends AsyncDisposable {
  readonly relay: Relay
  stop(): Promise<void>
}

/** A relay for `hooks` in this process, until it is disposed of. */
export async function carryHooks(
  url: string,
  sink: SinkOptions = hooks(),
  options: Partial<RelayOptions> = {},
): Promise<Carrying> {
  const relay = createRelay({ connectionString: url, pollMs: 200, leaseMs: 2_000, drainMs: 3_000, ...options, sinks: [sink] })
  const stopping = new AbortController()
  const running = relay.run(stopping.signal)
  running.catch(() => undefined)
  const client = new pg.Client(url)
  await client.connect()
  await until(
    'the relay has brought its sink',
    async () => (await client.query(`select from postrider.sinks where name = 'hooks'`)).rowCount === 1,
  )
  await client.end()
  const stop = async (): Promise<void> => {
    stopping.abort()
    await running
  }
  return { relay, stop, [Symbol.asyncDispose]: stop }
}

/** Where an endpoint sends, and the secret that it shares with its relay. */
export interface Destination {
  readonly url: string
  readonly secret: string
}

export interface EndpointOptions {
  readonly types?: readonly string[]
  readonly tenant?: string
  readonly starts?: 'now' | 'beginning'
  readonly lanes?: number
}

/** Adds `hooks/<name>`. */
export async function addEndpoint(
  client: pg.Client,
  name: string,
  { url, secret }: Destination,
  options: EndpointOptions = {},
): Promise<string> {
  const { types = null, tenant = null, starts = 'now', lanes = null } = options
  const whole = `hooks/${name}`
  await client.query(`select postrider.add_endpoint('hooks', $1, $2, $3, types => $4, tenant => $5, starts => $6, lanes => $7)`, [
    name,
    url,
    JSON.stringify({ current: [sealer.seal(secret, whole)] }),
    types,
    tenant,
    starts,
    lanes,
  ])
  return whole
}

/** A destination as it is stored: for a change. */
export function stored(endpoint: string, { url, secret }: Destination): string {
  return JSON.stringify({ url, secrets: { current: [sealer.seal(secret, endpoint)] } })
}

export interface Notice {
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

/** Takes whatever is signed, and remembers it. */
export async function startOffice(): Promise<Destination & AsyncDisposable & { readonly notices: readonly Notice[] }> {
  const secret = generateSecret()
  const notices: Notice[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const { ok } = createVerifier({ secrets: [secret] }).check({ headers: request.headers, body })
      if (ok) notices.push(JSON.parse(body) as Notice)
      response.writeHead(ok ? 204 : 401).end()
    })
  })
  return { url: await listen(server), secret, notices, [Symbol.asyncDispose]: () => close(server) }
}

/** Accepts connections and requests, and never says anything. */
export async function startDead(): Promise<Destination & AsyncDisposable & { readonly connections: number }> {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createTcpServer((socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    secret: generateSecret(),
    get connections() {
      return connections
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}
