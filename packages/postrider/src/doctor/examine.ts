import type pg from 'pg'
import { openSession } from '../connect.ts'
import type { Settings } from '../config.ts'
import { ok, standardThresholds, warn, type Check, type Finding, type Patient, type Thresholds } from './check.ts'

/** A finding, and whose it is. */
export interface Result extends Finding {
  readonly name: string
}

/** No question takes longer; what does is a finding of its own. */
const statementMs = 10_000

/**
 * Asks every question and answers what was found; changes nothing. A question that cannot be answered is a warning, and the
 * others go on.
 * @throws PostriderError `database_unavailable`
 */
export async function examine(
  settings: Pick<Settings, 'database' | 'schema'>,
  checks: readonly Check[],
  thresholds: Thresholds = standardThresholds,
): Promise<Result[]> {
  const { database, schema } = settings
  // By the way that relays take, which may lead through a pooler.
  await using session = await openSession({ database: { ...database, directUrl: false }, schema }, 'doctor')
  const patient: Patient = {
    schema,
    url: database.url,
    directUrl: database.directUrl,
    thresholds,
    ask: (text, values) => ask(session, text.replaceAll(/\bpostrider\./g, `${schema}.`), values),
  }
  const results: Result[] = []
  let hasSchema = true
  for (const check of checks) {
    const finding = check.needsSchema && !hasSchema ? ok('not looked at: migrations come first') : await lookAt(check, patient)
    if (check.name === 'migrations' && finding.state === 'fail') hasSchema = false
    results.push({ name: check.name, ...finding })
  }
  return results
}

async function lookAt(check: Check, patient: Patient): Promise<Finding> {
  try {
    return await check.look(patient)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    const message = `cannot be told: ${error instanceof Error ? error.message : String(error)}`
    if (code === '42501')
      return warn(message, 'Connect as a role that may look: grant postrider_viewer to it, or postrider_relay.')
    if (code === '57014')
      return warn(
        `cannot be told: the database took more than ${statementMs / 1_000} s to answer`,
        'Ask again when it is less busy.',
      )
    return warn(message, 'Mend what the checks before this one have found, and ask again.')
  }
}

/** A transaction for each statement, so that a pooler does not hand our settings to somebody else. */
async function ask<Row>(session: pg.Client, text: string, values?: readonly unknown[]): Promise<Row[]> {
  await session.query('begin read only')
  try {
    await session.query(`set local statement_timeout = ${statementMs}`)
    const { rows } = await session.query(text, values === undefined ? undefined : [...values])
    return rows as Row[]
  } finally {
    await session.query('rollback')
  }
}
