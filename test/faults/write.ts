import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { bigNumber } from '../receiver.ts'
import type { Emitted } from './history.ts'
import { textOf } from './payload.ts'
import type { Plan } from './plan.ts'
import type { Random } from './random.ts'
import { transactionsOf, type Emit, type Transaction } from './transaction.ts'

export interface Writers extends AsyncDisposable {
  /** Every event that a writer has begun to write. */
  readonly emitted: readonly Emitted[]
  /** Stops after the transactions that are open; throws what a writer failed with. */
  stop(): Promise<void>
  /** No transaction begins, until `goOn`. Resolves when none is open any more. */
  pause(): Promise<void>
  goOn(): void
  /** Writes one more event to a key, of a size of one's own, now. */
  emit(key: string, pad: number): Promise<void>
}

/** How long a writer tries to get a connection at once. */
const connectMs = 2_000
const againMs = 40

/** Tables of the writers, in a database that has the schema of Postrider. */
export const writersTables = `create table accounts (key text primary key, n int not null default 0) with (fillfactor = 20)`

/**
 * Writers with a connection each, that do what the seed says for as long as they are not stopped. An event whose writer was cut
 * off at its COMMIT stays `unknown`: see {@link resolveUnknown}.
 */
export async function startWriters(url: () => string, plan: Plan, random: Random): Promise<Writers> {
  const emitted: Emitted[] = []
  const gate = new Gate()
  const turns = { next: 1 }
  await bringKeys(url(), plan)
  const all = Array.from({ length: plan.writers }, (_, nr) => new Writer(url, nr, emitted, turns))
  const working = Promise.all(
    all.map(async (writer, nr) => {
      try {
        for (const transaction of transactionsOf(plan, nr, random.stream(`writer ${nr}`))) {
          await sleep(transaction.pauseMs)
          if (!(await gate.enter())) break
          try {
            await writer.perform(transaction)
          } finally {
            gate.leave()
          }
        }
      } finally {
        await writer.close()
      }
    }),
  )
  working.catch(() => gate.close())
  const stop = async (): Promise<void> => {
    gate.close()
    await working
  }
  return {
    emitted,
    stop,
    pause: () => gate.pause(),
    goOn: () => gate.open(),
    async emit(key, pad) {
      const one = new Writer(url, plan.writers + emitted.length, emitted, turns)
      const steps = [{ do: 'emit', id: random.uuid(), key, discipline: 'none', pad, dueInMs: null } as const]
      try {
        await one.perform({ pauseMs: 0, steps, end: 'statement' })
      } finally {
        await one.close()
      }
    },
    [Symbol.asyncDispose]: () => stop().catch(() => undefined),
  }
}

/** What writers that were cut off could not know: the log has the event, or it never will. Where the end of history was lost, both may be. */
export async function resolveUnknown(url: string, emitted: readonly Emitted[], historyLost: boolean): Promise<void> {
  const client = await connect(url)
  try {
    const { rows } = await client.query<{ id: string; n: number }>(`select id, (payload ->> 'n')::int as n from postrider.events`)
    const log = new Map(rows.map(({ id, n }) => [id, n]))
    for (const event of emitted) {
      const n = log.get(event.id)
      if (event.fate === 'unknown') {
        event.fate = n === undefined && !historyLost ? 'rolled back' : n === undefined ? 'unknown' : 'committed'
        event.n ??= n ?? null
        if (event.discipline === 'row' && n !== undefined) event.turn = n
      } else if (event.fate === 'committed' && n === undefined && historyLost) event.fate = 'unknown'
    }
  } finally {
    await client.end()
  }
}

/** Ends what was prepared by writers that were cut off. */
export async function endPrepared(url: string): Promise<void> {
  const client = await connect(url)
  try {
    const { rows } = await client.query<{ gid: string }>('select gid from pg_prepared_xacts where database = current_database()')
    for (const { gid } of rows) await client.query(`commit prepared ${pg.escapeLiteral(gid)}`)
  } finally {
    await client.end()
  }
}

