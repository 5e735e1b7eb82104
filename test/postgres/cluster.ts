/** Vitest's global set-up: one cluster for each project that runs, with one migrated database as a template. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { openSource, serverVersion } from './source.ts'
import type { PostgresVersion } from './embedded.ts'

/** What the tests of a project are told about its cluster. */
export interface Cluster {
  /** Of a role that may create databases. */
  readonly url: string
  readonly version: number
  /** A database with the schema of Postrider that nobody is connected to. */
  readonly template: string
  /** Why the template is empty, when migrating it failed. */
  readonly migrationError?: string
}

declare module 'vitest' {
  export interface ProvidedContext {
    /** Which PostgreSQL the project asks for. */
    postgresVersion: PostgresVersion | 'given'
    postgres: Cluster
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const source = await openSource(project.getProvidedContext().postgresVersion)
  const template = `postrider_template_${randomBytes(4).toString('hex')}`
  const version = await serverVersion(source.url)
  await administer(source.url, `create database ${template} encoding 'UTF8' lc_collate 'C' lc_ctype 'C' template template0`)
  const migrationError = await migrateTemplate(databaseUrl(source.url, template))
  await administer(source.url, `alter database ${template} with allow_connections false`) // a stray session would bar its use as a template
  project.provide('postgres', { url: source.url, version, template, ...(migrationError && { migrationError }) })
  return async () => {
    await administer(source.url, `drop database ${template} with (force)`)
    await source[Symbol.asyncDispose]()
  }
}

/** The same server and role, another database. */
export function databaseUrl(url: string, database: string): string {
  const other = new URL(url)
  other.pathname = `/${database}`
  return other.href
}

/** Runs statements on the maintenance database, one by one. */
export async function administer(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  client.on('error', () => {}) // the statement that was running rejects
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end().catch(() => {})
  }
}

/** The error is handed to the tests that want a migrated database, so that the tests of the migrations themselves still run. */
async function migrateTemplate(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { migrate } = await import('@postrider/migrations')
    await migrate(client, { schema: 'postrider' })
    return undefined
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  } finally {
    await client.end()
  }
}
