/** A whole life of the program with secrets that are canaries: afterwards they stand nowhere but where they belong. */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import type { Command } from 'commander'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { testDatabase } from '@postrider/test/postgres'
import { migrate } from '@postrider/migrations'
import { generateSealKey, generateSecret } from '@postrider/webhook'
import { createProgram } from '../src/program.ts'
import { createCanaries } from './canary.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram, startProgram, type ProgramOptions } from './program.ts'

const fixture = (name: string): Promise<string> =>
  readFile(new URL(`../../webhook/test/fixtures/${name}`, import.meta.url), 'utf8')

async function listen(server: Server): Promise<AsyncDisposable & { readonly port: number }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      if ('closeAllConnections' in server) (server.closeAllConnections as () => void).call(server)
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A receiver that repeats whatever it got, in its body and in its headers, as pages about errors like to. */
const echo: RequestListener = (request: IncomingMessage, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const type = request.headers['postrider-event-type'] ?? ''
    if (type === 'order.hang') return void request.socket.destroy()
    const status = { 'order.fail': 500, 'order.dead': 413, 'postrider.ping': 401, 'order.moved': 307 }[String(type)] ?? 200
    const secret = request.headers['authorization'] ?? ''
    response.writeHead(status, {
      'content-type': 'text/plain',
      server: secret,
      'x-request-id': request.url ?? '',
      location: request.url ?? '',
    })
    response.end(`POST ${request.url}\n${JSON.stringify(request.headers)}\n${secret} `.repeat(12))
  })
}

/** Every command, with what leads to it. */
function commandsOf(command: Command, above: readonly string[] = []): (readonly string[])[] {
  return command.commands.flatMap((one) => [[...above, one.name()], ...commandsOf(one, [...above, one.name()])])
}

