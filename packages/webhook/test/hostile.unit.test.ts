import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { Outcome } from '@postrider/relay'
import { deliver, localSink } from './event.ts'
import { flood, rawServer, receiver, repeat, type RawServer } from './receiver.ts'

const totalMs = 1_000
const slackMs = 250

/** Delivers one event, and holds it to the total deadline. */
async function face(
  server: RawServer,
  change: Parameters<typeof localSink>[1] = {},
): Promise<{ outcome: Outcome; tookMs: number }> {
  await using sink = localSink(server.url, { timeouts: { totalMs }, ...change })
  const before = performance.now()
  const outcome = await deliver(sink)
  const tookMs = performance.now() - before
  expect(tookMs).toBeLessThan(totalMs + slackMs)
  return { outcome, tookMs }
}

describe('a slot is free again within the total deadline, before', () => {
  test('a server that never answers', async () => {
    await using server = await rawServer((socket) => void socket.resume())
    const { outcome, tookMs } = await face(server)
    expect(outcome).toMatchObject({ kind: 'retry', error: { code: 'timeout' } })
    expect(tookMs).toBeGreaterThan(totalMs - 50)
  })

  test('a server that never reads', async () => {
    await using server = await rawServer((socket) => void socket.pause())
    await using sink = localSink(server.url, { timeouts: { totalMs } })
    const before = performance.now()
    expect(await deliver(sink, { payloadText: `"${'x'.repeat(8_000_000)}"` })).toMatchObject({
      kind: 'retry',
      error: { code: 'timeout' },
    })
    expect(performance.now() - before).toBeLessThan(totalMs + slackMs)
  })

  test('headers that drip', async () => {
    await using server = await rawServer((socket, until) => {
      socket.resume().write('HTTP/1.1 200 OK\r\nx-slow: ')
      repeat(socket, 'a', 20, until)
    })
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'timeout' } })
  })

  test('a body that drips, whose status counts nevertheless', async () => {
    const drip = (status: string): Promise<RawServer> =>
      rawServer((socket, until) => {
        socket.resume().write(`HTTP/1.1 ${status}\r\ncontent-length: 100000\r\n\r\n`)
        repeat(socket, 'a', 20, until)
      })
    await using failing = await drip('500 No')
    await using working = await drip('200 OK')
    const [failed, worked] = await Promise.all([face(failing), face(working)])
    expect(failed.outcome).toMatchObject({
      kind: 'retry',
      error: { code: 'status_5xx' },
      detail: { body: expect.stringMatching(/^a+$/) },
    })
    expect(worked.outcome).toMatchObject({ kind: 'delivered', status: 200 })
  })

  test('a 103 every 20 ms', async () => {
    await using server = await rawServer((socket, until) =>
      repeat(socket.resume(), 'HTTP/1.1 103 Early Hints\r\n\r\n', 20, until),
    )
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'malformed_response' } })
  })

  test('a 103 every 200 ms, which undici alone would take for ever', async () => {
    await using server = await rawServer((socket, until) =>
      repeat(socket.resume(), 'HTTP/1.1 103 Early Hints\r\n\r\n', 200, until),
    )
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'timeout' } })
  })

  test('a 103 as fast as it can', async () => {
    await using server = await rawServer((socket) =>
      flood(socket.resume(), Buffer.from('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1_000))),
    )
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'malformed_response' } })
  })

  test('a TCP peer that never shakes hands on TLS', async () => {
    await using server = await rawServer((socket) => void socket.resume())
    await using sink = localSink(server.url.replace('http:', 'https:'), { timeouts: { totalMs, connectMs: 500 } })
    const before = performance.now()
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: expect.stringMatching(/^(?:connect|timeout)$/) } })
    expect(performance.now() - before).toBeLessThan(totalMs + slackMs)
  })

  test('many of them at once, and the connections serve again afterwards', async () => {
    let patient = true
    await using server = await rawServer((socket) => {
      socket.on('data', () => void (patient || socket.write('HTTP/1.1 204 No Content\r\n\r\n')))
    })
    await using sink = localSink(server.url, { timeouts: { totalMs }, connections: 4 })
    const before = performance.now()
    // Eight on four connections: the second four wait for a connection, and their deadline runs all the same.
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => deliver(sink)))
    expect(performance.now() - before).toBeLessThan(totalMs + slackMs)
    for (const outcome of outcomes) expect(outcome).toMatchObject({ kind: 'retry', error: { code: 'timeout' } })
    patient = false
    for (const outcome of await Promise.all(Array.from({ length: 8 }, () => deliver(sink))))
      expect(outcome.kind).toBe('delivered')
  })
})

