/** Rules of docs/security.md that have no better place. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectTo, createServer, type AddressInfo, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { isPostriderError } from '@postrider/schema'
import { createWebhookEndpoints, createWebhookSink, generateSecret, type WebhookOptions } from '@postrider/webhook'
import { parseDenied } from '../src/deny.ts'
import { externalGuard, internalGuard } from '../src/guard.ts'
import { hopsOf, withHop } from '../src/hops.ts'
import { anEvent, deliver, localSink, secret } from './event.ts'
import { receiver } from './receiver.ts'

afterEach(() => void vi.unstubAllEnvs())

/** The problems of options; none when they are taken. */
function problems(change: Partial<WebhookOptions>): readonly string[] {
  try {
    void createWebhookSink({ name: 'shop', url: 'https://example.com/', secrets: { current: secret }, ...change })[
      Symbol.asyncDispose
    ]()
    return []
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return error.details.problems ?? []
  }
}

test('IPv6 is closed but for global unicast, and an IPv4 address in its clothes is seen', () => {
  const closed = [
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::a00:1',
    'fd00:ec2::254',
    'fe80::1',
    'fec0::1',
    '::127.0.0.1',
  ]
  const tunnels = [
    '2001::1',
    '2001:1ff:ffff::1',
    '2001:db8::1',
    '2002:7f00:1::1',
    '2620:4f:8000::1',
    '3fff:fff::1',
    '4000::1',
    '1fff::1',
  ]
  for (const address of [...closed, ...tunnels]) expect([address, externalGuard.permits(address, 'h')]).toEqual([address, false])
  for (const address of ['2001:200::1', '2003::1', '2620:4f:8001::1', '3ffe::1', '2a00:1450::1', '::ffff:8.8.8.8'])
    expect([address, externalGuard.permits(address, 'h')]).toEqual([address, true])
})

test('trust decides by a matrix: external is public, https and its ports; internal is what is listed, and never what is closed to all', () => {
  const internal = { trust: 'internal', allow: ['10.0.0.0/8', 'receiver.test'] } as const
  const matrix: readonly [change: Partial<WebhookOptions>, taken: boolean][] = [
    [{ url: 'https://8.8.8.8/' }, true],
    [{ url: 'http://8.8.8.8/' }, false],
    [{ url: 'https://8.8.8.8:8443/' }, false],
    [{ url: 'https://8.8.8.8:8443/', ports: [8443] }, true],
    [{ url: 'https://10.0.0.1/' }, false],
    [{ url: 'https://8.8.8.8/', allow: ['10.0.0.0/8'] }, false],
    [{ ...internal, url: 'http://10.0.0.1:8080/' }, true],
    [{ ...internal, url: 'http://receiver.test/' }, true],
    [{ ...internal, url: 'http://192.168.0.1/' }, false],
    [{ ...internal, url: 'https://8.8.8.8/' }, false],
    [{ trust: 'internal', allow: ['0.0.0.0/0', '::/0'], url: 'http://169.254.169.254/' }, false],
    [{ trust: 'internal', allow: ['0.0.0.0/0', '::/0'], url: 'http://[fd00:ec2::254]/' }, false],
    [{ trust: 'internal', allow: ['0.0.0.0/0'], url: 'http://168.63.129.16/' }, false],
  ]
  expect(matrix.map(([change]) => problems(change).length === 0)).toEqual(matrix.map(([, taken]) => taken))
})