async function bringKeys(url: string, plan: Plan): Promise<void> {
  const client = await connect(url)
  try {
    await client.query(`insert into accounts select 'row-' || nr from generate_series(0, $1 - 1) as nr on conflict do nothing`, [
      plan.keys,
    ])
  } finally {
    await client.end()
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: connectMs, application_name: 'writer' })
  client.on('error', () => {}) // the statement that was running rejects
  await client.connect()
  return client
}

class Writer {
  readonly #url: () => string
  readonly #nr: number
  readonly #emitted: Emitted[]
  readonly #turns: { next: number }
  #client: pg.Client | undefined
  /** Prepared, and nobody knows whether it was ended. */
  #inDoubt: string | null = null
  #prepared = 0

  constructor(url: () => string, nr: number, emitted: Emitted[], turns: { next: number }) {
    this.#url = url
    this.#nr = nr
    this.#emitted = emitted
    this.#turns = turns
  }

  /** Does what it can of a transaction; the events know what became of them. Throws only what no fault explains. */
  async perform(transaction: Transaction): Promise<void> {
    const mine: Emitted[] = []
    /** From here on it may be committed, whatever we are told. */
    let doubtful = false
    try {
      const client = (this.#client ??= await connect(this.#url()))
      await this.#endDoubt(client)
      if (transaction.end === 'statement') {
        const [step] = transaction.steps
        if (step?.do !== 'emit') throw new TypeError('a statement that emits nothing')
        const event = this.#begin(step)
        mine.push(event)
        doubtful = true
        await this.#emit(client, event, step)
        settleFates(mine, 'committed')
        return
      }
      await this.#steps(client, transaction, mine)
      switch (transaction.end) {
        case 'commit':
          doubtful = true
          await client.query('commit')
          return settleFates(mine, 'committed')
        case 'rollback':
          await client.query('rollback')
          return settleFates(mine, 'rolled back')
        case 'commit prepared':
        case 'rollback prepared':
          await this.#prepare(client, transaction.end, mine, () => (doubtful = true))
          return
        case 'cut':
          await this.#cut()
          return settleFates(mine, 'rolled back')
        case 'cut at commit':
          doubtful = true
          client.query('commit').catch(() => undefined)
          await this.#cut()
      }
    } catch (error) {
      if (!explained(error)) throw error
      const refused = error instanceof pg.DatabaseError && !/^(57P|08|58|XX)/.test(error.code ?? '')
      if (!doubtful || refused) settleFates(mine, 'rolled back')
      await this.#cut()
      await sleep(againMs)
    }
  }

  async close(): Promise<void> {
    await this.#client?.end().catch(() => undefined)
  }

  async #steps(client: pg.Client, { steps, end }: Transaction, mine: Emitted[]): Promise<void> {
    await client.query(end.endsWith('prepared') ? 'begin; set local postrider.wake = off' : 'begin')
    let saved: number | null = null
    for (const step of steps) {
      switch (step.do) {
        case 'hold':
          await sleep(step.ms)
          break
        case 'savepoint':
          await client.query('savepoint s')
          saved = mine.length
          break
        case 'rollback to':
          if (saved === null) break
          await client.query('rollback to s')
          settleFates(mine.splice(saved), 'rolled back')
          break
        case 'emit': {
          const event = this.#begin(step)
          mine.push(event)
          await this.#emit(client, event, step)
          // Whoever holds the lock comes before whoever gets it next.
          if (step.discipline === 'commit') event.turn = this.#turns.next++
        }
      }
    }
  }

