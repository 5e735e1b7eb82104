/** A standby takes over, as operators have it: the program itself, its probes asked all the time, and a proxy in the place of the address that moves. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { startProxy } from './faults/proxy.ts'
import { faultless, faultsOf } from './history.ts'
import { nodeArgs } from './node.ts'
import { scratch, serverUser } from './postgres/binaries.ts'
import { startPostgres } from './postgres/index.ts'
import { findTools, missingTools } from './postgres/tools.ts'
import { startReceiver } from './receiver.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const tools = findTools()
const main = join(import.meta.dirname, '..', 'packages', 'postrider', 'src', 'main.ts')

test.skipIf(tools === null)(
  `events arrive within 5 s of a promoted standby's first write, none is lost, and liveness is green throughout${tools === null ? ` (${missingTools})` : ''}`,
  async () => {
    const settings = { wal_level: 'replica', max_wal_senders: 5 }
    const user = serverUser()
    const directory = await mkdtemp(join(await scratch(user), 'postrider-promotion-'))
    if (user !== undefined) await chown(directory, user.uid, user.gid)
    onTestFinished(() => rm(directory, { recursive: true, force: true, maxRetries: 10 }))

    await using primary = await startPostgres({ binaries: tools!.home, settings })
    const client = await connect(primary.url)
    await migrate(client)
    const dataDir = join(directory, 'standby')
    await tools!.run('pg_basebackup', '--checkpoint=fast', '-X', 'stream', '-R', '-D', dataDir, '-d', primary.url)
    await using standby = await startPostgres({ binaries: tools!.home, dataDir, settings })
    await until(
      'the standby follows',
      async () => (await client.query(`select from pg_stat_replication where state = 'streaming'`)).rowCount === 1,
    )

    await using address = await startProxy(primary.port)
    const url = primary.url.replace(`:${primary.port}/`, `:${address.port}/`)
    await using receiver = await startReceiver()
    await using program = await startProgram(directory, url, receiver)
    await until('the relay carries', () => program.probe('readyz'), 20_000)
    const liveness = watchLiveness(() => program.probe('livez'))
    await using writers = await startWriters(url, { pauseMs: 10 })
    await until('events arrive', () => receiver.distinct > 50)

    // It hands over all that it has, and takes no writes from here on.
    await primary.stop('fast')
    const promoted = await connect(standby.url)
    await promoted.query('select pg_promote(true, 30)')
    address.lead(standby.port)
    address.reset()
    await until(
      'the promoted server takes writes',
      async () => (await promoted.query<{ no: boolean }>('select pg_is_in_recovery() as no')).rows[0]?.no === false,
    )
    const writesAt = Date.now()
    const known = receiver.arrivals.length
    await until('an event arrives', () => receiver.arrivals.length > known)
    expect((receiver.arrivals[known]?.at ?? Infinity) - writesAt).toBeLessThan(5_000)

    const goesOn = receiver.distinct
    await until('events go on to arrive', () => receiver.distinct > goesOn + 50)
    await writers.stop()
    await until('all arrived', () => receiver.distinct >= writers.committed.length, 20_000)
    expect(faultsOf(writers.committed, receiver.taken)).toEqual(faultless)
    expect(receiver.complaints).toEqual([])
    const probes = await liveness.stop()
    expect(probes.length).toBeGreaterThan(20)
    expect(probes.filter((green) => !green)).toEqual([])
  },
  120_000,
)

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url)
  client.on('error', () => {}) // its server is stopped
  await client.connect()
  onTestFinished(() => client.end().catch(() => undefined))
  return client
}

/** `postrider start` with one webhook sink. */
async function startProgram(
  directory: string,
  url: string,
  { url: to, secret }: { readonly url: string; readonly secret: string },
): Promise<AsyncDisposable & { probe(path: string): Promise<boolean> }> {
  const file = join(directory, 'postrider.yaml')
  await writeFile(
    file,
    `sinks:
  hook:
    kind: webhook
    url: ${to}
    trust: internal
    allow: [127.0.0.1]
    secrets:
      current: \${env:WEBHOOK_SECRET}
relay:
  leaseMs: 2000
health:
  host: 127.0.0.1
  port: 0
`,
  )
  const env = { ...process.env, POSTRIDER_DATABASE_URL: url, WEBHOOK_SECRET: secret }
  const child = spawn(process.execPath, [...nodeArgs, main, 'start', '--config', file], { env })
  const ended = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)))
  onTestFinished(() => void child.kill('SIGKILL'))
  let port = ''
  await until(
    `the program says where its probes are`,
    () => {
      port = /"port":(\d+)/.exec(output)?.[1] ?? ''
      return port !== ''
    },
    20_000,
  )
  return {
    async probe(path) {
      const signal = AbortSignal.timeout(2_000)
      return await fetch(`http://127.0.0.1:${port}/${path}`, { signal }).then(({ ok }) => ok)
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** Asks all the time; a probe that fails or finds nobody is not green. */
function watchLiveness(isLive: () => Promise<boolean>): { stop(): Promise<boolean[]> } {
  const probes: boolean[] = []
  const stopping = new AbortController()
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      probes.push(await isLive().catch(() => false))
      await sleep(20)
    }
  })()
  return {
    async stop() {
      stopping.abort()
      await watching
      return probes
    },
  }
}
