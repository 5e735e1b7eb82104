/** The receiver of the demo, a real HTTP server in a process of its own; what it promises is in inbox.ts. It has bad days. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { clockMs } from './clock.ts'
import { openInbox, type OrderEvent } from './inbox.ts'
import type { ReceiverReport, ReceiverResult, ReceiverSettings } from './messages.ts'
import { obeyParent, tellParent } from './obey-parent.ts'
import { plantFaults } from './receiver-faults.ts'

const parent = await obeyParent()
const settings = parent.settings as ReceiverSettings
const tell = (report: ReceiverReport): void => tellParent(report)
const inbox = plantFaults(openInbox(settings.connectionString, settings.secret), settings.faults)

/** Its bad days: of so many requests one is answered 500, never answered, or taken and the answer is lost. The first answer is. */
const oneOf = { failed: 25, silent: 200, lostAnswer: 100 }
let requests = 0

const server = createServer((request, response) => {
  receive(request, response).catch(() => request.socket.destroy())
})
parent.leave.addEventListener('abort', () => process.exit(0)) // what is not acknowledged comes again
tell({ is: 'listening', port: await listen(server, settings.port) })

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const number = ++requests
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const atMs = clockMs()
  const headers = request.headers as Record<string, string>
  const id = headers['webhook-id'] ?? ''
  const note = (result: ReceiverResult, orderId: number | null): void => tell({ is: 'request', result, id, orderId, atMs })

  let event: OrderEvent
  try {
    event = inbox.verify(Buffer.concat(chunks), headers)
  } catch {
    note('bad signature', null)
    return void response.writeHead(401).end()
  }
  const { orderId, currency } = event.data
  if (currency !== undefined && !settings.currencies.includes(currency)) {
    note('refused', orderId)
    return void response.writeHead(422).end()
  }
  if (number % oneOf.failed === 0) {
    note('failed', orderId)
    return void response.writeHead(500).end()
  }
  if (number % oneOf.silent === oneOf.silent / 2 + 1) return note('silent', orderId)

  const taken = await inbox.take(event, atMs)
  note(taken ? 'taken' : 'duplicate', orderId)
  if (number % oneOf.lostAnswer === 1) return void request.socket.destroy()
  response.writeHead(204).end()
}

/**
 * A port below those that the system gives to outgoing connections: while the receiver is down, nobody gets its port
 * by chance. A port that is given is waited for.
 */
async function listen(server: Server, given: number): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = given === 0 ? 20_000 + Math.floor(Math.random() * 12_000) : given
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject).listen(port, '127.0.0.1', resolve)
    try {
      await promise
      server.off('error', reject)
      return (server.address() as AddressInfo).port
    } catch (error) {
      if (attempt === 50) throw error
      if (given !== 0) await sleep(100)
    }
  }
}
