import { sql } from 'kysely'
import type { Database } from './connect.ts'
import type { Filter } from './filter.ts'

export type OperationKind = 'retry' | 'discard' | 'skip' | 'replay'

/** An operation as it stands in the database. Counts are whole numbers below 2^53. */
export interface Operation {
  readonly id: string
  readonly kind: OperationKind
  readonly state: 'pending' | 'running' | 'done' | 'cancelled' | 'failed'
  readonly filter: Filter
  /** Of a replay: where the events go. */
  readonly sink: string | null
  readonly asNew: boolean
  /** Events in a second, or null. */
  readonly rate: number | null
  readonly actor: string
  readonly reason: string | null
  readonly total: number
  /** False: `total` is what was counted in the time that counting may take. */
  readonly countedAll: boolean
  readonly done: number
  readonly skipped: number
  /** A replay that waits until more of its events are delivered. */
  readonly waiting: boolean
  readonly error: string | null
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

/** What an operation is to do. */
export interface Request {
  readonly kind: OperationKind
  readonly filter: Filter
  readonly sink: string | null
}

export interface Preview {
  readonly counted: number
  readonly countedAll: boolean
  readonly sample: readonly Sample[]
}

interface Sample {
  readonly sink: string
  readonly event_id: string
  readonly type: string | null
  readonly key: string | null
  readonly created_at: string
  readonly state?: string
  readonly error_code?: string | null
  readonly error?: string | null
}

export interface Order extends Request {
  readonly reason: string | null
  readonly rate: number | null
  readonly asNew: boolean
  readonly actor: string
}

interface Row {
  readonly id: string | null
  readonly kind: OperationKind
  readonly state: Operation['state']
  readonly filter: Filter
  readonly sink: string | null
  readonly as_new: boolean
  readonly rate: number | null
  readonly actor: string
  readonly reason: string | null
  readonly total: string
  readonly counted_all: boolean
  readonly done: string
  readonly skipped: string
  readonly waiting: boolean
  readonly error: string | null
  readonly created_at: Date
  readonly started_at: Date | null
  readonly finished_at: Date | null
}

/** What operators do with everything that matches a filter; `postrider.operations` and its functions, for commands. */
export class Operations {
  readonly #database: Database
  readonly #schema: string

  constructor(database: Database, schema: string) {
    this.#database = database
    this.#schema = schema
  }

  /** How many it would concern, and some of them; changes nothing. */
  async preview({ kind, filter, sink }: Request): Promise<Preview> {
    const [row] = await this.#rows<{ counted: string; counted_all: boolean; sample: readonly Sample[] }>(
      sql`${sql.ref(`${this.#schema}.preview_operation`)}(${kind}, ${JSON.stringify(filter)}::jsonb, ${sink})`,
    )
    if (row === undefined) throw new TypeError('a preview without a row')
    return { counted: Number(row.counted), countedAll: row.counted_all, sample: row.sample }
  }

  async start({ kind, filter, sink, reason, rate, asNew, actor }: Order): Promise<Operation> {
    return must(
      await this.#one(
        sql`${sql.ref(`${this.#schema}.start_operation`)}
          (${kind}, ${JSON.stringify(filter)}::jsonb, ${reason}, ${sink}, ${rate}::real, ${asNew}, ${actor})`,
      ),
    )
  }

  async read(id: string): Promise<Operation | null> {
    return await this.#one(sql`(select * from ${sql.ref(`${this.#schema}.operations`)} where id = ${id}::bigint)`)
  }

  /** Those that have not ended first, then the newest. */
  async list(limit: number): Promise<Operation[]> {
    const rows = await this.#rows<Row>(
      sql`(select * from ${sql.ref(`${this.#schema}.operations`)}
        order by state in ('pending', 'running') desc, id desc limit ${limit})`,
    )
    return rows.map(operationOf)
  }

  /** Does the next piece; null when it has ended, or somebody else is at it. */
  async advance(id: string, budget: number): Promise<Operation | null> {
    return await this.#one(sql`${sql.ref(`${this.#schema}.advance_operation`)}(${id}::bigint, ${budget}::int)`)
  }

  async cancel(id: string, actor: string, reason: string | null): Promise<Operation | null> {
    return await this.#one(sql`${sql.ref(`${this.#schema}.cancel_operation`)}(${id}::bigint, ${actor}, ${reason})`)
  }

  /** Events of a replay that are not delivered yet; 10,001 means more than 10,000. */
  async underWay(id: string): Promise<number> {
    const [row] = await this.#rows<{ n: string }>(sql`(select ${sql.ref(`${this.#schema}.under_way`)}(${id}::bigint) as n)`)
    return Number(row?.n ?? 0)
  }

  /** Whether a relay has been seen in the last 30 seconds: three times the longest pause between two signs of life. */
  async relayIsAlive(): Promise<boolean> {
    const [row] = await this.#rows<{ alive: boolean }>(
      sql`(select exists (
        select from ${sql.ref(`${this.#schema}.relays`)} where seen_at > clock_timestamp() - interval '30 seconds') as alive)`,
    )
    return row?.alive ?? false
  }

  async #one(source: ReturnType<typeof sql>): Promise<Operation | null> {
    const [row] = await this.#rows<Row>(source)
    return row === undefined || row.id === null ? null : operationOf(row)
  }

  async #rows<T>(source: ReturnType<typeof sql>): Promise<readonly T[]> {
    return await this.#database.transaction(async (trx) => {
      const { rows } = await sql<T>`select * from ${source} as found`.execute(trx)
      return rows
    })
  }
}

function must(operation: Operation | null): Operation {
  if (operation === null) throw new TypeError('an operation that was created is not there')
  return operation
}

function operationOf(row: Row): Operation {
  return {
    id: String(row.id),
    kind: row.kind,
    state: row.state,
    filter: row.filter,
    sink: row.sink,
    asNew: row.as_new,
    rate: row.rate,
    actor: row.actor,
    reason: row.reason,
    total: Number(row.total),
    countedAll: row.counted_all,
    done: Number(row.done),
    skipped: Number(row.skipped),
    waiting: row.waiting,
    error: row.error,
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  }
}

export function hasEnded({ state }: Operation): boolean {
  return state !== 'pending' && state !== 'running'
}

/** `1,234`, or `at least 1,234`. */
export function wordCount(count: number, all: boolean): string {
  return `${all ? '' : 'at least '}${count.toLocaleString('en')}`
}

const doneWords = { retry: 'sent again', discard: 'given up', skip: 'given up', replay: 'on their way once more' } as const

/** `operation 12 (retry): done; 1,234 sent again, 3 skipped` */
export function wordOperation(operation: Operation): string {
  const { id, kind, state, done, skipped, error } = operation
  const counts = [
    `${done.toLocaleString('en')} ${doneWords[kind]}`,
    ...(skipped === 0 ? [] : [`${skipped.toLocaleString('en')} skipped`]),
  ].join(', ')
  return `operation ${id} (${kind}): ${state}; ${counts}${error === null ? '' : `: ${error}`}`
}
