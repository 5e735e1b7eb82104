import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer, type Server, type ServerOptions } from 'node:https'
import { describe, expect, test } from 'vitest'
import type { WebhookOptions } from '@postrider/webhook'
import type { Outcome } from '@postrider/relay'
import { deliver, localSink } from './event.ts'

const file = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const ca = file('ca.pem')
const identity = (name: string): { cert: string; key: string } => ({ cert: file(`${name}.pem`), key: file(`${name}.key`) })

interface Deliveries {
  readonly outcomes: readonly Outcome[]
  readonly requests: number
  readonly handshakes: number
}

/** Delivers to an https server on 127.0.0.1, twice, so that a kept connection shows. */
async function deliverTo(server: ServerOptions, options: Partial<WebhookOptions>, host = '127.0.0.1'): Promise<Deliveries> {
  let requests = 0
  let handshakes = 0
  const https: Server = createServer(server, (request, response) => {
    requests += 1
    request.resume().on('end', () => response.end())
  })
  https.on('secureConnection', () => (handshakes += 1))
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve))
  try {
    await using sink = localSink(`https://${host}:${(https.address() as AddressInfo).port}/`, {
      timeouts: { totalMs: 2_000 },
      ...options,
    })
    return { outcomes: [await deliver(sink), await deliver(sink)], requests, handshakes }
  } finally {
    https.closeAllConnections()
    await new Promise((resolve) => https.close(resolve))
  }
}

describe('TLS', () => {
  test.each(['127.0.0.1', 'localhost'])('the authority given as ca is trusted for %s, on one connection', async (host) => {
    const { outcomes, handshakes } = await deliverTo(identity('server'), { tls: { ca }, connections: 1 }, host)
    for (const outcome of outcomes) expect(outcome).toEqual({ kind: 'delivered', status: 200 })
    expect(handshakes).toBe(1)
  })

  test.each([
    ['an unknown authority', 'server', {}, /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT/],
    ['a certificate for another name', 'elsewhere', { tls: { ca } }, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ['a certificate out of date', 'expired', { tls: { ca } }, /CERT_HAS_EXPIRED/],
  ])('%s is refused before anything is sent', async (_what, name, options, code) => {
    const { outcomes, requests } = await deliverTo(identity(name), options)
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ kind: 'retry', error: { code: 'tls', message: expect.stringMatching(code) } })
      expect(JSON.stringify(outcome)).not.toMatch(/elsewhere/)
    }
    expect(requests).toBe(0)
  })

  test('NODE_TLS_REJECT_UNAUTHORIZED=0 does not open it', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    try {
      const { outcomes, requests } = await deliverTo(identity('server'), {})
      expect(outcomes[0]).toMatchObject({ kind: 'retry', error: { code: 'tls' } })
      expect(requests).toBe(0)
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    }
  })

  test('TLS 1.1 is refused', async () => {
    const old: ServerOptions = {
      ...identity('server'),
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    }
    const { outcomes, requests } = await deliverTo(old, { tls: { ca } })
    expect(outcomes[0]).toMatchObject({ kind: 'retry', error: { code: 'tls' } })
    expect(requests).toBe(0)
  })

  test('a server that asks who we are is answered with cert and key, and refuses without', async () => {
    const asking: ServerOptions = { ...identity('server'), ca, requestCert: true, rejectUnauthorized: true }
    const known = await deliverTo(asking, { tls: { ca, ...identity('client') } })
    expect(known.outcomes[0]).toEqual({ kind: 'delivered', status: 200 })
    const unknown = await deliverTo(asking, { tls: { ca } })
    expect(unknown.outcomes[0]).toMatchObject({ kind: 'retry', error: { code: expect.stringMatching(/^(?:tls|connect)$/) } })
    expect(unknown.requests).toBe(0)
  })
})