describe('deny', () => {
  test('is read strictly', () => {
    for (const good of ['db.test', 'DB.test.:5432', '10.0.0.1', '10.0.0.1:5432', '::1', '[::1]', '[::1]:5432', 'localhost:1'])
      expect([good, parseDenied(good)]).not.toEqual([good, null])
    for (const bad of [
      '',
      'https://db.test',
      'db.test:',
      'db.test:0',
      'db.test:70000',
      'a b',
      '[::1',
      '127.1',
      '10.0.0.0/8',
      'a@b',
    ])
      expect([bad, parseDenied(bad)]).toEqual([bad, null])
    expect(problems({ deny: ['https://db.test/'] })).toEqual(['deny: https://db.test/ is neither host, host:port nor an address'])
  })

  test('keeps a sink from our own public host, so that nothing it is sent can come back as an event', () => {
    const deny = ['api.shop.test']
    for (const url of ['https://api.shop.test/', 'https://API.Shop.Test./hooks', 'https://api.shop.test:443/'])
      expect([url, problems({ url, deny })]).toEqual([url, ['url: target not allowed (deny)']])
    expect(problems({ url: 'https://www.shop.test/', deny })).toEqual([])
    const row = { url: 'https://api.shop.test/', secrets: { current: ['env:DENY_SECRET'] }, headers: {}, format: null }
    vi.stubEnv('DENY_SECRET', generateSecret())
    expect(() => createWebhookEndpoints({ name: 'hooks', deny }).open({ name: 'hooks/loop', settings: row })).toThrow(/\(deny\)/)
  })

  test('keeps an internal sink from a service by whatever name or address, and from no other port', async () => {
    await using database = await receiver()
    await using other = await receiver()
    const own = [`localhost:${database.port}`]
    const elsewhere = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .find(({ internal, family }) => !internal && family === 'IPv4')
    const names = [
      '127.0.0.1',
      '127.0.0.2',
      '[::ffff:127.0.0.1]',
      'other.localhost',
      ...(elsewhere === undefined ? [] : [elsewhere.address]),
    ]
    for (const name of names) {
      const url = `http://${name}:${database.port}/`
      await using sink = localSink(url, { deny: own, allow: ['127.0.0.0/8', 'other.localhost', '0.0.0.0/0'] })
      expect([name, await deliver(sink)]).toMatchObject([name, { kind: 'reject', error: { code: 'blocked_target' } }])
    }
    expect(database.connections).toBe(0)
    await using sink = localSink(other.url, { deny: own })
    expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
  })

  test('lets nobody by while the name of a denied service cannot be resolved; the event is tried again', async () => {
    await using server = await receiver()
    await using sink = localSink(server.url, { deny: [`nowhere.invalid:${server.port}`] })
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'dns' } })
    expect(server.connections).toBe(0)
  })
})

test('an event that goes round in a circle is dead after eight hops, told by the trace state that receivers hand on', async () => {
  await using server = await receiver()
  await using sink = localSink(server.url)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  let headers: Readonly<Record<string, string>> = { traceparent, tracestate: 'vendor=1' }
  const outcomes: unknown[] = []
  for (let round = 0; round < 10; round++) {
    const outcome = await sink.deliver({ event: anEvent({ headers }), number: 1 }, AbortSignal.timeout(5_000))
    outcomes.push('error' in outcome ? [outcome.kind, outcome.error.code] : outcome.kind)
    if (outcome.kind !== 'delivered') break
    // What OpenTelemetry does, and what a service without it may do: the trace of the request becomes that of the event.
    const { tracestate } = server.received.at(-1)!.headers
    headers = { traceparent, tracestate: String(tracestate) }
  }
  expect(outcomes).toEqual([...Array.from({ length: 8 }, () => 'delivered'), ['reject', 'loop']])
  expect(headers['tracestate']).toBe('postrider=8,vendor=1')
  expect([hopsOf(undefined), hopsOf('vendor=9'), hopsOf('postrider=x'), withHop(undefined)]).toEqual([0, 0, 0, 'postrider=1'])
})

test('the path of a request is that of the URL and nothing else, so that no other host can stand in it', async () => {
  await using server = await receiver()
  for (const [path, sent] of [
    ['//evil.test/x', '//evil.test/x'],
    ['http://evil.test/', '/http://evil.test/'],
    ['\\\\evil.test\\', '//evil.test/'],
    ['a b\r\nx: y', '/a%20bx:%20y'],
    ['?http://evil.test', '/?http://evil.test'],
  ]) {
    await using sink = localSink(`${server.url}${path}`)
    expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
    const last = server.received.at(-1)
    expect([last?.path, last?.headers.host]).toEqual([
      path?.startsWith('/') || path?.startsWith('\\') ? `/${sent}` : sent,
      `127.0.0.1:${server.port}`,
    ])
  }
})

