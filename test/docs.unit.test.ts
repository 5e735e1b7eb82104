/** What the pages say, compared with what the code says. */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { loadConfig } from 'postrider'
import { retryPolicies } from '@postrider/relay'
import { errorCodes, limits } from '@postrider/schema'
import { generateSealKey, generateSecret, type WebhookFormat } from '@postrider/webhook'
import { inboxTable } from '@postrider/inbox'
import { createWriter, event, type EmitOptions } from '@postrider/writer'
import { expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { drawLifecycle } from './docs/drawings.ts'
import { readDurations } from './docs/durations.ts'
import { parseRequest, post, requestOf, shownEvent } from './docs/exchange.ts'
import { blocksOf, kindOf } from './docs/kinds.ts'
import { readPage, readPages, root } from './docs/pages.ts'
import { openPrograms } from './docs/programs.ts'
import { typeCheck } from './docs/type-check.ts'
import { nodeArgs } from './node.ts'
import { until } from './until.ts'

const pages = readPages()
const readme = readPage('README.md')
const webhooks = readPage('docs/webhooks.md')
const writing = readPage('docs/writing-events.md')

test('no block goes unchecked', () => {
  for (const page of pages) for (const block of page.blocks) expect(() => kindOf(block)).not.toThrow()
  // A fence that the reader of pages does not see would not be checked either.
  for (const { text, blocks, path } of pages) expect(text.match(/^\s*(```|~~~)/gm) ?? [], path).toHaveLength(blocks.length * 2)
})

test.each(pages)('every link of $path leads somewhere', ({ path, links }) => {
  const broken = links.filter((link) => {
    if (link.startsWith('https://')) return !URL.canParse(link)
    const [file = '', anchor] = link.split('#')
    const target = file === '' ? path : join(dirname(path), file)
    return !existsSync(join(root, target)) || (anchor !== undefined && !readPage(target).anchors.includes(anchor))
  })
  expect(broken).toEqual([])
})

test('the programs of the pages satisfy a strict compiler', { timeout: 60_000 }, async () => {
  await using programs = await openPrograms()
  const files: string[] = []
  for (const page of pages) {
    if (page.blocks.some((block) => kindOf(block) === 'program')) files.push(await programs.add(page))
    for (const block of page.blocks) {
      if (block.language === 'ts' && kindOf(block) !== 'program') files.push(await programs.addAlone(page, block))
    }
  }
  expect(files.length).toBeGreaterThan(5)
  expect(await typeCheck(programs.directory, files)).toBe('')
})

test('the errors are those of the code, in its words', () => {
  const page = readPage('docs/errors.md')
  const rows = page.text.match(/^## (.*)$/gm)?.flatMap((heading) => page.rowsOf(heading.slice(3)))
  expect(rows).toEqual(Object.entries(errorCodes).map(([code, { meaning, next }]) => [code, meaning, next]))
})

test.each(blocksOf('table of the inbox'))('the table at $place is the one that inboxTable gives', ({ block }) => {
  expect(block.text).toBe(inboxTable())
})

test('the drawings show what the code has', () => {
  const drawings = blocksOf('drawing')
  const textOf = (name: string): string | undefined => drawings.find(({ block }) => block.name === name)?.block.text
  expect(textOf('lifecycle')).toBe(drawLifecycle())

  const steps = readme.rowsOf('The road of an event').map(([step = '']) => /\[(\w+)\]\((.*)\)/.exec(step) ?? [])
  const drawn = textOf('road')?.match(/\b(?!your|service|a|relay|destination)[a-z]+\b/g)
  expect(drawn).toEqual(steps.map(([, name]) => name))
  for (const [, name, file] of steps) if (name !== 'commit') expect(file).toMatch(new RegExp(`/${name}\\.ts$`))
})

test('the answers of explain are those of the database', async () => {
  const source = await readFile(join(root, 'migrations/0011_views.sql'), 'utf8')
  const [, reasons = ''] =
    /create function postrider\.explain\(.*?\n {6}case verdict\.state\n(.*?)\n {6}end\n/s.exec(source) ?? []
  const answers = [...reasons.matchAll(/^ {8}when '(\w+)' then/gm)].map(([, state]) => state)
  expect(answers.length).toBeGreaterThan(9)
  const explained = readPage('docs/trouble.md').rowsOf('One event')
  // The rest is pending, and what is in no log is unknown.
  expect(new Set(explained.map(([state]) => state))).toEqual(new Set([...answers, 'pending', 'unknown']))
})

test('the limits of an event are those of the code', () => {
  const written = writing
    .rowsOf('Limits')
    .map(([name, value = '']) => [name, Number(/^[\d,]+/.exec(value)?.[0].replaceAll(',', ''))])
  expect(Object.fromEntries(written)).toEqual(limits)
})

test('the options of emit are those of the code', async () => {
  const all = {
    id: 1,
    key: 1,
    order: 1,
    deliverAt: 1,
    expiresAt: 1,
    time: 1,
    subject: 1,
    tenant: 1,
    source: 1,
    contentType: 1,
    headers: 1,
  }
  const named = writing.rowsOf('Options').map(([name = '']) => name)
  expect(named).toEqual(Object.keys(all satisfies Record<keyof EmitOptions, number>))
  const writer = createWriter({ source: 'docs', events: { a: event<null>() } })
  const trx = { query: () => Promise.resolve() }
  const given = Object.fromEntries(named.map((name) => [name, undefined]))
  await expect(writer.emit(trx, 'a', null, given)).resolves.toBeTypeOf('string')
  await expect(writer.emit(trx, 'a', null, { ...given, misspelt: undefined } as EmitOptions)).rejects.toThrow('misspelt')
})

test('the schedules of retries are those of the code', () => {
  const rows = webhooks.rowsOf('When it is tried again')
  const written = rows.map(([name, delays = '', age = '']) => [
    name,
    { delaysMs: readDurations(delays), jitter: 0.2, maxAgeMs: readDurations(age)[0] },
  ])
  expect(Object.fromEntries(written)).toEqual(retryPolicies)
})

test.each(blocksOf('configuration'))('the configuration at $place loads', async ({ block }) => {
  const { settings } = await load(block.name, block.text)
  expect(Object.keys(settings.sinks)).toEqual(['billing'])
})

test.each(blocksOf('part of a configuration'))('the part of a configuration at $place loads', async ({ block }) => {
  const part = parse(block.text) as object
  const whole = {
    sinks: { other: { kind: 'webhook', url: 'https://example.com/', secrets: { current: '${env:BILLING_SECRET}' } } },
  }
  await expect(load('postrider.config.json', JSON.stringify({ ...whole, ...part }))).resolves.toBeDefined()
})

/** Loads it where its secrets are, and the names that it imports. */
async function load(name: string, text: string): ReturnType<typeof loadConfig> {
  await using programs = await openPrograms()
  const secrets = await mkdtemp(join(tmpdir(), 'postrider-docs-'))
  onTestFinished(() => rm(secrets, { recursive: true }))
  const [secret, database] = [generateSecret(), 'postgres://localhost/shop']
  for (const file of ['billing', 'billing-2025']) await writeFile(join(secrets, file), secret)
  await writeFile(join(programs.directory, name), text.replaceAll('/run/secrets', secrets))
  const env = {
    POSTRIDER_DATABASE_URL: database,
    BILLING_SECRET: secret,
    WAREHOUSE_SECRET: secret,
    HOOKS_SECRET_KEY: generateSealKey(),
    KAFKA_PASSWORD: generateSecret(),
  }
  return await loadConfig({}, { directory: programs.directory, env })
}

const ofThisAttempt = new Set(['webhook-timestamp', 'webhook-signature'])
const ofTheConnection = new Set(['host', 'connection', 'content-length'])

test.each(blocksOf('request'))('the request at $place is what a sink sends', async ({ block }) => {
  const shown = parseRequest(block.text)
  const sent = await requestOf(block.name as WebhookFormat)
  const comparable = (headers: readonly (readonly [string, string])[]): Record<string, string> =>
    Object.fromEntries(
      headers
        .filter(([name]) => !ofTheConnection.has(name))
        .map(([name, value]) => [name, ofThisAttempt.has(name) ? value.replace(/\d{10}|[\w+/]{43}=/, '…') : value]),
    )
  expect(shown.line).toBe('POST /hooks/orders HTTP/1.1')
  expect(comparable(shown.headers)).toEqual(comparable(sent.headers))
  if (block.name !== 'standard') expect(sent.body).toBe(shownEvent.payloadText)
})

test.each(blocksOf('body'))('the body at $place is what a sink sends', async ({ block }) => {
  const { body } = await requestOf(block.name as WebhookFormat)
  // As text, because the order of members counts for those who read it.
  expect(JSON.stringify(JSON.parse(block.text))).toBe(JSON.stringify(JSON.parse(body)))
})

test('the headers that are explained are those that are sent', async () => {
  const { headers } = await requestOf('standard')
  const explained = webhooks.rowsOf('What arrives').map(([name]) => name)
  const own = headers.map(([name]) => name).filter((name) => /^(webhook|postrider|trace)/.test(name))
  expect(new Set(own)).toEqual(new Set(explained))
})

test.each(blocksOf('receiver'))('the receiver at $place takes what is signed and refuses the rest', async ({ page, block }) => {
  await using programs = await openPrograms()
  const secret = generateSecret()
  const port = await freePort()
  const program = await programs.addAlone(page, block)
  const receiver = spawn(process.execPath, [...nodeArgs, program], {
    env: { PATH: process.env['PATH'], PORT: String(port), BILLING_SECRET: secret },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const ended = once(receiver, 'close')
  try {
    await until('it listens', () => answers(port))
    expect(await post(port, secret)).toMatchObject({ kind: 'delivered', status: 204 })
    expect(await post(port, generateSecret())).toMatchObject({ kind: 'retry', status: 401 })
    expect((await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' })).status).toBe(401)
  } finally {
    receiver.kill('SIGKILL')
    await ended
  }
})

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
