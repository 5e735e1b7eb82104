/** A receiver of webhooks in a process of its own: plain node:http, takes everything at once, checks nothing. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerCalls } from './calls.ts'
import { clockMs } from './clock.ts'
import { numberOf } from './payload.ts'

export interface ReceiverVerbs {
  /** Resolves to the port on 127.0.0.1, when it listens. */
  listen(given: null): Promise<number>
  /** Forgets what was taken; from now the time of each event up to this number is remembered, or with 0 of none. */
  forget(given: { readonly receiptsTo: number }): void
  report(given: null): { readonly taken: number; readonly cpuMs: number }
  /** When each event came, by its number, from `from` to below `to`; 0 for one that has not come. */
  receipts(given: { readonly from: number; readonly to: number }): Float64Array
}

let taken = 0
let times = new Float64Array()

const server = createServer((request, response) => {
  const parts: Buffer[] = []
  if (times.length === 0) request.resume()
  else request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    taken++
    if (times.length > 0) {
      const n = numberOf(Buffer.concat(parts).toString())
      if (times[n] === 0) times[n] = clockMs()
    }
    response.writeHead(204).end()
  })
})
server.keepAliveTimeout = 60_000

answerCalls<ReceiverVerbs>({
  listen: () => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))),
  forget({ receiptsTo }) {
    taken = 0
    times = new Float64Array(receiptsTo)
  },
  report() {
    const { user, system } = process.cpuUsage()
    return { taken, cpuMs: (user + system) / 1_000 }
  },
  receipts: ({ from, to }) => times.slice(from, to),
})
