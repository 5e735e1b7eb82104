/** Postrider as a library: the writer in the service, the relay in the worker. In order per key and with the audit trail on, always. */
import { readFileSync } from 'node:fs'
import { migrate } from '@postrider/migrations'
import { createRelay, subscribe, type Outcome, type Sink } from '@postrider/relay'
import { createWebhookSink, generateSecret } from '@postrider/webhook'
import { createWriter, event } from '@postrider/writer'
import pg from 'pg'
import { numberOf } from '../payload.ts'
import { queueName, type OpenSystem, type Payload, type Work } from './system.ts'

const type = `${queueName}.made`
const outbox = createWriter({ source: queueName, events: { [type]: event<Payload>() } })

export const openPostrider: OpenSystem = async () => ({
  version: versionOfRelay(),
  settings: 'as it comes: 4 lanes, pages of 500, audit all, order per key; webhooks signed, address guard on',
  async prepare(url) {
    const client = new pg.Client(url)
    await client.connect()
    try {
      await migrate(client)
    } finally {
      await client.end()
    }
  },
  produce: async () => ({
    async enqueue(client, { key, payload }) {
      await outbox.emit(client, type, payload, { key })
    },
    async enqueueMany(client, jobs) {
      await outbox.emitMany(
        client,
        jobs.map(({ key, payload }) => ({ type, data: payload, key })),
      )
    },
    async [Symbol.asyncDispose]() {},
  }),
  async work(url, work) {
    const stop = new AbortController()
    const stopTelling = subscribe('postrider:fault', ({ error }) => process.stderr.write(`postrider: ${String(error)}\n`))
    const sink = work.target === null ? calling(work) : posting(work.target, work.concurrency)
    const running = createRelay({
      connectionString: url,
      sinks: [{ sink, ...(work.target === null ? {} : { concurrency: work.concurrency }) }],
    }).run(stop.signal)
    running.catch((error: unknown) => process.stderr.write(`postrider: ${String(error)}\n`))
    return {
      async [Symbol.asyncDispose]() {
        stop.abort()
        await running
        stopTelling()
      },
    }
  },
})

function calling(work: Work): Sink {
  const delivered: Outcome = { kind: 'delivered' }
  return {
    name: queueName,
    kind: 'calling',
    deadlineMs: 60_000,
    async deliver({ event: { payloadText } }) {
      await work.handle({ n: numberOf(payloadText), pad: '' })
      return delivered
    },
    async [Symbol.asyncDispose]() {},
  }
}

const posting = (url: string, connections: number): Sink =>
  createWebhookSink({
    name: queueName,
    url,
    secrets: { current: generateSecret() },
    trust: 'internal',
    allow: ['127.0.0.0/8'],
    connections,
  })

function versionOfRelay(): string {
  const manifest = new URL('../../../packages/relay/package.json', import.meta.url)
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
