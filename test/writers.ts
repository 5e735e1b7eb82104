import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Written } from './history.ts'
import { bigNumber } from './receiver.ts'

export interface WritersOptions {
  /** Connections that write at the same time. Default 2. */
  readonly connections?: number
  /** Default 20. */
  readonly keys?: number
  /** Transactions in all; default: until they are stopped. */
  readonly total?: number
  /** Pause of each connection between two transactions, in ms. Default 4. */
  readonly pauseMs?: number
  /** Share of the transactions that is held open for up to 50 ms. Default 0.02. */
  readonly slow?: number
}

export interface Writers extends AsyncDisposable {
  /** What was committed, as the writers know. */
  readonly committed: readonly Written[]
  /** Stops after the transactions that are open; throws what a writer failed with. */
  stop(): Promise<void>
  /** Resolves when `total` is reached. */
  readonly done: Promise<void>
}

const rolledBack = 0.1

/**
 * Business transactions as a service makes them: each takes the row of its key, counts it up, and writes an event with that count.
 * So the counts of a key are in the order of its commits, without a gap. Every tenth is rolled back.
 * A writer that lost the server in a transaction asks afterwards what became of it, and goes on.
 */
export async function startWriters(url: string, options: WritersOptions = {}): Promise<Writers> {
  const { connections = 2, keys = 20, total = Infinity, pauseMs = 4, slow = 0.02 } = options
  const committed: Written[] = []
  const stopping = new AbortController()
  let begun = 0
  await prepare(url, keys)

  const write = async (): Promise<void> => {
    let client: pg.Client | undefined
    try {
      while (!stopping.signal.aborted && begun < total) {
        begun++
        const id = randomUUID()
        const key = `key-${Math.floor(Math.random() * keys)}`
        const rollBack = Math.random() < rolledBack
        const hold = Math.random() < slow
        try {
          client ??= await connect(url)
          // One statement is a transaction of its own.
          if (rollBack || hold) await client.query('begin')
          const { rows } = await client.query<{ n: number }>(writeOne(key, id))
          if (hold) await sleep(Math.random() * 50)
          if (rollBack || hold) await client.query(rollBack ? 'rollback' : 'commit')
          if (!rollBack) committed.push({ id, key, n: rows[0]!.n })
        } catch (error) {
          if (!unavailable(error)) throw error
          await client?.end().catch(() => undefined)
          client = undefined
          const found = await askUntilAnswered(url, id)
          if (found !== undefined) committed.push({ id, key, n: found })
        }
        if (pauseMs > 0) await sleep(Math.random() * 2 * pauseMs)
      }
    } finally {
      await client?.end().catch(() => undefined)
    }
  }
  const writing = Promise.all(Array.from({ length: connections }, write))
  const done = writing.then(() => undefined)
  done.catch(() => stopping.abort())
  const stop = async (): Promise<void> => {
    stopping.abort()
    await writing
  }
  return { committed, stop, done, [Symbol.asyncDispose]: () => stop().catch(() => undefined) }
}

const writeOne = (key: string, id: string): pg.QueryConfig => ({
  name: 'write-one',
  text: `with business as (update accounts set n = n + 1 where key = $1 returning key, n)
    select n, postrider.emit(jsonb_build_object('type', 'account.changed', 'id', $2::text, 'key', key,
      'payload', jsonb_build_object('key', key, 'n', n, 'big', ${bigNumber}))) from business`,
  values: [key, id],
})

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, application_name: 'writer' })
  client.on('error', () => {}) // the statement that was running rejects
  await client.connect()
  return client
}

async function prepare(url: string, keys: number): Promise<void> {
  const client = await connect(url)
  try {
    await client.query(
      'create table if not exists accounts (key text primary key, n int not null default 0) with (fillfactor = 20)',
    )
    await client.query(`insert into accounts select 'key-' || i from generate_series(0, $1 - 1) as i on conflict do nothing`, [
      keys,
    ])
  } finally {
    await client.end()
  }
}

/** The session or the server went away; anything else is a fault of the test. */
function unavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  return /^(57P0[123]|08...|ECONN.*|EPIPE)$/.test(code) || /terminated|timeout|not queryable/i.test(error.message)
}

/** Its number if an event was committed. The server itself went down, so no session is still at it. */
async function askUntilAnswered(url: string, id: string): Promise<number | undefined> {
  for (const end = performance.now() + 20_000; ;) {
    try {
      const client = await connect(url)
      try {
        const { rows } = await client.query<{ n: number }>(
          `select (payload ->> 'n')::int as n from postrider.events where id = $1`,
          [id],
        )
        return rows[0]?.n
      } finally {
        await client.end()
      }
    } catch (error) {
      if (performance.now() > end) throw error
      await sleep(50)
    }
  }
}