test('a destination that drops every packet of a new connection costs the deadline for connections, and no more', async () => {
  const child = spawn(process.execPath, ['-e', listenAndSayWhere], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 })
  const fillers: Socket[] = []
  try {
    const [text] = (await once(child.stdout, 'data')) as [Buffer]
    const port = Number(text.toString())
    child.kill('SIGSTOP') // It accepts nothing any more; once its queue is full, the kernel answers no SYN.
    for (let nth = 0; nth < 8; nth++) fillers.push(connectTo(port, '127.0.0.1').on('error', () => undefined))
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(
      fillers.some((socket) => socket.connecting),
      'the queue is full',
    ).toBe(true)
    await using sink = localSink(`http://127.0.0.1:${port}/`, { timeouts: { totalMs: 2_000, connectMs: 300 } })
    const before = performance.now()
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'connect', message: 'no connection in time' } })
    expect(performance.now() - before).toBeLessThan(2_250)
  } finally {
    for (const socket of fillers) socket.destroy()
    child.kill('SIGKILL')
    await once(child, 'close')
  }
})

const listenAndSayWhere = `
const server = require('node:net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => console.log(server.address().port))`

test('no proxy of the environment is used: it would dial for us, past every rule about addresses', async () => {
  await using server = await receiver()
  let dialled = 0
  const proxy = createServer((socket) => {
    dialled += 1
    socket.destroy()
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const names = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']
  // In a process of its own, because Node reads the environment when it starts.
  const script = `
    const { localSink, deliver } = await import(${JSON.stringify(new URL('event.ts', import.meta.url).href)})
    const sink = localSink(${JSON.stringify(server.url)})
    console.log((await deliver(sink)).kind)
    await sink[Symbol.asyncDispose]()`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=@postrider/source', '--input-type=module', '-e', script],
    {
      timeout: 20_000,
      env: { PATH: process.env['PATH'], NODE_USE_ENV_PROXY: '1', ...Object.fromEntries(names.map((name) => [name, address])) },
    },
  )
  await new Promise((resolve) => proxy.close(resolve))
  expect([stdout.trim(), dialled, server.received.length]).toEqual(['delivered', 0, 1])
})

test('a row that came into the database past all checks is checked once more before anything is sent', async () => {
  vi.stubEnv('ROW_SECRET', generateSecret())
  const family = createWebhookEndpoints({ name: 'hooks' })
  const row = { url: 'https://example.com/', secrets: { current: ['env:ROW_SECRET'] }, headers: {}, format: null }
  const open = (change: object): void =>
    void family.open({ name: 'hooks/acme', settings: { ...row, ...change } })[Symbol.asyncDispose]()
  open({})
  const refused: readonly [change: object, problem: RegExp][] = [
    [{ headers: { host: 'evil.test' } }, /headers\.host: is reserved/],
    [{ headers: { 'webhook-id': 'forged' } }, /headers\.webhook-id: is reserved/],
    [{ headers: { 'x-a': 'a\r\nb: c' } }, /headers\.x-a: the value must be visible ASCII/],
    [{ url: 'https://127.0.0.1/' }, /target not allowed/],
    [{ url: 'http://example.com/' }, /must be https/],
    [{ url: 'https://user:pass@example.com/' }, /no user or password/],
    [{ format: 'xml' }, /format: one of/],
    [{ secrets: { current: ['env:constructor'] } }, /the environment variable constructor is not set/],
    [{ secrets: { current: ['file:/dev/zero'] } }, /it is no file of at most 4096 bytes/],
    [{ secrets: { current: ['whsec_AAAA'] } }, /24 to 64 bytes/],
  ]
  for (const [change, problem] of refused) expect(() => open(change), JSON.stringify(change)).toThrow(problem)
})

test('a file that is no small file is not read for a secret', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'postrider-secret-'))
  try {
    const large = join(directory, 'large')
    await writeFile(large, 'x'.repeat(4_097))
    const family = createWebhookEndpoints({ name: 'hooks' })
    for (const file of [large, directory]) {
      const settings = { url: 'https://example.com/', secrets: { current: [`file:${file}`] }, headers: {}, format: null }
      expect(() => family.open({ name: 'hooks/acme', settings })).toThrow(/it is no file of at most 4096 bytes/)
    }
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('no address leaves the guard by an odd way of writing it', () => {
  const guard = internalGuard(['0.0.0.0/0', '::/0'])
  for (const odd of ['127.1', '2130706433', '0x7f.1', '0177.0.0.1', '127.0.0.1 ', '', 'fe80::1%lo', '::ffff:127.0.0.1%1'])
    expect([odd, guard.permits(odd, odd), externalGuard.permits(odd, odd)]).toEqual([odd, false, false])
})
