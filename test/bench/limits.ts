import { openKafkaAdmin } from '@postrider/kafka'
import { startKafka } from '../kafka/index.ts'
import type { Bench, Say } from './bench.ts'
import { fillLog } from './fill.ts'
import type { Given } from './given.ts'
import { insertRaw, makeRawTable } from './insert-raw.ts'
import { recordsOf } from './kafka.ts'
import { madeEvent } from './made-event.ts'
import { postRaw } from './post-raw.ts'
import { produceRaw } from './produce-raw.ts'
import { readRaw } from './read-raw.ts'
import { startReceiver } from './receiver.ts'
import { requestRaw } from './request-raw.ts'
import { takeTurns, type Figures } from './rounds.ts'
import { startServer, type BenchServer } from './server.ts'

const keys = 10_000
const partitions = 4
const batch = 500
const warmUpSeconds = 1
const kinds = ['insert', 'read', 'post', 'kafka'] as const

/** Something that this machine can do so often, with nothing of Postrider about it. */
interface Limit {
  readonly name: string
  measure(isWarmUp: boolean): Promise<Figures>
}

export const bench: Bench = {
  name: 'limits',
  about: 'what this machine can do at all: raw inserts, reads of a log, POSTs to a receiver, records to a real Kafka',
  options: {
    limits: { type: 'string', default: kinds.join(','), about: 'which' },
    connections: { type: 'string', default: '1,4,16', about: 'that insert at once, each row in a transaction of its own' },
    seconds: { type: 'string', default: '5', quick: '0.5', about: 'of inserting' },
    rows: { type: 'string', default: '200000', quick: '5000', about: 'of the log that is read' },
    pages: { type: 'string', default: '500,1000', about: 'rows of a page' },
    posts: { type: 'string', default: '50000', quick: '2000', about: 'POSTs' },
    concurrency: { type: 'string', default: '64', about: 'POSTs in flight at once' },
    records: { type: 'string', default: '100000', quick: '5000', about: 'Kafka records' },
    bytes: { type: 'string', default: '300', about: 'of a payload' },
  },
  async run(given, say) {
    const wanted = given.words('limits', kinds)
    const notes: string[] = []
    await using stack = new AsyncDisposableStack()
    const server = stack.use(await startServer())
    const limits: Limit[] = []
    for (const kind of wanted) limits.push(...(await open[kind]({ given, server, stack, notes, say })))
    for (const limit of given.quick ? [] : limits) await limit.measure(true)
    const results = await takeTurns(limits, given.rounds, say, async (limit) => ({
      labels: { limit: limit.name },
      figures: rateOf(await limit.measure(false)),
    }))
    return {
      versions: server.versions,
      postgres: server.postgres,
      settings: { bytes: given.number('bytes'), keys, partitions, recordsInBatch: batch },
      rows: results.rows(),
      notes: [
        ...notes,
        'nothing of Postrider takes part: no cursor, no order, no signature, no audit; each limit has the machine to itself',
        'whoever asks is one Node process; receiver, PostgreSQL and Kafka share its cores',
      ],
    }
  },
}

interface Place {
  readonly given: Given
  readonly server: BenchServer
  readonly stack: AsyncDisposableStack
  readonly notes: string[]
  readonly say: Say
}

const open: Readonly<Record<(typeof kinds)[number], (place: Place) => Promise<Limit[]>>> = {
  async insert({ given, server, stack }) {
    const database = stack.use(await server.database())
    await makeRawTable(database.client)
    return await Promise.all(
      given.numbers('connections').map(async (count) => {
        const clients = await Promise.all(Array.from({ length: count }, () => database.connect()))
        return {
          name: `insert commits, ${count} connections`,
          measure: (isWarmUp) => insertRaw(clients, given.number('bytes'), isWarmUp ? warmUpSeconds : given.number('seconds')),
        }
      }),
    )
  },

  async read({ given, server, stack, say }) {
    const database = stack.use(await server.database())
    const rows = given.number('rows')
    await fillLog(database.url, { events: rows, bytes: given.number('bytes'), keys })
    await database.client.query('vacuum analyze postrider.events')
    say(`${rows} rows to read`)
    return given.numbers('pages').flatMap((page) =>
      (['text arrays', 'jsonb objects'] as const).map((form) => ({
        name: `rows read, pages of ${page}, ${form}`,
        measure: () => readRaw(database.client, page, form),
      })),
    )
  },

  async post({ given, stack }) {
    const receiver = stack.use(await startReceiver())
    const [bytes, concurrency] = [given.number('bytes'), given.number('concurrency')]
    const bodies = Array.from({ length: given.number('posts') }, (_, index) =>
      Buffer.from(madeEvent(index + 1, bytes, keys).payloadText ?? ''),
    )
    const ways = { dispatch: postRaw, request: requestRaw }
    return Object.entries(ways).map(([way, post]) => ({
      name: `POSTs, ${concurrency} at once, undici ${way}`,
      measure: () => post(receiver.url, bodies, concurrency),
    }))
  },

  async kafka({ given, stack, notes }) {
    let kafka
    try {
      kafka = stack.use(await startKafka())
    } catch (error) {
      notes.push(`no Kafka: ${error instanceof Error ? error.message : String(error)}`)
      return []
    }
    const brokers = kafka.bootstrap
    const admin = stack.use(await openKafkaAdmin({ brokers }))
    const records = recordsOf(given.number('records'), given.number('bytes'), keys, partitions)
    let topics = 0
    return [
      {
        name: 'Kafka records, kafkajs, acks=all, idempotent',
        async measure() {
          const topic = `limits-${++topics}`
          await admin.createTopic({ name: topic, partitions })
          const figures = await produceRaw({ brokers, topic, partitions: records, batch, compression: 'none' })
          await admin.deleteTopic(topic)
          return figures
        },
      },
    ]
  },
}

/** Every raw load tells its rate under the name of what it does. */
function rateOf(figures: Figures): Figures {
  return { 'per second': figures['per second'] ?? figures['deliveries/s'] ?? null }
}
