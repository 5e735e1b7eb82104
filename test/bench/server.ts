import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { startPostgres } from '../postgres/embedded.ts'
import { describeServer } from './machine.ts'
import { serverCpuMs } from './server-cpu.ts'

/** Durable, and of a size that a small service would choose. */
const settings = {
  fsync: true,
  synchronous_commit: true,
  full_page_writes: true,
  shared_buffers: '256MB',
  max_wal_size: '2GB',
} as const

export interface BenchDatabase extends AsyncDisposable {
  readonly url: string
  /** Open as long as the database is. */
  readonly client: pg.Client
  /** A further connection; closed with the database. */
  connect(): Promise<pg.Client>
}

/** The server of one run. Its databases come and go. */
export interface BenchServer extends AsyncDisposable {
  readonly versions: { readonly postgres: string }
  /** Settings that change what a figure means. */
  readonly postgres: Readonly<Record<string, string>>
  /** A database with the tables in it; or a copy of a template. */
  database(template?: string): Promise<BenchDatabase>
  /** Makes a template: every copy of it holds the same, and nobody has read it yet. */
  template(name: string, fill: (url: string, client: pg.Client) => Promise<void>): Promise<string>
  /** Time of a core that the server has used since its start, with all its processes, in ms; null where it is not told. */
  cpuMs(): Promise<number | null>
  /** Bytes of WAL written since its start. */
  walBytes(): Promise<number>
}

export async function startServer(more: Readonly<Record<string, string>> = {}): Promise<BenchServer> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startPostgres({ settings: { ...settings, ...more } }))
  const admin = await connect(server.url)
  stack.defer(() => admin.end())
  const facts = await describeServer(admin)
  let made = 0

  const urlOf = (name: string): string => {
    const url = new URL(server.url)
    url.pathname = `/${name}`
    return url.href
  }
  async function makeTables(url: string, work: (client: pg.Client) => Promise<void> = async () => {}): Promise<void> {
    const client = await connect(url)
    try {
      await migrate(client)
      await work(client)
    } finally {
      await client.end()
    }
  }
  // Copying the files also writes a checkpoint, so that each copy begins with a clean slate.
  const copy = (name: string, of: string): Promise<unknown> =>
    admin.query(`create database ${name} template ${of} strategy file_copy`)

  await admin.query('create database postrider_empty')
  await makeTables(urlOf('postrider_empty'))
  const owned = stack.move()
  return {
    versions: { postgres: facts.postgres },
    postgres: facts.settings,
    async database(template = 'postrider_empty') {
      const name = `bench_${++made}`
      await copy(name, template)
      const url = urlOf(name)
      const clients: pg.Client[] = []
      const open = async (): Promise<pg.Client> => {
        const client = await connect(url)
        clients.push(client)
        return client
      }
      return {
        url,
        client: await open(),
        connect: open,
        async [Symbol.asyncDispose]() {
          await Promise.allSettled(clients.map((client) => client.end()))
          await admin.query(`drop database ${name} with (force)`)
        },
      }
    },
    async template(name, fill) {
      await copy(name, 'postrider_empty')
      const client = await connect(urlOf(name))
      try {
        await fill(urlOf(name), client)
      } finally {
        await client.end()
      }
      return name
    },
    cpuMs: () => serverCpuMs(server.pid),
    async walBytes() {
      const { rows } = await admin.query<{ bytes: number }>(
        `select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 as bytes`,
      )
      return rows[0]!.bytes
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  client.on('error', () => {}) // the statement that was running rejects
  await client.connect()
  return client
}
