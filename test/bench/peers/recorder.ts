/** A receiver that notes when each job came and when it was answered, outside of every system that is judged. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { clockMs } from '../clock.ts'
import type { Payload } from './system.ts'

/** One request. Times by `clockMs`. */
export interface Arrival {
  readonly key: string
  readonly n: number
  readonly cameAt: number
  readonly answeredAt: number
  readonly accepted: boolean
}

export interface Answer {
  readonly status: number
  readonly afterMs: number
}

export interface Recorder extends AsyncDisposable {
  readonly url: string
  /** In the order of their answers. */
  readonly arrivals: readonly Arrival[]
  /** Different jobs that were accepted. */
  readonly accepted: number
}

/** Jobs of a key are numbered from 1; the key stands in `pad`. `attempt` counts the requests of this job before this one, and it. */
export async function startRecorder(answer: (key: string, n: number, attempt: number) => Answer): Promise<Recorder> {
  const arrivals: Arrival[] = []
  const accepted = new Set<string>()
  const attempts = new Map<string, number>()
  const receive = async (body: string, cameAt: number): Promise<number> => {
    const read = JSON.parse(body) as Payload | { readonly data: Payload }
    const { n, pad: key } = 'data' in read ? read.data : read
    const job = `${key}/${n}`
    const attempt = (attempts.get(job) ?? 0) + 1
    attempts.set(job, attempt)
    const { status, afterMs } = answer(key, n, attempt)
    if (afterMs > 0) await sleep(afterMs)
    if (status < 300) accepted.add(job)
    arrivals.push({ key, n, cameAt, answeredAt: clockMs(), accepted: status < 300 })
    return status
  }
  const server = createServer((request, response) => {
    const cameAt = clockMs()
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      receive(Buffer.concat(parts).toString(), cameAt).then(
        (status) => response.writeHead(status).end(),
        (error: unknown) => response.destroy(error instanceof Error ? error : undefined),
      )
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    arrivals,
    get accepted() {
      return accepted.size
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
