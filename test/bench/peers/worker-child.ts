/** The worker of a system, in a process of its own: one after another, so that a warm one can be measured. */
import { Pool } from 'undici'
import { answerCalls } from '../calls.ts'
import { clockMs } from '../clock.ts'
import type { Payload } from './system.ts'
import { systems, type SystemName } from './systems.ts'

export interface WorkerStart {
  readonly system: SystemName
  readonly ordered: boolean
  readonly url: string
  /** Where each job is POSTed; null: it is only counted. */
  readonly target: string | null
  readonly concurrency: number
  /** The greatest number of a job that will come. */
  readonly most: number
}

/** Of jobs that are only counted. Times by `clockMs`. */
export interface WorkerReport {
  /** Different jobs. */
  readonly done: number
  readonly repeats: number
  readonly firstAt: number
  readonly lastAt: number
}

export interface WorkerVerbs {
  start(given: WorkerStart): Promise<void>
  report(given: null): WorkerReport
  stop(given: null): Promise<void>
}

let seen = new Uint8Array()
let report = { done: 0, repeats: 0, firstAt: 0, lastAt: 0 }
let running: AsyncDisposable | null = null

async function count({ n }: Payload): Promise<void> {
  report.lastAt = clockMs()
  if (report.firstAt === 0) report.firstAt = report.lastAt
  if (seen[n] === 0) report.done++
  else report.repeats++
  seen[n] = 1
}

/** A POST of the payload, as a service would write it; anything but a 2xx is a failure. */
function poster(target: string, connections: number): { readonly post: (payload: Payload) => Promise<void> } & AsyncDisposable {
  const { origin, pathname: path } = new URL(target)
  const pool = new Pool(origin, { connections, pipelining: 1, allowH2: false })
  const headers = { 'content-type': 'application/json' }
  return {
    async post(payload) {
      const { statusCode, body } = await pool.request({ method: 'POST', path, headers, body: JSON.stringify(payload) })
      await body.dump()
      if (statusCode >= 300) throw new Error(`answered ${statusCode}`)
    },
    [Symbol.asyncDispose]: () => pool.destroy(),
  }
}

answerCalls<WorkerVerbs>({
  async start({ system, ordered, url, target, concurrency, most }) {
    if (running !== null) throw new Error('a worker runs already')
    seen = new Uint8Array(most + 1)
    report = { done: 0, repeats: 0, firstAt: 0, lastAt: 0 }
    const stack = new AsyncDisposableStack()
    const handle = target === null ? count : stack.use(poster(target, concurrency)).post
    const opened = await systems[system](ordered)
    stack.use(await opened.work(url, { handle, concurrency, target }))
    running = stack
  },
  report: () => report,
  async stop() {
    const was = running
    running = null
    await was?.[Symbol.asyncDispose]()
  },
})
