import type { RelayHealth } from '@postrider/relay'
import { expect, test } from 'vitest'
import { serveHealth } from '../src/health.ts'

const well: RelayHealth = {
  ready: true,
  database: { up: true, lastOkAt: new Date(), error: null },
  listener: 'listening',
  lastTickAt: new Date(),
  lanes: [
    { sink: 'billing', lane: 0 },
    { sink: 'billing', lane: 1 },
  ],
  stopping: false,
}

async function statuses(health: RelayHealth): Promise<Record<string, number>> {
  await using server = await serveHealth({ host: '127.0.0.1', port: 0 }, () => health)
  const paths = ['/livez', '/readyz', '/healthz']
  const found = await Promise.all(paths.map(async (path) => (await fetch(`http://127.0.0.1:${server.port}${path}`)).status))
  return Object.fromEntries(paths.map((path, index) => [path, found[index] ?? 0]))
}

test.each<[what: string, health: RelayHealth, statuses: readonly number[]]>([
  ['well', well, [200, 200, 200]],
  [
    'without its database: alive, not ready',
    { ...well, ready: false, database: { up: false, lastOkAt: null, error: 'x' } },
    [200, 503, 200],
  ],
  ['stopping: alive, not ready', { ...well, stopping: true }, [200, 503, 200]],
  ['stuck for a minute: not alive', { ...well, lastTickAt: new Date(Date.now() - 61_000) }, [503, 200, 200]],
])('a relay that is %s', async (_, health, [livez, readyz, healthz]) => {
  expect(await statuses(health)).toEqual({ '/livez': livez, '/readyz': readyz, '/healthz': healthz })
})

test('/healthz tells all that a person asks, without what went wrong inside', async () => {
  const down = { ...well, ready: false, database: { up: false, lastOkAt: null, error: 'password of app is x' } }
  await using server = await serveHealth({ host: '127.0.0.1', port: 0 }, () => down)
  const body = await (await fetch(`http://127.0.0.1:${server.port}/healthz`)).text()
  expect(JSON.parse(body)).toMatchObject({
    live: true,
    ready: false,
    database: { up: false },
    listener: { state: 'listening' },
    lanes: { billing: [{ lane: 0 }, { lane: 1 }] },
  })
  expect(body).not.toContain('password')
})

test('other paths and methods are refused', async () => {
  await using server = await serveHealth({ host: '127.0.0.1', port: 0 }, () => well)
  expect((await fetch(`http://127.0.0.1:${server.port}/`)).status).toBe(404)
  expect((await fetch(`http://127.0.0.1:${server.port}/livez`, { method: 'POST' })).status).toBe(405)
})

test('a port that is taken is named', async () => {
  await using server = await serveHealth({ host: '127.0.0.1', port: 0 }, () => well)
  await expect(serveHealth({ host: '127.0.0.1', port: server.port }, () => well)).rejects.toMatchObject({
    code: 'invalid_options',
    message: expect.stringContaining(`127.0.0.1:${server.port} cannot be taken`) as string,
  })
})
