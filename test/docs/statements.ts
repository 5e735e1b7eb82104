import type pg from 'pg'

export interface Answered {
  readonly statement: string
  readonly rows: readonly Record<string, unknown>[]
}

/** Runs SQL statement by statement, as psql does. A statement ends with a semicolon at the end of a line. */
export async function runStatements(client: pg.Client, sql: string): Promise<Answered[]> {
  const answers: Answered[] = []
  const statements = sql.split(/(?<=;)[ \t]*(?:--.*)?$/m).map((text) => text.trim())
  for (const statement of statements.filter((text) => text !== '')) {
    try {
      const { rows } = await client.query<Record<string, unknown>>(statement)
      answers.push({ statement, rows })
    } catch (error) {
      throw new Error(`${String(error)} in: ${statement}`, { cause: error })
    }
  }
  return answers
}

/** Statements that ask or do something, and found nothing to ask about or to do. */
export function idle(answers: readonly Answered[]): string[] {
  return answers
    .filter(({ statement }) => /^select\b/i.test(statement))
    .filter(({ rows }) => rows.length === 0 || rows.some((row) => row['retry'] === 0 || row['discard'] === 0))
    .map(({ statement }) => statement)
}
