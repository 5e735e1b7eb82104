/**
 * A relay as a process of its own: `node relay-child.ts OPTIONS`. Tells what it is told to watch as lines of JSON on stdout.
 * Reads words from stdin: `stop` and `stop hard` end the relay, `cpu` asks for what it has used. It ends with its stdin.
 */
import { createInterface } from 'node:readline'
import { createKafkaSink, type KafkaOptions } from '@postrider/kafka'
import { createRelay, subscribe, type Messages, type RelayOptions, type Sink, type SinkOptions } from '@postrider/relay'
import { createWebhookSink, type WebhookOptions } from '@postrider/webhook'

export type Channel = keyof Messages

export interface ChildOptions extends Omit<RelayOptions, 'sinks'> {
  readonly sinks: readonly (Omit<SinkOptions, 'sink'> &
    Pick<WebhookOptions, 'name' | 'url' | 'timeouts'> & { readonly secret: string })[]
  /** Sinks to Kafka, beside the others. */
  readonly kafka?: readonly (Omit<SinkOptions, 'sink'> & { readonly options: KafkaOptions })[]
  readonly watch: readonly Channel[]
  /** SIGKILL to itself, right there, when the channel says its `nth` message; or it stands still for a while, as in a pause of its garbage collection. */
  readonly dieAt?: { readonly channel: Channel; readonly nth: number; readonly standStillMs?: number }
  /** The sink kills the process when it is given an event of this type. */
  readonly poison?: string
}

/** One line of stdout. */
export interface Told {
  readonly channel: Channel | 'cpu' | 'failed'
  readonly message: unknown
  /** By `Date.now()`. */
  readonly at: number
}

const { sinks, kafka = [], watch, dieAt, poison, ...options } = JSON.parse(process.argv[2] ?? '') as ChildOptions

if (dieAt !== undefined) {
  let left = dieAt.nth
  subscribe(dieAt.channel, () => {
    if (--left !== 0) return
    if (dieAt.standStillMs === undefined) process.kill(process.pid, 'SIGKILL')
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, dieAt.standStillMs)
  })
}
for (const channel of watch) subscribe(channel, (message) => tell(channel, message))

const soft = new AbortController()
const hard = new AbortController()
const words = createInterface({ input: process.stdin })
words.on('line', (word) => {
  if (word === 'stop') soft.abort()
  else if (word === 'stop hard') hard.abort()
  else if (word === 'cpu') tell('cpu', process.cpuUsage())
})
words.on('close', () => process.exit(2))
process.stdout.on('error', () => process.exit(2))

const relay = createRelay({
  ...options,
  sinks: [
    ...(await Promise.all(kafka.map(async ({ options, ...rest }) => ({ ...rest, sink: await createKafkaSink(options) })))),
    ...sinks.map(({ name, url, secret, timeouts = {}, ...rest }) => ({
      ...rest,
      sink: deadly(
        createWebhookSink({ name, url, timeouts, secrets: { current: secret }, trust: 'internal', allow: ['127.0.0.0/8'] }),
      ),
    })),
  ],
})
try {
  await relay.run(soft.signal, hard.signal)
} catch (error) {
  tell('failed', String(error))
  process.exitCode = 1
}
process.stdin.destroy()

function deadly(sink: Sink): Sink {
  if (poison === undefined) return sink
  return {
    ...sink,
    deliver: (attempt, signal) => {
      if (attempt.event.type === poison) process.kill(process.pid, 'SIGKILL')
      return sink.deliver(attempt, signal)
    },
  }
}

function tell(channel: Told['channel'], message: unknown): void {
  const told: Told = { channel, message, at: Date.now() }
  const readable = (_name: string, value: unknown): unknown => (value instanceof Error ? value.stack : value)
  process.stdout.write(`${JSON.stringify(told, readable)}\n`)
}
