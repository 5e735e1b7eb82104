import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodeArgs } from '@postrider/test/node'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { openToAll, packagedBinaries, scratch, serverUser, type User } from './binaries.ts'
import { startPostgres, type PostgresOptions } from './embedded.ts'

const root = serverUser() !== undefined
const running = { pid: expect.any(Number) as number, answer: 42 }

test('a server and its data directory are gone after kill -9 of the parent', async () => {
  const temp = await tempDirectory()
  const parent = startInChild({}, { temp })
  const { pid, dataDir } = await firstLine(parent)
  const supervisor = parentOf(pid)
  parent.kill('SIGKILL')
  await until(() => !alive(pid) && !alive(supervisor) && !existsSync(dataDir))
  expect(await dataDirectories(temp)).toEqual([])
})

test('nothing is left after kill -9 of the parent while the data directory is being made', async () => {
  const temp = await tempDirectory()
  const parent = startInChild({}, { temp })
  await until(async () => (await dataDirectories(temp)).length > 0)
  expect(processesWith(temp)).not.toEqual([])
  parent.kill('SIGKILL')
  await until(async () => (await dataDirectories(temp)).length === 0 && processesWith(temp).length === 0)
})

test('nothing is left after kill -9 of the supervisor', async () => {
  const temp = await tempDirectory()
  const parent = startInChild({}, { temp, stay: true })
  const { pid, dataDir } = await firstLine(parent)
  process.kill(parentOf(pid), 'SIGKILL')
  await until(() => !alive(pid) && !existsSync(dataDir))
  parent.kill()
})

test('a parent that has nothing else to do ends, and its server with it', async () => {
  const temp = await tempDirectory()
  const parent = startInChild({}, { temp, stay: false })
  const { pid } = await firstLine(parent)
  await until(() => parent.exitCode === 0)
  await until(async () => !alive(pid) && (await dataDirectories(temp)).length === 0)
})

test('two servers at once have a port and a data directory each', async () => {
  const [one, two] = await Promise.all([startPostgres(), startPostgres({ version: 14 })])
  await using _one = one
  await using _two = two
  expect(await ask(one.url, `select current_setting('server_version_num')::int / 10000 as answer`)).toBe(18)
  expect(await ask(two.url, `select current_setting('server_version_num')::int / 10000 as answer`)).toBe(14)
  expect(one.port).not.toBe(two.port)
  expect(one.dataDir).not.toBe(two.dataDir)
})

test('a given data directory is kept, and recovers after an immediate stop', async () => {
  const dataDir = join(await tempDirectory(), 'data')
  const first = await startPostgres({ dataDir })
  await ask(first.url, 'create table kept as select 7 as answer')
  await first.stop('immediate')
  await using second = await startPostgres({ dataDir, settings: { work_mem: '8MB' } })
  expect(await ask(second.url, 'select answer from kept')).toBe(7)
  expect(await ask(second.url, `select current_setting('work_mem') as answer`)).toBe('8MB')
})

test('it listens on 127.0.0.1 and nowhere else', async () => {
  await using server = await startPostgres()
  expect(await ask(server.url, `select current_setting('listen_addresses') as answer`)).toBe('127.0.0.1')
  expect(await ask(server.url, `select current_setting('unix_socket_directories') as answer`)).toBe('')
})

test('a start that fails says why in the words of the server', async () => {
  await expect(startPostgres({ settings: { max_connections: 'many' } })).rejects.toThrow(
    /invalid value for parameter "max_connections"/,
  )
})

test('a port that is taken is said to be taken', async () => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  onTestFinished(() => void holder.close())
  const { port } = holder.address() as AddressInfo
  await expect(startPostgres({ port })).rejects.toThrow('Address already in use')
})

