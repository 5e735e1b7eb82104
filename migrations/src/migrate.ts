import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { checkedName, migrations, roles, type Migration } from './files.ts'

/** One database session, such as a connected `pg` Client; not a pool, because a session lock is held throughout. */
export interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

export interface MigrateOptions {
  /** Name of the PostgreSQL schema. Default `postrider`. */
  readonly schema?: string
  /** Also create the roles `postrider_writer`, `postrider_relay`, `postrider_viewer` and their grants. Default false. */
  readonly roles?: boolean
  /** How long one statement may wait for a lock before its migration steps back and tries again. Default 2,000 ms. */
  readonly lockTimeoutMs?: number
  /** How long to go on trying, in all. Default 60,000 ms. */
  readonly deadlineMs?: number
  /** Told the name of each migration when it has been applied. */
  readonly onApplied?: (name: string) => void
}

export interface MigrationStatus {
  readonly name: string
  /** Null when it is pending. */
  readonly appliedAt: Date | null
}

/**
 * Applies what is pending, each migration in a transaction of its own, and returns the names applied.
 * Safe to run twice, and from two machines at once: a session lock lets one of them work, the other finds nothing to do.
 *
 * @throws PostriderError `migration_locked` when a lock was not free within the deadline;
 *   `schema_changed` when an applied migration differs from its file; `invalid_options` for the schema name.
 */
export async function migrate(session: Session, options: MigrateOptions = {}): Promise<string[]> {
  const schema = checkedName(options.schema ?? 'postrider')
  const until = Date.now() + (options.deadlineMs ?? 60_000)
  const lockTimeoutMs = options.lockTimeoutMs ?? 2_000
  const applied: string[] = []

  await refuseKeyword(session, schema)
  await takeLock(session, schema, until)
  try {
    await run(session, foundation(schema), lockTimeoutMs, until)
    for (const migration of await pendingOf(session, schema)) {
      await apply(session, schema, migration, lockTimeoutMs, until)
      applied.push(migration.name)
      options.onApplied?.(migration.name)
    }
    if (options.roles === true) await run(session, roles(schema).sql, lockTimeoutMs, until)
  } finally {
    // On a session that broke, the lock is gone already, and the error that broke it is the one to tell.
    await session.query('select pg_advisory_unlock(hashtextextended($1, 0))', [`${schema}.migrate`]).catch(() => undefined)
  }
  return applied
}

/** Every migration of this release and when it was applied; changes nothing. */
export async function migrationStatus(
  session: Session,
  options: Pick<MigrateOptions, 'schema'> = {},
): Promise<MigrationStatus[]> {
  const schema = checkedName(options.schema ?? 'postrider')
  const done = await appliedOf(session, schema)
  return migrations(schema).map(({ name }) => ({ name, appliedAt: done.get(name)?.appliedAt ?? null }))
}

/**
 * The SQL that `migrate` would run now, for a person to read, or to run with psql (one transaction per migration).
 * Without a session: everything, as on an empty database.
 */
export async function migrationPlan(
  session: Session | null,
  options: Pick<MigrateOptions, 'schema' | 'roles'> = {},
): Promise<string> {
  const schema = checkedName(options.schema ?? 'postrider')
  const pending = session === null ? migrations(schema) : await pendingOf(session, schema)
  const parts = pending.map(
    ({ name, sql, checksum }) => `-- ${name}\nbegin;\n${sql}\n${recordOf(schema, name, checksum)};\ncommit;\n`,
  )
  if (parts.length > 0) {
    parts.unshift(foundation(schema))
  }
  if (options.roles === true) parts.push(roles(schema).sql)
  return parts.join('\n')
}

async function pendingOf(session: Session, schema: string): Promise<Migration[]> {
  const done = await appliedOf(session, schema)
  const all = migrations(schema)
  for (const { name, checksum } of all) {
    const stored = done.get(name)
    if (stored !== undefined && stored.checksum !== checksum) {
      throw new PostriderError(
        'schema_changed',
        `migration ${name} was applied with another content (checksum ${stored.checksum})`,
        {
          path: name,
        },
      )
    }
  }
  return all.filter(({ name }) => !done.has(name))
}

async function appliedOf(session: Session, schema: string): Promise<Map<string, { checksum: string; appliedAt: Date }>> {
  const exists = await session.query('select to_regclass($1) is not null as yes', [`${schema}.migrations`])
  if (exists.rows[0]?.['yes'] !== true) return new Map()
  const { rows } = await session.query(`select name, checksum, applied_at from ${schema}.migrations`)
  return new Map(
    rows.map((row) => [String(row['name']), { checksum: String(row['checksum']), appliedAt: row['applied_at'] as Date }]),
  )
}

async function apply(
  session: Session,
  schema: string,
  { name, sql, checksum }: Migration,
  lockTimeoutMs: number,
  until: number,
): Promise<void> {
  await run(session, `${sql};\n${recordOf(schema, name, checksum)}`, lockTimeoutMs, until)
}

/** What has to be there before the first migration can be recorded; needs no right to create what is there. */
function foundation(schema: string): string {
  return `do $$ begin
  if to_regnamespace('${schema}') is null then
    create schema ${schema};
  end if;
  if to_regclass('${schema}.migrations') is null then
    create table ${schema}.migrations
      (name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp());
  end if;
end $$;
`
}

function recordOf(schema: string, name: string, checksum: string): string {
  return `insert into ${schema}.migrations (name, checksum) values ('${name}', '${checksum}')`
}

/** Runs SQL in one transaction; steps back and tries again while a lock is not to be had, so that nobody queues behind it for long. */
async function run(session: Session, sql: string, lockTimeoutMs: number, until: number): Promise<void> {
  for (;;) {
    try {
      await session.query('begin isolation level read committed')
      await session.query(`set local lock_timeout = ${Math.max(1, Math.min(lockTimeoutMs, until - Date.now()))}`)
      await session.query(sql)
      await session.query('commit')
      return
    } catch (error) {
      await session.query('rollback').catch(() => undefined)
      if (!isLocked(error)) throw error
      if (Date.now() >= until) {
        throw new PostriderError('migration_locked', 'a table that the migration changes stayed locked', {}, { cause: error })
      }
      await sleep(Math.min(250, Math.max(0, until - Date.now())))
    }
  }
}

async function takeLock(session: Session, schema: string, until: number): Promise<void> {
  for (;;) {
    const { rows } = await session.query('select pg_try_advisory_lock(hashtextextended($1, 0)) as taken', [`${schema}.migrate`])
    if (rows[0]?.['taken'] === true) return
    if (Date.now() >= until) throw new PostriderError('migration_locked', 'another migration is still running')
    await sleep(Math.min(100, Math.max(0, until - Date.now())))
  }
}

/** A keyword is a plain identifier, and no name without quotes. PostgreSQL knows its own. */
async function refuseKeyword(session: Session, schema: string): Promise<void> {
  const { rows } = await session.query('select quote_ident($1) as quoted', [schema])
  if (rows[0]?.['quoted'] !== schema || schema.startsWith('pg_')) {
    throw new PostriderError('invalid_options', `schema name "${schema}" is reserved by PostgreSQL`, {
      path: 'schema',
      actual: schema,
    })
  }
}

/** Not in time, or a deadlock that PostgreSQL ended at our cost. */
function isLocked(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '55P03' || error.code === '40P01')
}
