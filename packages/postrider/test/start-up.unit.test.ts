import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { compiled, nodeArgs } from '@postrider/test/node'
import { expect, test } from 'vitest'
import { temporaryDirectory } from './directory.ts'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** Writes the packages that were asked for to stderr, as its last line. */
const listPackages = `
  import { isBuiltin, registerHooks } from 'node:module'
  const asked = new Set()
  registerHooks({
    resolve(name, context, next) {
      if (!isBuiltin(name) && /^[@a-z]/.test(name) && !name.startsWith('file:')) {
        asked.add(name.split('/', name.startsWith('@') ? 2 : 1).join('/'))
      }
      return next(name, context)
    },
  })
  process.on('exit', () => process.stderr.write('\\n' + JSON.stringify([...asked].sort())))`

/** The packages that `postrider …` loads, and how it ends. */
async function load(args: readonly string[], directory = '/'): Promise<{ code: number; packages: string[] }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; packages: string[] }>()
  execFile(
    process.execPath,
    [...nodeArgs, '--import', `data:text/javascript,${encodeURIComponent(listPackages)}`, main, ...args],
    {
      cwd: directory,
      env: {
        PATH: process.env['PATH'],
        NODE_COMPILE_CACHE: compiled,
        POSTRIDER_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/shop',
      },
      timeout: 20_000,
    },
    (error, _, stderr) =>
      resolve({ code: Number(error?.code ?? 0), packages: JSON.parse(stderr.split('\n').at(-1) ?? '') as string[] }),
  )
  return await promise
}

/** What it takes to read a command line. */
const words = ['@postrider/schema', 'commander']

test.each([[['--help']], [['--version']], [['dead', 'retry', '--help']], [['graduate', 'cutover', '--help']]])(
  '%j loads no client of anything',
  async (args) => {
    expect(await load(args)).toEqual({ code: 0, packages: words })
  },
)

test.each([
  [['statsu']],
  [['status', '--jsn']],
  [['dead', 'retry']],
  [['events', 'list', '--state', 'lost']],
  [['pause', '--reason', 'x']],
  [['sinks', 'limits', 'billing']],
  [['migrate', 'plan', '--offline']],
  [['listen', '--gone', '--status', '500']],
  [['endpoints', 'change', 'hooks/acme']],
  [['kafka', 'check', '--partitions', '6']],
  [['graduate', 'cutover', '--sink', 'a', '--type', 'b', '--consumer', 'c', '--force']],
])('%j is refused before anything else is loaded', async (args) => {
  expect(await load(args)).toEqual({ code: 2, packages: words })
})

test('health loads what it reads its configuration with, and nothing of databases, relays and sinks', async () => {
  const relay = createServer((_, response) => response.end('{"status":"ok"}')).listen(0, '127.0.0.1')
  try {
    await once(relay, 'listening')
    const { port } = relay.address() as AddressInfo
    await using directory = await temporaryDirectory()
    expect(await load(['health', '--url', `http://127.0.0.1:${port}`], directory.path)).toEqual({ code: 0, packages: words })
    const sinks = { billing: { kind: 'webhook', url: 'https://example.com', secrets: { current: '${env:NOT_SET}' } } }
    await directory.write('postrider.config.json', { sinks, health: { port } })
    expect(await load(['health'], directory.path)).toEqual({ code: 0, packages: [...words, 'zod'] })
    await directory.write('other.yaml', `health: { port: ${port} }\n`)
    expect(await load(['health', '--config', 'other.yaml'], directory.path)).toEqual({
      code: 0,
      packages: [...words, 'yaml', 'zod'],
    })
  } finally {
    relay.close()
  }
})

test.each([[['status']], [['events', 'list']], [['dead', 'list']], [['endpoints', 'list']], [['sinks', 'list']]])(
  '%j loads a client of the database, and no sink, no relay and no log',
  async (args) => {
    const { code, packages } = await load(args)
    expect([code, packages]).toEqual([5, expect.arrayContaining(['kysely', 'pg'])])
    const strangers = ['@postrider/relay', '@postrider/webhook', '@postrider/kafka', 'undici', 'kafkajs', 'pino', 'yaml']
    expect(packages.filter((name) => strangers.includes(name))).toEqual([])
  },
)