async function rowsOf(client: pg.Client): Promise<readonly { readonly table: string; readonly text: string }[]> {
  const { rows: tables } = await client.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class as c
     where c.relkind in ('r', 'v', 'm') and c.relnamespace::regnamespace::text !~ '^(pg_catalog|pg_toast|information_schema)' order by 1`,
  )
  const found: { table: string; text: string }[] = []
  for (const { name } of tables) {
    const { rows } = await client.query<{ text: string }>(`select t::text as text from ${name} as t`)
    found.push(...rows.map(({ text }) => ({ table: name, text })))
  }
  return found
}

test(
  'no secret is in the log, on a screen, in a row, or in an exported letter: through success, failure, crash and mistakes',
  { timeout: 170_000 },
  async () => {
    const canaries = createCanaries()
    const password = canaries.plant('database-password')
    const header = canaries.plant('header', (token) => `Bearer ${token}`)
    const path = canaries.plant('path')
    const query = canaries.plant('query')
    const sasl = canaries.plant('sasl-password')
    const signing = canaries.add('signing-secret', generateSecret())
    const sealKey = canaries.add('seal-key', generateSealKey())
    const endpointHeader = canaries.plant('endpoint-header')
    const endpointPath = canaries.plant('endpoint-path')
    const given = canaries.add('endpoint-secret', generateSecret())
    const tlsKey = await fixture('client.key')
    canaries.add('tls-key', tlsKey.split('\n').at(1) ?? '')

    await using db = await testDatabase()
    const owner = await db.client()
    await migrate(owner, { roles: true })
    const login = `canary_${db.name.slice(-12)}`
    await owner.query(`create role ${login} login password '${password}'; grant postrider_relay to ${login}`)
    const url = new URL(db.url)
    url.username = login
    url.password = password

    await using receiver = await listen(createServer(echo))
    await using secure = await listen(
      createTlsServer({ key: await fixture('server.key'), cert: await fixture('server.pem') }, echo),
    )
    await using broker = await listen(
      createTcpServer((socket) => void socket.on('error', () => undefined).once('data', () => socket.destroy())),
    )
    await using directory = await temporaryDirectory()
    await directory.write('client.key', tlsKey)
    const internal = { kind: 'webhook', trust: 'internal', allow: ['127.0.0.1'], onDead: 'park', retry: 'fast' }
    const sinks = {
      billing: {
        ...internal,
        url: `http://127.0.0.1:${receiver.port}/services/${path}?token=${query}`,
        secrets: { current: '${env:SIGNING}' },
        headers: { authorization: '${env:HEADER}' },
        capture: 'all',
      },
      secure: {
        ...internal,
        url: `https://127.0.0.1:${secure.port}/${path}`,
        secrets: { current: '${env:SIGNING}' },
        headers: { authorization: '${env:HEADER}' },
        tls: { cert: await fixture('client.pem'), key: '${file:client.key}' },
      },
      away: { ...internal, url: `http://127.0.0.1:1/${path}`, secrets: { current: '${env:SIGNING}' } },
      stream: {
        kind: 'kafka',
        brokers: [`127.0.0.1:${broker.port}`],
        source: 'shop',
        sasl: { mechanism: 'plain', username: 'relay', password: '${env:SASL}' },
        timeouts: { connectMs: 500, requestMs: 1_000, deadlineMs: 2_000 },
      },
      hooks: { ...internal, endpoints: { secretKey: '${env:SEAL}' }, capture: 'all' },
    }
    await directory.write('postrider.config.json', {
      database: { url: '${env:DB}' },
      log: { level: 'debug' },
      health: { port: 0 },
      sinks,
    })
    await directory.write('given', given)
    const env = { DB: url.href, SIGNING: signing, HEADER: header, SASL: sasl, SEAL: sealKey }
    const options: ProgramOptions = { directory: directory.path, env }

    async function run(args: readonly string[], own: ProgramOptions = {}): Promise<string> {
      const { stdout, stderr, code } = await runProgram(args, { ...options, ...own })
      canaries.heard(`postrider ${args.slice(0, 2).join(' ')}`, stdout + stderr)
      expect(code, `${args.slice(0, 2).join(' ')}: ${stderr}`).not.toBeNull()
      return stdout
    }
    const emit = async (type: string, key: string): Promise<void> => {
      await owner.query(`select postrider.emit($1::text::jsonb)`, [
        JSON.stringify({ type, key, source: 'shop', payload: { a: 1 } }),
      ])
    }
    const outcomes = async (): Promise<readonly string[]> =>
      (await owner.query<{ what: string }>(`select distinct sink || ' ' || outcome as what from postrider.attempts`)).rows.map(
        ({ what }) => what,
      )

    try {
      // Success and failures of every kind.
      await using first = startProgram(['start'], options)
      await first.wrote('relay started')
      const hook = `http://127.0.0.1:${receiver.port}/${endpointPath}`
      await run([
        'endpoints',
        'add',
        'hooks/acme',
        '--url',
        hook,
        '--secret-file',
        'given',
        '-H',
        `authorization=${endpointHeader}`,
        '--verification',
        'ping',
      ])
      await run(['endpoints', 'enable', 'hooks/acme', '--verification', 'none'])
      for (const type of ['order.ok', 'order.fail', 'order.dead', 'order.hang', 'order.moved']) await emit(type, type)
      const wanted = [
        'billing delivered',
        'billing retry',
        'billing reject',
        'secure retry',
        'away retry',
        'hooks/acme delivered',
        'hooks/acme reject',
      ]
      await expect.poll(outcomes, { timeout: 25_000, interval: 200 }).toEqual(expect.arrayContaining(wanted))

      // The database goes away under its feet; then the process itself.
      await owner.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, [login])
      await first.wrote(/polling instead|the database does not answer/)
      await emit('order.fail', 'again')
      first.kill('SIGKILL')
      const { stdout, stderr } = await first.ended
      canaries.heard('log of a relay that crashed', stdout + stderr)
      expect(stdout).toContain('"msg":"delivered"')

      await using second = startProgram(['start'], options)
      await second.wrote('relay started')
      const listed = await run(['endpoints', 'list', '--json'])
      expect(listed).toContain('hooks/acme')
      await run(['status', '--json'])
      await run(['doctor', '--json'])
      second.kill('SIGTERM')
      const end = await second.ended
      canaries.heard('log of a relay', end.stdout + end.stderr)
      for (const args of [
        ['doctor'],
        ['status'],
        ['sinks', 'show', 'billing'],
        ['endpoints', 'show', 'hooks/acme'],
        ['endpoints', 'ping', 'hooks/acme'],
        ['endpoints', 'ping', 'hooks/acme', '--json'],
        ['dead', 'list', '--json'],
        ['dead', 'export'],
        ['kafka', 'check', 'stream'],
        ['events', 'list', '--json'],
      ])
        await run(args)
      const letters = (await owner.query<{ id: string }>(`select event_id as id from postrider.dead_letters limit 2`)).rows
      expect(letters.length).toBeGreaterThan(0)
      for (const { id } of letters)
        for (const args of [
          ['dead', 'show', id],
          ['events', 'show', id],
          ['events', 'explain', id, '--json'],
        ])
          await run(args)
      // Mistakes: a database that refuses, is not there, or is none; an environment in which something is missing.
      const changed = (change: (other: URL) => void): { env: Record<string, string> } => {
        const other = new URL(url)
        change(other)
        return { env: { ...env, DB: other.href } }
      }
      const away = changed((other) => (other.port = '1'))
      const nobody = changed((other) => (other.username = 'nobody'))
      await run(['status'], away)
      await run(['doctor'], away)
      await run(
        ['status'],
        changed((other) => (other.pathname = '/no_such_database')),
      )
      await run(['status'], nobody)
      await run(
        ['status'],
        changed((other) => (other.protocol = 'mysql:')),
      )
      for (const [name, wrong] of Object.entries({ away, nobody })) {
        await using lost = startProgram(['start'], { ...options, ...wrong })
        await lost.wrote(/"level":"(?:fatal|error|warn)"/)
        lost.kill('SIGTERM')
        const waited = await lost.ended
        canaries.heard(`log of a relay whose database is not there (${name})`, waited.stdout + waited.stderr)
      }
      await run(['start'], { env: { ...env, SIGNING: signing.slice(0, -2) } })
      await run(['start'], { env: { ...env, SEAL: `${sealKey}x` } })
      await run(['start'], { env: { ...env, HEADER: `${header}\r\nx: y` } })
      await run(['endpoints', 'add', 'hooks/other', '--url', `http://user:${path}@127.0.0.1/`, '--secret-file', 'given'])
      await run(['endpoints', 'add', 'hooks/other', '--url', hook, '--secret', given])
      await run([
        'endpoints',
        'add',
        'hooks/other',
        '--url',
        hook,
        '--secret-file',
        'given',
        '-H',
        `authorization: ${endpointHeader}`,
      ])
      await run(['endpoints', 'ping', 'hooks/acme'], { env: { ...env, SEAL: generateSealKey() } })
    } finally {
      await owner.query(`drop owned by ${login}`)
      await owner.query(`drop role ${login}`)
    }
    for (const words of [[], ...commandsOf(createProgram())].slice(0, 12)) await run([...words, '--help'])

    const rows = await rowsOf(owner)
    const atHome = rows.filter(({ table, text }) => table === 'postrider.endpoints' && text.includes(endpointPath))
    for (const { table, text } of rows) {
      // The address of an endpoint is needed to send there; who may read it is the subject of migrations/test/grants.test.ts.
      canaries.heard(`row of ${table}`, table === 'postrider.endpoints' ? text.replace(endpointPath, '') : text)
    }
    expect(atHome.length).toBe(1)
    expect(atHome[0]?.text).toContain('sealed:')
    expect(rows.filter(({ table }) => table.startsWith('postrider.attempts')).length).toBeGreaterThan(10)
    expect(canaries.places).toBeGreaterThan(60)
    expect(canaries.found()).toEqual([])
  },
)
