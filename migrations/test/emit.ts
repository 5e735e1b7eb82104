import type { TestDatabase } from '@postrider/test/postgres'

/** A connection of a test database. */
export type Client = Awaited<ReturnType<TestDatabase['client']>>

/** What a test needs of a session. */
export interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

/** `postrider.emit`, as any language calls it; answers the ids in their order. */
export async function emit(session: Session, events: unknown, schema = 'postrider'): Promise<string[]> {
  const { rows } = await session.query(`select ${schema}.emit($1::text::jsonb) as id`, [JSON.stringify(events)])
  return rows.map(({ id }) => String(id))
}

/** The columns of events, in the order of their ids in the list. */
export async function stored(session: Session, ids: readonly string[]): Promise<Record<string, unknown>[]> {
  const { rows } = await session.query(
    `select e.*, e.payload::text as payload_text from unnest($1::uuid[]) with ordinality as wanted (id, nth)
     join postrider.events as e using (id) order by nth, e.position`,
    [ids],
  )
  return rows
}

export interface Refusal {
  readonly code: string | undefined
  readonly message: string
  readonly detail: unknown
}

/** Runs a statement that fails, in a transaction that goes on afterwards, and answers why. */
export async function refusal(session: Session, work: () => Promise<unknown>): Promise<Refusal | null> {
  await session.query('savepoint refusal')
  try {
    await work()
    return null
  } catch (error) {
    await session.query('rollback to refusal')
    const { code, message, detail } = error as Error & { code?: string; detail?: string }
    return { code, message, detail: detail?.startsWith('{') ? JSON.parse(detail) : detail }
  } finally {
    await session.query('release refusal')
  }
}
