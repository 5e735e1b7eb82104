/**
 * A receiver of webhooks in a process of its own, which takes everything at once and checks nothing. It shares the machine with what is
 * measured, so it reads bare sockets and costs as little as it can.
 */
import { createServer, type AddressInfo, type Socket } from 'node:net'
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

const answer = Buffer.from('HTTP/1.1 204 No Content\r\nconnection: keep-alive\r\n\r\n')

let taken = 0
let times = new Float64Array()

/** Of one connection: its requests come one after the other, each with its length, and are answered when they are whole. */
function serve(socket: Socket): void {
  let held: Buffer | null = null
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk) => {
    let rest = held === null ? chunk : Buffer.concat([held, chunk])
    for (let length = lengthOf(rest); length !== null && rest.length >= length.whole; length = lengthOf(rest)) {
      take(rest.subarray(length.head, length.whole))
      socket.write(answer)
      rest = rest.subarray(length.whole)
    }
    held = rest.length === 0 ? null : rest
  })
}

/** Of the first request: its head, and all of it; null while the head is not whole. */
function lengthOf(bytes: Buffer): { readonly head: number; readonly whole: number } | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return null
  const [, length] = /\r\ncontent-length: *(\d+)\r\n/i.exec(bytes.toString('latin1', 0, end + 2)) ?? []
  if (length === undefined) throw new TypeError('a request says how long it is, or this receiver cannot take it')
  return { head: end + 4, whole: end + 4 + Number(length) }
}

function take(body: Buffer): void {
  taken++
  if (times.length === 0) return
  const n = numberOf(body.toString())
  if (times[n] === 0) times[n] = clockMs()
}

const server = createServer(serve)

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
