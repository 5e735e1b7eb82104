/**
 * pgmq by the SQL that it publishes for servers without its extension, as its Python package carries it: read many with a
 * visibility timeout, delete them by their ids. It has no worker of its own; this one waits in `read_with_poll`.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { queueName, type OpenSystem, type Payload } from './system.ts'

interface Read {
  readonly msg_id: string
  readonly message: Payload
}

/** Where pip puts it. */
export const pgmqFolder: string = join(import.meta.dirname, 'node_modules', '.pgmq')

const readers = 2
const batch = 500
const visibleAgainSeconds = 30
const pollSeconds = 5
const pollMs = 5
const retrySeconds = 1
/** Of messages of one group: the oldest, and none beside it. */
const groupHeader = 'x-pgmq-group'

export const openPgmq: OpenSystem = async (ordered) => {
  const sql = await readFile(join(pgmqFolder, 'pgmq', 'sql', 'pgmq.sql'), 'utf8')
  const version = (await readFile(join(pgmqFolder, 'pgmq', 'sql', 'VERSION'), 'utf8')).trim()
  const connect = async (url: string): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => {}) // the statement that was running rejects
    await client.connect()
    return client
  }
  const read = ordered ? 'read_grouped_head_with_poll' : 'read_with_poll'
  return {
    version,
    settings: `${read} of ${batch} every ${pollMs} ms by ${readers} readers, delete by ids`,
    async prepare(url) {
      const client = await connect(url)
      try {
        await client.query(sql)
        await client.query('select pgmq.create($1)', [queueName])
        if (ordered) await client.query('select pgmq.create_fifo_index($1)', [queueName])
      } finally {
        await client.end()
      }
    },
    produce: async () => ({
      async enqueue(client, { key, payload }) {
        await client.query('select pgmq.send($1, $2::jsonb, $3::jsonb)', [
          queueName,
          JSON.stringify(payload),
          ordered ? JSON.stringify({ [groupHeader]: key }) : null,
        ])
      },
      async enqueueMany(client, jobs) {
        const messages = jobs.map(({ payload }) => JSON.stringify(payload))
        const headers = ordered ? jobs.map(({ key }) => JSON.stringify({ [groupHeader]: key })) : null
        await client.query('select count(*) from pgmq.send_batch($1, $2::jsonb[], $3::jsonb[])', [queueName, messages, headers])
      },
      async [Symbol.asyncDispose]() {},
    }),
    async work(url, { handle }) {
      const stop = new AbortController()
      const clients = await Promise.all(Array.from({ length: readers }, () => connect(url)))
      const loop = async (client: pg.Client): Promise<void> => {
        while (!stop.signal.aborted) {
          const { rows } = await client.query<Read>({
            name: 'read',
            text: `select msg_id, message from pgmq.${read}($1, $2, $3, $4, $5)`,
            values: [queueName, visibleAgainSeconds, batch, pollSeconds, pollMs],
          })
          const results = await Promise.allSettled(rows.map(({ message }) => handle(message)))
          const [done, failed] = [idsOf(rows, results, 'fulfilled'), idsOf(rows, results, 'rejected')]
          if (done.length > 0)
            await client.query({ name: 'delete', text: 'select pgmq.delete($1, $2::bigint[])', values: [queueName, done] })
          if (failed.length > 0)
            await client.query('select pgmq.set_vt($1, $2::bigint[], $3::int)', [queueName, failed, retrySeconds])
        }
      }
      const loops = clients.map((client) => loop(client).catch((error: unknown) => giveUp(error, stop.signal)))
      return {
        async [Symbol.asyncDispose]() {
          stop.abort()
          await Promise.race([Promise.all(loops), sleep(pollSeconds * 1_000)])
          await Promise.all(clients.map((client) => client.end()))
        },
      }
    },
  }
}

function idsOf(rows: readonly Read[], results: readonly PromiseSettledResult<void>[], status: string): string[] {
  return rows.filter((_, index) => results[index]?.status === status).map(({ msg_id }) => msg_id)
}

function giveUp(error: unknown, stopping: AbortSignal): void {
  if (!stopping.aborted) throw error
}
