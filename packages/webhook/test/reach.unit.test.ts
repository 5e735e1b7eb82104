import { readFileSync } from 'node:fs'
import { createServer as createHttps, type ServerOptions } from 'node:https'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { X509Certificate } from 'node:crypto'
import type { Reach } from '@postrider/relay'
import { createWebhookSink, type WebhookOptions } from '@postrider/webhook'
import { describe, expect, test } from 'vitest'
import { dnsServer } from './dns-server.ts'
import { localSink, secret } from './event.ts'

const file = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const ca = file('ca.pem')
const identity = (name: string): ServerOptions => ({ cert: file(`${name}.pem`), key: file(`${name}.key`) })

async function reach(url: string, options: Partial<WebhookOptions> = {}, signal = AbortSignal.timeout(5_000)): Promise<Reach> {
  await using sink = localSink(url, options)
  return await sink.reach!(signal)
}

/** Counts the connections that it gets, and the bytes. */
async function listening(
  server: Server,
): Promise<{ port: number; seen: { connections: number; bytes: number } } & AsyncDisposable> {
  const seen = { connections: 0, bytes: 0 }
  const open = new Set<{ destroy(): void }>()
  server.on('connection', (socket) => {
    seen.connections++
    open.add(socket)
    socket.on('error', () => undefined)
  })
  server.on('request', () => seen.bytes++)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

describe('whether a destination can be reached', () => {
  test('a server that takes connections is reached, and is sent nothing', async () => {
    let bytes = 0
    const server = createServer((socket) => socket.on('data', (chunk) => (bytes += chunk.length)))
    await using place = await listening(server)
    expect(await reach(`http://127.0.0.1:${place.port}/`)).toEqual({ reached: true, certificateEnds: null })
    expect([place.seen.connections, bytes]).toEqual([1, 0])
  })

  test('by TLS it tells when the certificate ends', async () => {
    await using place = await listening(createHttps(identity('server')))
    expect(await reach(`https://localhost:${place.port}/`, { tls: { ca } })).toEqual({
      reached: true,
      certificateEnds: new Date(new X509Certificate(file('server.pem')).validTo),
    })
    expect(place.seen).toEqual({ connections: 1, bytes: 0 })
  })

  test.each([
    ['an unknown authority', 'server', {}, 'tls', /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT/],
    ['a certificate for another name', 'elsewhere', { tls: { ca } }, 'tls', /ERR_TLS_CERT_ALTNAME_INVALID/],
    ['a certificate out of date', 'expired', { tls: { ca } }, 'tls', /CERT_HAS_EXPIRED/],
  ])('%s is not', async (_what, name, options, code, message) => {
    await using place = await listening(createHttps(identity(name)))
    expect(await reach(`https://127.0.0.1:${place.port}/`, options)).toEqual({
      reached: false,
      error: { code, message: expect.stringMatching(message) as string },
    })
  })

  test('a closed port is not, and the reason names no address', async () => {
    const place = await listening(createServer())
    await place[Symbol.asyncDispose]()
    expect(await reach(`http://127.0.0.1:${place.port}/`)).toEqual({
      reached: false,
      error: { code: 'connect', message: 'no connection (ECONNREFUSED)' },
    })
  })

  test('a forbidden address is never dialled', async () => {
    await using place = await listening(createServer())
    await using names = await dnsServer((_name, type) => (type === 'A' ? ['127.0.0.1'] : []))
    await using sink = createWebhookSink({
      name: 'external',
      url: `https://hooks.example:${place.port}/`,
      secrets: { current: secret },
      ports: [place.port],
      dnsServers: [names.address],
    })
    expect(await sink.reach!(AbortSignal.timeout(5_000))).toEqual({
      reached: false,
      error: { code: 'blocked_target', message: 'target not allowed' },
    })
    expect(names.questions).toContain('A hooks.example')
    expect(place.seen.connections).toBe(0)
  })

  test('a server that never ends its handshake is given up at the deadline, or at the signal', async () => {
    await using place = await listening(createServer())
    const url = `https://127.0.0.1:${place.port}/`
    expect(await reach(url, { timeouts: { connectMs: 300 } })).toMatchObject({ reached: false, error: { code: 'connect' } })
    const begun = performance.now()
    expect(await reach(url, {}, AbortSignal.timeout(100))).toMatchObject({ reached: false, error: { code: 'interrupted' } })
    expect(await reach(url, {}, AbortSignal.abort())).toMatchObject({ reached: false, error: { code: 'interrupted' } })
    expect(performance.now() - begun).toBeLessThan(3_000)
  })
})
