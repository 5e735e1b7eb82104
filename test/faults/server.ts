import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { administer, databaseUrl } from '../postgres/cluster.ts'
import { startPostgres, type PostgresServer } from '../postgres/index.ts'
import { fenceAudit } from './fences.ts'
import { writersTables } from './write.ts'

/** The role of relays: with no more rights than they need, so that faults can be for them alone. */
export const relayRole = 'faults_relay'

/** So few connections that they can be used up. */
const settings = { max_connections: 110, superuser_reserved_connections: 30, max_wal_senders: 5, wal_level: 'replica' }

/** A server that can be stopped and started again, on the same port and with the same data. */
export class Server implements AsyncDisposable {
  readonly dataDir: string
  readonly binaries: string | undefined
  readonly #settings: Readonly<Record<string, string | number | boolean>>
  #running: PostgresServer

  private constructor(
    running: PostgresServer,
    binaries: string | undefined,
    more: Readonly<Record<string, string | number | boolean>>,
  ) {
    this.#running = running
    this.dataDir = running.dataDir
    this.binaries = binaries
    this.#settings = more
  }

  /** @param dataDir made and filled when it is missing; whoever gives it removes it */
  static async start(
    dataDir: string,
    binaries?: string,
    more: Readonly<Record<string, string | number | boolean>> = {},
  ): Promise<Server> {
    const options = { dataDir, settings: { ...settings, ...more }, ...(binaries === undefined ? {} : { binaries }) }
    return new Server(await startPostgres(options), binaries, more)
  }

  get port(): number {
    return this.#running.port
  }

  /** Of a superuser, to the maintenance database. */
  get url(): string {
    return this.#running.url
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#running.stop(mode)
  }

  async startAgain(): Promise<void> {
    const { dataDir, port, binaries } = this
    this.#running = await startPostgres({
      dataDir,
      port,
      settings: { ...settings, ...this.#settings },
      ...(binaries === undefined ? {} : { binaries }),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running.stop('immediate')
  }
}

/** A database on a server that runs share, from a template that is made once. */
export class Databases {
  readonly #url: string
  #template: Promise<string> | undefined
  #making: Promise<void> = Promise.resolve()

  constructor(url: string) {
    this.#url = url
  }

  async create(name: string, tablespace = 'pg_default'): Promise<string> {
    const template = await (this.#template ??= this.#makeTemplate())
    // A template can be copied by one at a time.
    const made = this.#making.then(() =>
      administer(this.#url, `create database ${name} template ${template} tablespace ${tablespace}`),
    )
    this.#making = made.catch(() => undefined)
    await made
    return databaseUrl(this.#url, name)
  }

  async #makeTemplate(): Promise<string> {
    const name = 'faults_template'
    await administer(this.#url, `create database ${name} template template0`)
    await prepareDatabase(databaseUrl(this.#url, name))
    return name
  }
}

/** The schema of Postrider, the tables of the writers, and what watches the fences. */
export async function prepareDatabase(url: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await migrate(client, { roles: true })
    await client.query(writersTables)
    await client.query(fenceAudit)
    await client.query(
      `do $$ begin if not exists (select from pg_roles where rolname = '${relayRole}') then create role ${relayRole} login; end if; end $$`,
    )
    await client.query(`grant postrider_relay to ${relayRole}`)
  } finally {
    await client.end()
  }
}

/** Drops a database, whoever is connected and whatever is prepared in it. */
export async function dropDatabase(adminUrl: string, url: string): Promise<void> {
  const name = new URL(url).pathname.slice(1)
  const client = new pg.Client(url)
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ gid: string }>('select gid from pg_prepared_xacts where database = current_database()')
    for (const { gid } of rows) await client.query(`rollback prepared ${pg.escapeLiteral(gid)}`)
  } finally {
    await client.end().catch(() => undefined)
  }
  await administer(adminUrl, `drop database ${name} with (force)`)
}
