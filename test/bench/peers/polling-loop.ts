/** What many services write themselves: a table, and loops that lock one row, do it, and delete it. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { OpenSystem, Payload } from './system.ts'

const loops = 10
const pollMs = 10

export const openPollingLoop: OpenSystem = async () => ({
  version: '–',
  settings: `${loops} loops, one row each, every ${pollMs} ms when there is none`,
  async prepare(url) {
    const client = new pg.Client(url)
    await client.connect()
    try {
      await client.query(
        'create table jobs (id bigint generated always as identity primary key, key text, payload jsonb not null)',
      )
    } finally {
      await client.end()
    }
  },
  produce: async () => ({
    async enqueue(client, { key, payload }) {
      await client.query('insert into jobs (key, payload) values ($1, $2)', [key, JSON.stringify(payload)])
    },
    async enqueueMany(client, jobs) {
      await client.query(
        `insert into jobs (key, payload) select job ->> 'key', job -> 'payload' from jsonb_array_elements($1::jsonb) as job`,
        [JSON.stringify(jobs)],
      )
    },
    async [Symbol.asyncDispose]() {},
  }),
  async work(url, { handle }) {
    const stop = new AbortController()
    const pool = new pg.Pool({ connectionString: url, max: loops })
    pool.on('error', () => {}) // the statement that was running rejects
    const loop = async (): Promise<void> => {
      const client = await pool.connect()
      while (!stop.signal.aborted) {
        await client.query('begin')
        const { rows } = await client.query<{ id: string; payload: Payload }>({
          name: 'lock',
          text: 'select id, payload from jobs order by id limit 1 for update skip locked',
        })
        const [row] = rows
        let failed = false
        if (row !== undefined) {
          await handle(row.payload).catch(() => {
            failed = true
          })
          if (!failed) await client.query({ name: 'delete', text: 'delete from jobs where id = $1', values: [row.id] })
        }
        await client.query(failed ? 'rollback' : 'commit')
        if (row === undefined || failed) await sleep(pollMs)
      }
      client.release()
    }
    const running = Promise.all(Array.from({ length: loops }, loop))
    running.catch((error: unknown) => {
      if (!stop.signal.aborted) throw error
    })
    return {
      async [Symbol.asyncDispose]() {
        stop.abort()
        await running
        await pool.end()
      },
    }
  },
})