  async #prepare(
    client: pg.Client,
    end: 'commit prepared' | 'rollback prepared',
    mine: readonly Emitted[],
    doubt: () => void,
  ): Promise<void> {
    // Identifiers are those of the cluster, not of a database.
    const gid = `${client.database ?? ''}-${this.#nr}-${this.#prepared++}`
    doubt()
    this.#inDoubt = end === 'commit prepared' ? gid : null
    await client.query(`prepare transaction '${gid}'`)
    this.#inDoubt = gid
    await client.query(`${end} '${gid}'`)
    this.#inDoubt = null
    settleFates(mine, end === 'commit prepared' ? 'committed' : 'rolled back')
  }

  /** Its locks must not stay until the end of the run. */
  async #endDoubt(client: pg.Client): Promise<void> {
    if (this.#inDoubt === null) return
    const { rows } = await client.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database() and gid = $1',
      [this.#inDoubt],
    )
    if (rows.length > 0) await client.query(`commit prepared '${this.#inDoubt}'`)
    this.#inDoubt = null
  }

  #begin({ id, key, discipline, pad, dueInMs }: Emit): Emitted {
    const began = Date.now()
    const event: Emitted = {
      id,
      key,
      discipline,
      pad,
      began,
      dueAt: dueInMs === null ? null : began + dueInMs,
      n: discipline === 'row' ? null : this.#turns.next++,
      turn: null,
      ended: null,
      fate: 'unknown',
    }
    this.#emitted.push(event)
    return event
  }

  async #emit(client: pg.Client, event: Emitted, step: Emit): Promise<void> {
    const { id, key, n } = event
    const more = {
      ...(event.dueAt === null ? {} : { deliver_at: new Date(event.dueAt).toISOString() }),
      ...(step.discipline === 'commit' ? { order: 'commit' } : {}),
    }
    const { rows } = await client.query<{ n: number }>({
      text: `with business as (${step.discipline === 'row' ? 'update accounts set n = n + 1 where key = $2 returning n' : 'select $3::int as n'})
        select n, postrider.emit($4::jsonb || jsonb_build_object('type', 'account.changed', 'source', 'faults', 'id', $1::text, 'key', $2::text,
          'payload', jsonb_build_object('n', n, 'id', $1::text, 'big', ${bigNumber}, 'key', coalesce($2::text, 'none'), 'text', $${step.discipline === 'row' ? 3 : 5}::text)))
        from business`,
      values:
        step.discipline === 'row'
          ? [id, key, textOf(step.pad), JSON.stringify(more)]
          : [id, key, n, JSON.stringify(more), textOf(step.pad)],
    })
    event.n = rows[0]!.n
    if (step.discipline === 'row') event.turn = event.n
  }

  async #cut(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    if (client === undefined) return
    ;(client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
    await client.end().catch(() => undefined)
  }
}

function settleFates(events: readonly Emitted[], fate: 'committed' | 'rolled back'): void {
  const ended = Date.now()
  for (const event of events) {
    event.fate = fate
    event.ended = ended
  }
}

/** The session or the server went away, is out of something, or takes no writes; anything else is a fault of these writers. */
function explained(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  if (error instanceof pg.DatabaseError) return /^(57|08|53|55|58|40)|^25006$/.test(code)
  return /^(ECONN.*|EPIPE|ETIMEDOUT)$/.test(code) || /terminated|timeout|not queryable|closed/i.test(error.message)
}

/** Lets writers in one by one, keeps them out for a while, or for good. */
class Gate {
  #inside = 0
  #state: 'open' | 'paused' | 'closed' = 'open'

  /** False: there is nothing more to do. */
  async enter(): Promise<boolean> {
    while (this.#state === 'paused') await sleep(5)
    if (this.#state === 'closed') return false
    this.#inside++
    return true
  }

  leave(): void {
    this.#inside--
  }

  open(): void {
    if (this.#state === 'paused') this.#state = 'open'
  }

  close(): void {
    this.#state = 'closed'
  }

  async pause(): Promise<void> {
    if (this.#state === 'open') this.#state = 'paused'
    while (this.#inside > 0) await sleep(5)
  }
}
