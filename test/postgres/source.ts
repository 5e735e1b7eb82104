/** Where the PostgreSQL of the tests comes from. This is the only place that decides it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import pg from 'pg'
import { startPostgres, type PostgresVersion } from './embedded.ts'
import { testSettings } from './settings.ts'

/** A server of one's own, as a URL whose role may create databases; the tests then run on that server alone. */
export const givenUrl: string | undefined = process.env['POSTRIDER_TEST_DATABASE_URL'] || undefined

export interface Source extends AsyncDisposable {
  readonly url: string
}

/** A server of the environment if one is given, else a container where Docker answers, else the embedded binaries. */
export async function openSource(version: PostgresVersion | 'given'): Promise<Source> {
  if (givenUrl !== undefined) return { url: givenUrl, [Symbol.asyncDispose]: async () => {} }
  if (version === 'given') throw new Error('POSTRIDER_TEST_DATABASE_URL is not set')
  if (await dockerAnswers()) {
    try {
      return await startContainer(version)
    } catch (error) {
      console.warn(
        `PostgreSQL ${version} in a container did not start (${String(error)}); the embedded binaries are used instead.`,
      )
    }
  }
  return startPostgres({ version })
}

/** Major version of the server behind a URL. */
export async function serverVersion(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  await client.connect()
  try {
    const { rows } = await client.query<{ version: number }>(
      `select current_setting('server_version_num')::int / 10000 as version`,
    )
    return rows[0]!.version
  } finally {
    await client.end()
  }
}

/** Whether an engine answers, not only whether a client is installed. */
async function dockerAnswers(): Promise<boolean> {
  try {
    await promisify(execFile)('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 2000 })
    return true
  } catch {
    return false
  }
}

async function startContainer(version: PostgresVersion): Promise<Source> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql')
  const settings = { ...testSettings, listen_addresses: '*' } // Docker forwards a port of the host to it
  const command = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const container = await new PostgreSqlContainer(`postgres:${version}`)
    .withCommand(['postgres', ...command])
    .withStartupTimeout(120_000)
    .start()
  return { url: container.getConnectionUri(), [Symbol.asyncDispose]: async () => void (await container.stop()) }
}
