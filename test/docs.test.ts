/** The snippets of the pages are run as a reader runs them: against PostgreSQL, with the real program, in a shell. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { generateSealKey, generateSecret } from '@postrider/webhook'
import { expect, test } from 'vitest'
import { readDurations } from './docs/durations.ts'
import { post } from './docs/exchange.ts'
import { ordersTable } from './docs/given.ts'
import { blocksOf, kindOf, type Kind } from './docs/kinds.ts'
import { readPage, readPages, type Page } from './docs/pages.ts'
import { openPrograms, printedBy, runProgram } from './docs/programs.ts'
import { closeGate, fillDatabase, openTransaction } from './docs/sample.ts'
import { openShell } from './docs/shell.ts'
import { idle, runStatements } from './docs/statements.ts'
import { nodeArgs } from './node.ts'
import { testDatabase } from './postgres/index.ts'
import { until } from './until.ts'

const readme = readPage('README.md')
/** Commands that run until somebody stops them; only the road of the README has such. */
const staysUp = /\bpostrider start\b/

function blockOf(page: Page, wanted: RegExp): string {
  const found = page.blocks.filter(({ text }) => wanted.test(text))
  expect(found, `one block of ${page.path} with ${wanted}`).toHaveLength(1)
  return found[0]!.text
}

function pagesWith(...kinds: readonly Kind[]): readonly Page[] {
  return readPages().filter((page) => page.blocks.some((block) => kinds.includes(kindOf(block))))
}

