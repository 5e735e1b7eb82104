/** pg-boss with LISTEN/NOTIFY, and fetching on while batches are full: https://pgboss.io/api/workers. */
import type pg from 'pg'
import { load, versionOf } from './load.ts'
import { queueName, type OpenSystem, type Payload } from './system.ts'

interface Fetched {
  readonly id: string
  readonly data: Payload
}

interface Settled {
  readonly id: string
  readonly status: 'completed' | 'failed'
}

interface Executor {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
}

interface QueueOptions {
  readonly notify: boolean
  readonly policy: string
  readonly retryLimit: number
  readonly heartbeatSeconds?: number
}

interface WorkOptions {
  readonly batchSize: number
  readonly localConcurrency: number
  readonly burstWhenBatchFull: boolean
  readonly pollingIntervalSeconds: number
  readonly notifyPollingIntervalSeconds?: number
  readonly perJobResults: boolean
}

interface Boss {
  on(event: 'error', listener: (error: Error) => void): unknown
  start(): Promise<unknown>
  stop(options: { readonly graceful: boolean; readonly timeout?: number }): Promise<void>
  createQueue(name: string, options: QueueOptions): Promise<void>
  send(name: string, data: object, options: { readonly db: Executor; readonly singletonKey?: string }): Promise<unknown>
  insert(
    name: string,
    jobs: readonly { readonly data: object; readonly singletonKey?: string }[],
    options: { readonly db: Executor },
  ): Promise<unknown>
  work(name: string, options: WorkOptions, handler: (jobs: readonly Fetched[]) => Promise<unknown>): Promise<unknown>
}

interface BossOptions {
  readonly connectionString: string
  readonly useListenNotify?: boolean
  readonly supervise?: boolean
  readonly superviseIntervalSeconds?: number
  readonly monitorIntervalSeconds?: number
  readonly max?: number
}

interface PgBossPackage {
  readonly PgBoss: new (options: BossOptions & { readonly schedule: false }) => Boss
}

const batchSize = 500
const localConcurrency = 4
/** The least that it allows. */
const pollingIntervalSeconds = 0.5
const stopTimeoutMs = 10_000
/** The least that it allows: so soon it can know that a worker has died. */
const heartbeatSeconds = 10
const monitorSeconds = 5

export const openPgBoss: OpenSystem = async (ordered) => {
  const { PgBoss } = await load<PgBossPackage>('pg-boss')
  const policy = ordered ? 'key_strict_fifo' : 'standard'
  const start = async (options: BossOptions): Promise<Boss> => {
    const boss = new PgBoss({ schedule: false, ...options })
    boss.on('error', (error) => process.stderr.write(`pg-boss: ${error.message}\n`))
    await boss.start()
    return boss
  }
  const keyed = (key: string): { singletonKey?: string } => (ordered ? { singletonKey: key } : {})
  const on = (client: pg.ClientBase): Executor => ({
    executeSql: async (text, values) => await client.query<Record<string, unknown>>(text, values),
  })
  return {
    version: versionOf('pg-boss'),
    settings: `useListenNotify, batchSize ${batchSize}, burstWhenBatchFull, localConcurrency ${localConcurrency}, policy ${policy}${ordered ? `, heartbeatSeconds ${heartbeatSeconds}` : ''}`,
    async prepare(url) {
      const boss = await start({ connectionString: url, supervise: false })
      await boss.createQueue(queueName, { notify: true, policy, retryLimit: 10, ...(ordered ? { heartbeatSeconds } : {}) })
      await boss.stop({ graceful: false })
    },
    async produce(url) {
      const boss = await start({ connectionString: url, supervise: false, max: 2 })
      return {
        async enqueue(client, { key, payload }) {
          await boss.send(queueName, payload, { db: on(client), ...keyed(key) })
        },
        async enqueueMany(client, jobs) {
          const inserts = jobs.map(({ key, payload }) => ({ data: payload, ...keyed(key) }))
          await boss.insert(queueName, inserts, { db: on(client) })
        },
        [Symbol.asyncDispose]: () => boss.stop({ graceful: false }),
      }
    },
    async work(url, { handle }) {
      const soon = { superviseIntervalSeconds: monitorSeconds, monitorIntervalSeconds: monitorSeconds }
      const boss = await start({ connectionString: url, useListenNotify: true, ...(ordered ? soon : {}) })
      const one = async ({ id, data }: Fetched): Promise<Settled> => {
        try {
          await handle(data)
          return { id, status: 'completed' }
        } catch {
          return { id, status: 'failed' }
        }
      }
      await boss.work(
        queueName,
        {
          batchSize,
          localConcurrency,
          burstWhenBatchFull: true,
          pollingIntervalSeconds,
          // A batch holds one job of a key at the most, is never full then, and no notification tells of those that were behind.
          ...(ordered ? { notifyPollingIntervalSeconds: pollingIntervalSeconds } : {}),
          // A result for each job costs more: only where jobs fail.
          perJobResults: ordered,
        },
        (jobs) => (ordered ? Promise.all(jobs.map(one)) : Promise.all(jobs.map(({ data }) => handle(data)))),
      )
      return { [Symbol.asyncDispose]: () => boss.stop({ graceful: true, timeout: stopTimeoutMs }) }
    },
  }
}
