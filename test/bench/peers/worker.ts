import { setTimeout as sleep } from 'node:timers/promises'
import { startChild, type Child } from '../calls.ts'
import type { SystemName } from './systems.ts'
import type { WorkerReport, WorkerStart, WorkerVerbs } from './worker-child.ts'

export type { WorkerReport } from './worker-child.ts'

/** The worker of a system in a process of its own. */
export interface PeerWorker extends AsyncDisposable {
  start(given: Omit<WorkerStart, 'system' | 'ordered'>): Promise<void>
  report(): Promise<WorkerReport>
  /** Lets jobs in hand end; when that takes too long, or it fails, the process is ended and a new one takes its place. */
  stop(): Promise<void>
  /** As a crash does. The next start is in a new process. */
  kill(): Promise<void>
}

const stopTimeoutMs = 15_000

export async function startPeerWorker(system: SystemName, ordered: boolean): Promise<PeerWorker> {
  const begin = (): Promise<Child<WorkerVerbs>> => startChild<WorkerVerbs>(new URL('worker-child.ts', import.meta.url))
  let child = await begin()
  const replace = async (): Promise<void> => {
    await child.kill()
    child = await begin()
  }
  return {
    start: (given) => child.call('start', { system, ordered, ...given }),
    report: () => child.call('report', null),
    stop: () => child.call('stop', null, stopTimeoutMs).catch(replace),
    kill: replace,
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  }
}

/** Waits until so much is done, or no longer than this; answers what was done by then. */
export async function untilDone(done: () => Promise<number>, wanted: number, limitMs: number): Promise<number> {
  for (const end = performance.now() + limitMs; ; await sleep(20)) {
    const count = await done()
    if (count >= wanted || performance.now() > end) return count
  }
}