test('the road of the README runs as it stands: tables, receiver, relay, and the events of both writers arrive, signed', async () => {
  await using db = await testDatabase({ migrated: false })
  const client = await db.client()
  await client.query(ordersTable)
  await using shell = await openShell()
  await using programs = await openPrograms()

  // Only addresses differ from what a reader types.
  const port = await freePort()
  const configuration = blockOf(readme, /^sinks:/m).replace('127.0.0.1:4000', `127.0.0.1:${port}`)
  await writeFile(join(shell.directory, 'postrider.config.yaml'), `${configuration}health: { port: 0 }\n`)
  const commands = blockOf(readme, staysUp)
    .replace('postgres://localhost/shop', `'${db.url}'`)
    .replace('postrider listen', `postrider listen --port ${port}`)
  expect(commands).toContain(db.url)

  const road = shell.start(commands, {})
  await road.wrote('relay started')
  await road.wrote('listening on')
  const program = await programs.add(readme)
  expect(await runProgram([program], { POSTRIDER_DATABASE_URL: db.url })).toEqual({ code: 0, stdout: '', stderr: '' })
  const [answered] = await runStatements(client, blockOf(readme, /postrider\.emit\('/))
  const id = String(answered?.rows[0]?.['emit'])

  await road.wrote(new RegExp(`200  order\\.placed  ${id}  attempt 1  .*taken`))
  await road.wrote(/(200 {2}order\.placed .*taken[^]*){2}/)
  expect((await client.query(`select key from postrider.events order by position`)).rows).toEqual([
    { key: 'o-1' },
    { key: 'o-2' },
  ])
  expect((await client.query('select id from orders')).rows).toEqual([{ id: 'o-1' }])
  expect(road.output()).not.toContain('not checked')
  await road.interrupt()
  expect(road.output()).toContain('received 2, unique 2, duplicates 0, bad signatures 0')
})

test.each(pagesWith('sql', 'shell'))(
  'every statement and every command of $path does something, in the order of the page',
  async (page) => {
    await using db = await testDatabase()
    await using shell = await openShell()
    const client = await fillDatabase(db)
    const env = { POSTRIDER_DATABASE_URL: db.url, BILLING_SECRET: generateSecret() }
    await closeGate(db)
    await openTransaction(db)
    for (const block of page.blocks) {
      const place = `${page.path}:${block.line}`
      const kind = kindOf(block)
      if (kind === 'sql') expect(idle(await runStatements(client, block.text)), place).toEqual([])
      if (kind === 'shell' && !staysUp.test(block.text)) {
        const typed = shell.start(block.text, env)
        const code = await typed.ended
        expect(code, `${place}: ${typed.output()}`).toBe(0)
      }
    }
  },
  // A command is a process of its own, and a page has many.
  240_000,
)

test.each(blocksOf('shell with endpoints'))(
  'the endpoints of $place are added, changed and removed while a relay runs',
  async ({ block }) => {
    await using db = await testDatabase()
    await using shell = await openShell()
    const pings: string[] = []
    await using receiver = await startCustomer((body) => pings.push(body))
    const hooks = {
      kind: 'webhook',
      endpoints: { secretKey: '${env:HOOKS_SECRET_KEY}' },
      // Only addresses differ from what a reader types.
      trust: 'internal',
      allow: ['127.0.0.1'],
    }
    await writeFile(join(shell.directory, 'postrider.config.json'), JSON.stringify({ sinks: { hooks }, health: { port: 0 } }))
    const env = { POSTRIDER_DATABASE_URL: db.url, HOOKS_SECRET_KEY: generateSealKey() }
    const relay = shell.start('npx postrider start', env)
    await relay.wrote('relay started')

    const commands = block.text.replaceAll(/https:\/\/[^/]+/g, receiver.origin)
    const typed = shell.start(commands, env)
    expect(await typed.ended, typed.output()).toBe(0)
    expect(typed.output().match(/^whsec_/gm)).toHaveLength(2)
    expect(pings).toHaveLength(3)
    for (const ping of pings) expect(JSON.parse(ping)).toMatchObject({ type: 'postrider.ping' })
    const client = await db.client()
    const { rows } = await client.query<{ action: string }>(
      `select action from postrider.actions where sink = 'hooks/acme' order by id`,
    )
    // Two pings are commands of their own or of a new address; the first comes before there is an endpoint.
    const pinged = ['pinged', 'added', 'resumed', 'pinged', 'changed', 'pinged', 'changed', 'disabled', 'resumed', 'removed']
    expect(rows.map(({ action }) => action)).toEqual(pinged)
    await relay.interrupt()
  },
  120_000,
)

test.each(blocksOf('consumer'))(
  'the consumer at $place takes what is signed, once, and refuses the rest',
  async ({ page, block }) => {
    await using db = await testDatabase({ migrated: false })
    await using programs = await openPrograms()
    const client = await db.client()
    await client.query(ordersTable)
    const secret = generateSecret()
    const port = await freePort()
    const program = await programs.addAlone(page, block)
    const env = { PATH: process.env['PATH'], PORT: String(port), BILLING_SECRET: secret, DATABASE_URL: db.url }
    const consumer = spawn(process.execPath, [...nodeArgs, program], { env, stdio: ['ignore', 'inherit', 'inherit'] })
    const ended = once(consumer, 'close')
    try {
      await until('it listens', () =>
        fetch(`http://127.0.0.1:${port}/`).then(
          () => true,
          () => false,
        ),
      )
      expect(await post(port, generateSecret())).toMatchObject({ kind: 'retry', status: 401 })
      for (const format of ['standard', 'cloudevents', 'cloudevents-binary', 'raw'] as const) {
        expect(await post(port, secret, format)).toMatchObject({ kind: 'delivered', status: 200 })
      }
      expect((await client.query('select id, total::int from orders')).rows).toEqual([{ id: 'o-1', total: 42 }])
    } finally {
      consumer.kill('SIGKILL')
      await ended
    }
  },
)

test.each(pagesWith('program'))('the program of $path runs from top to bottom, and prints what it says', async (page) => {
  await using db = await testDatabase()
  await using programs = await openPrograms()
  const client = await db.client()
  await client.query(ordersTable)
  const { code, stdout, stderr } = await runProgram([await programs.add(page)], {
    POSTRIDER_DATABASE_URL: db.url,
    BILLING_SECRET: generateSecret(),
  })
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout.split('\n').slice(0, -1)).toEqual(printedBy(page))
  const emitted = page.text.match(/outbox\.emit\(|\{ type: '/g) ?? []
  const refused = page.text.match(/Number\.NaN/g) ?? []
  expect((await client.query('select from postrider.events')).rowCount).toBe(emitted.length - refused.length)
})

test('only the README has a command that stays up, so the road above runs every one of them', () => {
  const places = blocksOf('shell').filter(({ block }) => staysUp.test(block.text))
  expect(places.map(({ page }) => page.path)).toEqual(['README.md'])
})

test('what is kept for how long is what the tables say', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const days = (column: string): string => `extract(epoch from ${column})::float8 * 1000 as "${column}"`
  const { rows } = await client.query<Record<string, unknown>>(
    `select slots, ${['width', 'keep', 'keep_dead', 'hold'].map(days).join()}, pass_lagging from postrider.ring`,
  )
  const written = readPage('docs/operating.md')
    .rowsOf('How long things are kept')
    .filter(([name = '']) => name.startsWith('--'))
    .map(([name, value = '']) => [name, value.endsWith(' d') ? readDurations(value)[0] : value])
  const { slots, width, keep, keep_dead: keepDead, hold, pass_lagging: passLagging } = rows[0] ?? {}
  expect(Object.fromEntries(written)).toEqual({
    '--count': String(slots),
    '--width': width,
    '--keep': keep,
    '--keep-dead': keepDead,
    '--hold': hold,
    '--pass-lagging': passLagging === true ? 'yes' : 'no',
  })
})

/** Takes whatever is sent. */
async function startCustomer(hear: (body: string) => void): Promise<AsyncDisposable & { readonly origin: string }> {
  const server = createServer((request, response) => {
    buffer(request).then(
      (body) => {
        hear(body.toString())
        response.writeHead(204).end()
      },
      () => response.destroy(),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
