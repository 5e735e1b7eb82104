/** A relay in a process of its own that counts what it does; one after another, so that a warm one can be measured. */
import { createKafkaSink, type KafkaOptions } from '@postrider/kafka'
import { createRelay, subscribe, type Outcome, type RelayOptions, type Sink, type SinkOptions } from '@postrider/relay'
import { createWebhookSink, type WebhookOptions } from '@postrider/webhook'
import { answerCalls } from './calls.ts'
import { clockMs } from './clock.ts'
import { numberOf } from './payload.ts'

/** A sink, and how it is carried; `taking` takes everything at once. */
export type Destination = { readonly taking: string } | { readonly webhook: WebhookOptions } | { readonly kafka: KafkaOptions }

export interface Start {
  readonly relay: Omit<RelayOptions, 'sinks'>
  readonly sinks: readonly (Omit<SinkOptions, 'sink'> & { readonly to: Destination })[]
  /** Sinks that take everything remember when they got which event, up to this number; 0: they do not. */
  readonly receiptsTo: number
}

/** How a relay is, since it was started. Times by `clockMs`, CPU in ms of a core. */
export interface CarrierReport {
  /** Events of settled pages, by sink. */
  readonly settled: Readonly<Record<string, number>>
  /** How many settles that took. */
  readonly settles: number
  /** Infinity until something was delivered. */
  readonly firstAt: number
  readonly lastSettledAt: number
  readonly cpuMsAtFirst: number
  readonly cpuMsAtLast: number
  readonly cpuMs: number
  readonly rssBytes: number
  readonly heapBytes: number
  readonly faults: readonly string[]
}

export interface CarrierVerbs {
  start(given: Start): Promise<void>
  report(given: null): CarrierReport
  /** When the sink got each event, by its number, from `from` to below `to`; 0 for one that it has not got. */
  receipts(given: { readonly sink: string; readonly from: number; readonly to: number }): Float64Array
  stop(given: null): Promise<void>
}

const usedMs = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

let settled = new Map<string, number>()
let receipts = new Map<string, Float64Array>()
let settles = 0
let marks = { firstAt: Infinity, lastSettledAt: 0, cpuMsAtFirst: 0, cpuMsAtLast: 0 }
let faults: string[] = []
let running: { readonly stop: AbortController; readonly ended: Promise<void> } | null = null

subscribe('postrider:settled', ({ sink, events }) => {
  if (events === 0) return
  settled.set(sink, (settled.get(sink) ?? 0) + events)
  settles++
  marks.lastSettledAt = clockMs()
  marks.cpuMsAtLast = usedMs()
})
subscribe('postrider:fault', ({ error }) => {
  if (faults.length < 10) faults.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
})

function taking(name: string, receiptsTo: number): Sink {
  const delivered: Promise<Outcome> = Promise.resolve({ kind: 'delivered' })
  const times = new Float64Array(receiptsTo)
  receipts.set(name, times)
  return {
    name,
    kind: 'taking',
    deadlineMs: 1_000,
    deliver({ event }) {
      if (receiptsTo > 0) times[numberOf(event.payloadText)] = clockMs()
      return delivered
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function sinkOf(to: Destination, receiptsTo: number): Promise<Sink> {
  if ('taking' in to) return taking(to.taking, receiptsTo)
  return 'webhook' in to ? createWebhookSink(to.webhook) : await createKafkaSink(to.kafka)
}

/** Tells when the first event is handed over. */
function marking(sink: Sink): Sink {
  const deliver = sink.deliver.bind(sink)
  const marked: Sink = Object.create(sink) as Sink
  return Object.assign(marked, {
    deliver(...given: Parameters<Sink['deliver']>) {
      if (marks.firstAt === Infinity) {
        marks.firstAt = clockMs()
        marks.cpuMsAtFirst = usedMs()
      }
      return deliver(...given)
    },
  })
}

answerCalls<CarrierVerbs>({
  async start({ relay, sinks, receiptsTo }) {
    if (running !== null) throw new Error('a relay runs already')
    settled = new Map()
    settles = 0
    receipts = new Map()
    marks = { firstAt: Infinity, lastSettledAt: 0, cpuMsAtFirst: 0, cpuMsAtLast: 0 }
    faults = []
    const opened = await Promise.all(
      sinks.map(async ({ to, ...carried }) => ({ ...carried, sink: marking(await sinkOf(to, receiptsTo)) })),
    )
    const stop = new AbortController()
    const ended = createRelay({ ...relay, sinks: opened }).run(stop.signal)
    ended.catch((error: unknown) => faults.push(String(error)))
    running = { stop, ended }
  },
  report: () => ({
    settled: Object.fromEntries(settled),
    settles,
    ...marks,
    cpuMs: usedMs(),
    rssBytes: process.memoryUsage.rss(),
    heapBytes: process.memoryUsage().heapUsed,
    faults,
  }),
  receipts: ({ sink, from, to }) => receipts.get(sink)?.slice(from, to) ?? new Float64Array(),
  async stop() {
    const was = running
    running = null
    was?.stop.abort()
    await was?.ended
  },
})