describe('an answer too large is not read', () => {
  test('200 MB, of which at most a socket buffer or two are taken', async () => {
    let written = 0
    await using server = await rawServer((socket) => {
      socket.resume().write('HTTP/1.1 500 No\r\ncontent-length: 209715200\r\n\r\n')
      const chunk = Buffer.alloc(65_536, 'x')
      flood(socket, chunk)
      socket.on('close', () => (written = socket.bytesWritten))
    })
    const rss = process.memoryUsage().rss
    const { outcome, tookMs } = await face(server)
    expect(outcome).toMatchObject({ kind: 'retry', error: { code: 'status_5xx' }, detail: { body: 'x'.repeat(2_048) } })
    expect(tookMs).toBeLessThan(500)
    expect(process.memoryUsage().rss - rss).toBeLessThan(50_000_000)
    await expect.poll(() => written).toBeGreaterThan(0)
    expect(written).toBeLessThan(20_000_000)
  })

  test('an endless chunked 200 is delivered', async () => {
    await using server = await rawServer((socket) => {
      socket.resume().write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
      flood(socket, Buffer.from(`4000\r\n${'x'.repeat(0x4000)}\r\n`))
    })
    const { outcome, tookMs } = await face(server)
    expect(outcome).toEqual({ kind: 'delivered', status: 200 })
    expect(tookMs).toBeLessThan(500)
  })

  test('a gzip bomb stays closed', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000))
    await using server = await receiver((response, { headers }) => {
      expect(headers['accept-encoding']).toBe('identity')
      response.writeHead(500, { 'content-encoding': 'gzip', 'content-type': 'text/plain' }).end(bomb)
    })
    const rss = process.memoryUsage().rss
    const { outcome } = await face(server)
    expect(outcome).toMatchObject({ kind: 'retry', detail: { headers: { 'content-encoding': 'gzip' } } })
    expect(outcome.detail).not.toHaveProperty('body')
    expect(process.memoryUsage().rss - rss).toBeLessThan(15_000_000)
  })

  test('40 KB of headers', async () => {
    await using server = await rawServer((socket) => {
      socket
        .resume()
        .write(
          `HTTP/1.1 200 OK\r\n${Array.from({ length: 40 }, (_, index) => `x-${index}: ${'a'.repeat(1_000)}\r\n`).join('')}\r\n`,
        )
    })
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'malformed_response' } })
  })
})

describe('an answer that is none', () => {
  test.each([
    ['nonsense', 'SSH-2.0-OpenSSH_9.7\r\n'],
    ['a 100 that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\n'],
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
    ['a body shorter than it says', 'HTTP/1.1 4'],
    ['both lengths, as smugglers send', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
  ])('%s is retried', async (_what, text) => {
    await using server = await rawServer((socket) => void socket.resume().end(text))
    expect((await face(server)).outcome).toMatchObject({
      kind: 'retry',
      error: { code: expect.stringMatching(/^(?:connect|malformed_response)$/) },
    })
  })

  test('a connection reset is retried', async () => {
    await using server = await rawServer((socket) => void socket.resetAndDestroy())
    expect((await face(server)).outcome).toMatchObject({ kind: 'retry', error: { code: 'connect' } })
  })

  test('a 413 while the body is still on its way is a 413', async () => {
    await using server = await rawServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'))
    })
    await using sink = localSink(server.url, { timeouts: { totalMs } })
    const outcome = await deliver(sink, { payloadText: `"${'x'.repeat(2_000_000)}"` })
    expect(outcome).toMatchObject({ kind: 'reject', status: 413 })
  })
})

test.each([301, 302, 307, 308])('a %d to an internal server never reaches it', async (status) => {
  await using inside = await receiver()
  await using server = await receiver((response) => response.writeHead(status, { location: `${inside.url}secret` }).end())
  const { outcome } = await face(server)
  expect(outcome).toMatchObject({
    kind: 'retry',
    error: { code: 'redirect' },
    detail: { headers: { location: inside.url.slice(0, -1) } },
  })
  expect(inside.connections).toBe(0)
  expect(inside.received).toHaveLength(0)
})

test('a request that is not answered in time on a connection that has served before is sent once', async () => {
  let requests = 0
  await using server = await receiver((response) => {
    if (++requests === 1) response.writeHead(204).end()
  })
  await using sink = localSink(server.url, { timeouts: { totalMs: 2_000, firstByteMs: 300 } })
  expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
  expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'timeout' } })
  expect(requests).toBe(2)
})

test('more deliveries than connections to a port where nobody is all fail, and the next ones are delivered', async () => {
  const { url, port } = await (async () => {
    await using gone = await receiver()
    return gone
  })()
  await using sink = localSink(url, { connections: 1 })
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => deliver(sink)))
  expect(new Set(outcomes.map(({ kind }) => kind))).toEqual(new Set(['retry']))
  expect(port).toBeGreaterThan(0)
})

test('however many wait for a connection, they end when the sink is disposed of, and nothing is sent afterwards', async () => {
  await using server = await receiver(() => {})
  const sink = localSink(server.url, { connections: 1 })
  const waiting = Array.from({ length: 5_000 }, () => deliver(sink))
  await sink[Symbol.asyncDispose]()
  const outcomes = await Promise.all(waiting)
  expect(outcomes.some(({ kind }) => kind === 'delivered')).toBe(false)
  const before = server.received.length
  await deliver(sink)
  // One that has not connected yet does not connect any more.
  const unused = localSink(server.url)
  await unused[Symbol.asyncDispose]()
  expect(await deliver(unused, {}, AbortSignal.timeout(500))).toMatchObject({ kind: 'retry' })
  expect(server.received).toHaveLength(before)
})
