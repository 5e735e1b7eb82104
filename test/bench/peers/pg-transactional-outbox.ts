/**
 * pg-transactional-outbox with its polling listener, which needs no logical replication on the server; set as the example of its
 * README for an outbox, with more messages at once. Its function for the next messages is its own SQL.
 */
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { load, versionOf } from './load.ts'
import { queueName, type OpenSystem, type Payload } from './system.ts'

interface Message {
  readonly id: string
  readonly aggregateType: string
  readonly aggregateId: string
  readonly messageType: string
  readonly segment?: string
  readonly concurrency: 'sequential' | 'parallel'
  readonly payload: unknown
}

interface Config {
  readonly outboxOrInbox: 'outbox'
  readonly dbListenerConfig: pg.PoolConfig
  readonly settings: {
    readonly dbSchema: string
    readonly dbTable: string
    readonly enableMaxAttemptsProtection: boolean
    readonly enablePoisonousMessageProtection: boolean
    readonly nextMessagesFunctionName: string
    readonly nextMessagesBatchSize: number
    readonly nextMessagesPollingIntervalInMs: number
  }
}

interface Setup {
  readonly outboxOrInbox: 'outbox'
  readonly database: string
  readonly schema: string
  readonly table: string
  readonly listenerRole: string
  readonly nextMessagesName: string
}

interface PgTransactionalOutbox {
  readonly DatabaseSetup: {
    readonly dropAndCreateTable: (setup: Setup) => string
    readonly createPollingFunction: (setup: Setup) => string
    readonly setupPollingIndexes: (setup: Setup) => string
  }
  readonly getDisabledLogger: () => object
  readonly initializeMessageStorage: (
    config: Config,
    logger: object,
  ) => (message: Message, client: pg.ClientBase) => Promise<void>
  readonly initializePollingMessageListener: (
    config: Config,
    handler: { handle(message: Message): Promise<void> },
    logger: object,
  ) => readonly [shutdown: () => Promise<void>]
}

const batchSize = 50
const pollingMs = 250

export const openPgTransactionalOutbox: OpenSystem = async (ordered) => {
  const library = await load<PgTransactionalOutbox>('pg-transactional-outbox')
  const logger = library.getDisabledLogger()
  const configOf = (url: string): Config => ({
    outboxOrInbox: 'outbox',
    dbListenerConfig: { connectionString: url, max: batchSize },
    settings: {
      dbSchema: 'public',
      dbTable: 'outbox',
      enableMaxAttemptsProtection: false,
      enablePoisonousMessageProtection: false,
      nextMessagesFunctionName: 'next_outbox_messages',
      nextMessagesBatchSize: batchSize,
      nextMessagesPollingIntervalInMs: pollingMs,
    },
  })
  const setup: Setup = {
    outboxOrInbox: 'outbox',
    database: 'bench',
    schema: 'public',
    table: 'outbox',
    listenerRole: 'postgres',
    nextMessagesName: 'next_outbox_messages',
  }
  const concurrency = ordered ? 'sequential' : 'parallel'
  return {
    version: versionOf('pg-transactional-outbox'),
    settings: `polling every ${pollingMs} ms, ${batchSize} messages at once, ${concurrency}${ordered ? ', a segment for each key' : ''}`,
    async prepare(url) {
      const client = new pg.Client(url)
      await client.connect()
      try {
        const { dropAndCreateTable, createPollingFunction, setupPollingIndexes } = library.DatabaseSetup
        for (const make of [dropAndCreateTable, createPollingFunction, setupPollingIndexes]) await client.query(make(setup))
      } finally {
        await client.end()
      }
    },
    async produce(url) {
      const store = library.initializeMessageStorage(configOf(url), logger)
      return {
        async enqueue(client, { key, payload }) {
          const message: Message = {
            id: randomUUID(),
            aggregateType: queueName,
            aggregateId: key,
            messageType: queueName,
            concurrency,
            payload,
            ...(ordered ? { segment: key } : {}),
          }
          await store(message, client)
        },
        // It has no call for many; this is its own insert, of many rows.
        async enqueueMany(client, jobs) {
          await client.query(
            `insert into public.outbox (id, aggregate_type, aggregate_id, message_type, segment, payload, concurrency)
             select gen_random_uuid(), $1, job ->> 'key', $1, case when $2 then job ->> 'key' end, job -> 'payload', $3
             from jsonb_array_elements($4::jsonb) as job`,
            [queueName, ordered, concurrency, JSON.stringify(jobs)],
          )
        },
        async [Symbol.asyncDispose]() {},
      }
    },
    async work(url, { handle }) {
      const handler = { handle: ({ payload }: Message) => handle(payload as Payload) }
      const [shutdown] = library.initializePollingMessageListener(configOf(url), handler, logger)
      return { [Symbol.asyncDispose]: shutdown }
    },
  }
}