test('binaries without library links, in a directory that the server may not use, run from one copy made for all', async () => {
  const temp = await tempDirectory()
  const home = await tempDirectory()
  const native = join(home, 'package', 'native')
  await mkdir(native, { recursive: true })
  // Without links, as npm leaves the package when install scripts are turned off.
  await cp(packagedBinaries(18), native, {
    recursive: true,
    filter: (path) => !/\.so(\.\d+)?$/.test(path) || path.includes('postgresql'),
  })
  await cp(join(packagedBinaries(18), '..', 'package.json'), join(native, '..', 'package.json'))
  await chmod(root ? home : join(native, 'lib'), root ? 0o700 : 0o555)
  const children = [startInChild({ binaries: native }, { temp }), startInChild({ binaries: native }, { temp })]
  expect(await Promise.all(children.map(firstLine))).toMatchObject([running, running])
  expect((await readdir(temp)).filter((name) => name.startsWith('postrider-binaries'))).toHaveLength(1)
  for (const child of children) child.kill()
  await until(async () => processesWith(temp).length === 0)
  await chmod(join(native, 'lib'), 0o755)
})

// Elsewhere every test here runs as an ordinary user; a clone under root's home is closed to all others.
if (root && (await openToAll(process.execPath)) && (await openToAll(import.meta.dirname))) {
  test('an ordinary user runs it as well as root', async () => {
    const nobody = { uid: 65534, gid: 65534 }
    const child = startInChild({}, { temp: await tempDirectory(nobody), user: nobody })
    expect(await firstLine(child)).toMatchObject(running)
    child.kill()
  })
}

interface Running {
  readonly pid: number
  readonly dataDir: string
  readonly answer: unknown
}

/** A process that starts a server, prints where it is, and stays, unless told not to. */
function startInChild(options: PostgresOptions, how: { temp: string; user?: User; stay?: boolean }): ChildProcess {
  const script = `
    import pg from 'pg'
    import { startPostgres } from '@postrider/test/postgres/embedded'
    const { pid, dataDir, url } = await startPostgres(${JSON.stringify(options)})
    const client = new pg.Client(url)
    await client.connect()
    const { rows } = await client.query('select 42 as answer')
    await client.end()
    console.log(JSON.stringify({ pid, dataDir, answer: rows[0].answer }))
    ${how.stay === false ? '' : 'setInterval(() => {}, 1000)'}`
  const child = spawn(process.execPath, [...nodeArgs, '--input-type=module', '--eval', script], {
    ...how.user,
    cwd: import.meta.dirname,
    env: { ...process.env, NODE_OPTIONS: '', TMPDIR: how.temp },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function firstLine(child: ChildProcess): Promise<Running> {
  const ended = once(child, 'close').then(() => Promise.reject(new Error('the child ended without a word')))
  ended.catch(() => {})
  const [chunk] = (await Promise.race([once(child.stdout!, 'data'), ended])) as [Buffer]
  return JSON.parse(String(chunk)) as Running
}

async function tempDirectory(owner?: User): Promise<string> {
  const path = await mkdtemp(join(await scratch(serverUser()), 'postrider-test-'))
  await chmod(path, owner === undefined ? 0o755 : 0o777)
  onTestFinished(() => rm(path, { recursive: true, force: true, maxRetries: 10 }))
  return path
}

/** Beside them there may be a copy of the binaries, when the workspace is closed to others. */
async function dataDirectories(temp: string): Promise<string[]> {
  return (await readdir(temp)).filter((name) => name.startsWith('postrider-postgres-'))
}

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query<{ answer: unknown }>(sql)
  await client.end()
  return rows[0]?.answer
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function parentOf(pid: number): number {
  return Number(spawnSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }).stdout)
}

function processesWith(argument: string): string[] {
  const { stdout } = spawnSync('ps', ['-eww', '-o', 'args='], { encoding: 'utf8' })
  return stdout.split('\n').filter((line) => line.includes(argument))
}

async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`still not so after 15 s: ${String(done)}`)
    await sleep(20)
  }
}
