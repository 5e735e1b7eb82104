/**
 * A relay with sinks that take everything at once, in a thread of its own. Answers `count` with how many different numbers
 * (`payload.n`) its first sink has got, and `stop` with `stopped` when it has ended.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { createRelay, subscribe, type Outcome, type RelayOptions, type Sink } from '@postrider/relay'

export interface RelayWorkerData {
  readonly options: Omit<RelayOptions, 'sinks'>
  readonly sinks: readonly string[]
  /** The greatest number that will come. */
  readonly most: number
}

export type FromRelayWorker = { readonly count: number } | { readonly fault: string } | 'stopped'

const { options, sinks, most } = workerData as RelayWorkerData
const port = parentPort
if (port === null) throw new Error('relay-worker.ts is a thread: it is started by a benchmark')
const tell = (message: FromRelayWorker): void => port.postMessage(message)

const seen = new Uint8Array(most + 1)
let count = 0

function noOp(name: string, isFirst: boolean): Sink {
  const delivered: Promise<Outcome> = Promise.resolve({ kind: 'delivered' })
  return {
    name,
    kind: 'no-op',
    deadlineMs: 1_000,
    deliver({ event }) {
      const n = isFirst ? Number(/"n": ?(\d+)/.exec(event.payloadText ?? '')?.[1]) : 0
      if (n > 0 && seen[n] === 0) {
        seen[n] = 1
        count++
      }
      return delivered
    },
    async [Symbol.asyncDispose]() {},
  }
}

subscribe('postrider:fault', ({ error }) => tell({ fault: String(error) }))
const stop = new AbortController()
port.on('message', (word: 'count' | 'stop') => {
  if (word === 'count') tell({ count })
  else stop.abort()
})
await createRelay({ ...options, sinks: sinks.map((name, index) => ({ sink: noOp(name, index === 0) })) }).run(stop.signal)
tell('stopped')
port.close()
