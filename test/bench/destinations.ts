/** Destinations in a thread of their own, so that taking requests does not slow the relay that sends them. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

export interface Destinations extends AsyncDisposable {
  readonly ports: readonly number[]
  /** Requests that each has taken. */
  taken(destination: number): number
  /** How long each event of the first destination took, from the time in its payload to its receipt, in ms; and forgets them. */
  latencies(): Promise<number[]>
}

interface Given {
  readonly count: number
  readonly counts: SharedArrayBuffer
}

/** Real HTTP servers that answer 204 at once. */
export async function startDestinations(count: number): Promise<Destinations> {
  const counts = new SharedArrayBuffer(4 * count)
  const view = new Int32Array(counts)
  const worker = new Worker(new URL(import.meta.url), { workerData: { count, counts } satisfies Given })
  const ask = async <T>(question?: string): Promise<T> =>
    await new Promise<T>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
      if (question !== undefined) worker.postMessage(question)
    })
  const ports = await ask<number[]>()
  return {
    ports,
    taken: (destination) => Atomics.load(view, destination),
    latencies: () => ask<number[]>('latencies'),
    async [Symbol.asyncDispose]() {
      await worker.terminate()
    },
  }
}

async function serve({ count, counts }: Given): Promise<void> {
  const view = new Int32Array(counts)
  let latencies: number[] = []
  const ports = await Promise.all(
    Array.from({ length: count }, async (_, destination) => {
      const server = createServer((request, response) => {
        let body = ''
        request.setEncoding('utf8').on('data', (text: string) => {
          if (destination === 0) body += text
        })
        request.on('end', () => {
          Atomics.add(view, destination, 1)
          const [, sentAt] = /"sentAt": ?([\d.]+)/.exec(body) ?? []
          if (sentAt !== undefined) latencies.push(performance.timeOrigin + performance.now() - Number(sentAt))
          response.writeHead(204).end()
        })
      })
      server.keepAliveTimeout = 60_000
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return (server.address() as AddressInfo).port
    }),
  )
  parentPort?.on('message', () => {
    parentPort?.postMessage(latencies)
    latencies = []
  })
  parentPort?.postMessage(ports)
}

if (!isMainThread) await serve(workerData as Given)
