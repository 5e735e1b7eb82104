import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createNetServer, type AddressInfo, type Socket } from 'node:net'

export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface Receiver extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly received: Received[]
  /** Connections so far. */
  connections: number
}

/** A real HTTP server on 127.0.0.1 that reads requests whole and answers as told. */
export async function receiver(
  answer: (response: ServerResponse, request: Received) => void = (response) => response.end(),
): Promise<Receiver> {
  const received: Received[] = []
  const server = createServer((request: IncomingMessage, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url: path = '', headers, rawHeaders } = request
      const one = { method, path, headers, rawHeaders, body: Buffer.concat(chunks) }
      received.push(one)
      answer(response, one)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const self: Receiver = {
    url: `http://127.0.0.1:${port}/`,
    port,
    received,
    connections: 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  server.on('connection', () => (self.connections += 1))
  return self
}

export interface RawServer extends AsyncDisposable {
  readonly url: string
}

/** A TCP server that says what no HTTP library would. Its timers and sockets end with it. */
export async function rawServer(talk: (socket: Socket, until: AbortSignal) => void): Promise<RawServer> {
  const sockets = new Set<Socket>()
  const ending = new AbortController()
  const server = createNetServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    talk(socket, ending.signal)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      ending.abort()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Says `text` again and again until the socket or the server ends. */
export function repeat(socket: Socket, text: string | Buffer, everyMs: number, until: AbortSignal): void {
  const timer = setInterval(() => socket.writable && socket.write(text), everyMs)
  const stop = (): void => clearInterval(timer)
  socket.on('close', stop)
  until.addEventListener('abort', stop)
}

/** Writes for ever, as fast as the other side takes it. */
export function flood(socket: Socket, chunk: Buffer): void {
  const write = (): void => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', write)
  write()
}
