/** Destinations in a thread of their own, so that taking requests does not slow the relay that sends them. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { until } from '../until.ts'

export interface Destinations extends AsyncDisposable {
  readonly ports: readonly number[]
  /** Requests that each has taken. */
  taken(destination: number): number
  /** How long each event of the first destination took, from the time in its payload to its receipt, in ms; and forgets them. */
  latencies(): number[]
}

/** All that the two threads share, as they share it. */
interface Shared {
  readonly ports: Int32Array<SharedArrayBuffer>
  readonly taken: Int32Array<SharedArrayBuffer>
  /** How many latencies there are. */
  readonly measured: Int32Array<SharedArrayBuffer>
  readonly latencies: Float64Array<SharedArrayBuffer>
}

const mostLatencies = 100_000

/** Real HTTP servers that answer 204 at once. */
export async function startDestinations(count: number): Promise<Destinations> {
  const shared: Shared = {
    ports: new Int32Array(new SharedArrayBuffer(4 * count)),
    taken: new Int32Array(new SharedArrayBuffer(4 * count)),
    measured: new Int32Array(new SharedArrayBuffer(4)),
    latencies: new Float64Array(new SharedArrayBuffer(8 * mostLatencies)),
  }
  const worker = new Worker(new URL(import.meta.url), { workerData: shared })
  await until('the destinations listen', () => shared.ports.every((port) => port > 0))
  return {
    ports: [...shared.ports],
    taken: (destination) => Atomics.load(shared.taken, destination),
    latencies: () => [...shared.latencies.subarray(0, Atomics.exchange(shared.measured, 0, 0))],
    async [Symbol.asyncDispose]() {
      await worker.terminate()
    },
  }
}

function serve({ ports, taken, measured, latencies }: Shared): void {
  for (let destination = 0; destination < ports.length; destination++) {
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (text: string) => {
        if (destination === 0) body += text
      })
      request.on('end', () => {
        const [, sentAt] = /"sentAt": ?([\d.]+)/.exec(body) ?? []
        if (sentAt !== undefined)
          latencies[Atomics.add(measured, 0, 1)] = performance.timeOrigin + performance.now() - Number(sentAt)
        Atomics.add(taken, destination, 1)
        response.writeHead(204).end()
      })
    })
    server.keepAliveTimeout = 60_000
    server.listen(0, '127.0.0.1', () => Atomics.store(ports, destination, (server.address() as AddressInfo).port))
  }
}

if (!isMainThread) serve(workerData as Shared)
