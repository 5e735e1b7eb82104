/** graphile-worker, batching on, as https://worker.graphile.org/docs/performance has it for its own figures. */
import { load, versionOf } from './load.ts'
import { queueName, type OpenSystem, type Payload } from './system.ts'

interface Options {
  readonly preset: {
    readonly worker: {
      readonly connectionString: string
      readonly concurrentJobs: number
      readonly maxPoolSize: number
      readonly localQueue: { readonly size: number }
      readonly completeJobBatchDelay: number
      readonly failJobBatchDelay: number
    }
  }
  readonly logger: object
  readonly noHandleSignals: true
  readonly taskList?: Readonly<Record<string, (payload: Payload) => Promise<void>>>
}

interface GraphileWorker {
  readonly Logger: new (factory: () => () => void) => object
  readonly run: (options: Options) => Promise<{ stop(): Promise<void> }>
  readonly runMigrations: (options: Options) => Promise<void>
}

/** For jobs that wait for nothing: what it has for its own figures. */
const concurrentJobs = 24

export const openGraphileWorker: OpenSystem = async (ordered) => {
  const { Logger, run, runMigrations } = await load<GraphileWorker>('graphile-worker')
  const optionsOf = (connectionString: string, atOnce: number): Options => ({
    preset: {
      worker: {
        connectionString,
        concurrentJobs: atOnce,
        // Its rule: two more than there are jobs at once, and 10 at least.
        maxPoolSize: Math.max(10, atOnce + 2),
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    logger: new Logger(() => () => {}),
    noHandleSignals: true,
  })
  const queueOf = (job: string): string => (ordered ? `${job} ->> 'key'` : 'null')
  return {
    version: versionOf('graphile-worker'),
    settings: `localQueue 500, completeJobBatchDelay 0, failJobBatchDelay 0${ordered ? ', a named queue for each key' : ''}`,
    prepare: (url) => runMigrations(optionsOf(url, 1)),
    produce: async () => ({
      async enqueue(client, { key, payload }) {
        await client.query('select graphile_worker.add_job($1, $2::json, queue_name => $3)', [
          queueName,
          JSON.stringify(payload),
          ordered ? key : null,
        ])
      },
      async enqueueMany(client, jobs) {
        await client.query(
          `select count(*) from graphile_worker.add_jobs((
             select array_agg(row($1, job -> 'payload', ${queueOf('job')}, null, null, null, null, null)::graphile_worker.job_spec)
             from json_array_elements($2::json) as job))`,
          [queueName, JSON.stringify(jobs)],
        )
      },
      async [Symbol.asyncDispose]() {},
    }),
    async work(url, { handle, target, concurrency }) {
      const runner = await run({
        ...optionsOf(url, target === null ? concurrentJobs : concurrency),
        taskList: { [queueName]: handle },
      })
      return { [Symbol.asyncDispose]: () => runner.stop() }
    },
  }
}
