import { describe, expect, test } from 'vitest'
import {
  createSealer,
  createWebhookEndpoints,
  generateSealKey,
  type Consent,
  type WebhookEndpointsOptions,
} from '@postrider/webhook'
import { dnsServer } from './dns-server.ts'
import { deliver, secret } from './event.ts'
import { rawServer, receiver, repeat, type Receiver } from './receiver.ts'

const secretKey = generateSealKey()
const sealer = createSealer({ current: secretKey })
const common = { name: 'hooks', trust: 'internal', allow: ['127.0.0.0/8'], secretKey } as const
const ours = 'events.shop.example'

/** A row of `postrider.endpoints`. */
function endpoint(url: string, row: Record<string, unknown> = {}): { name: string; settings: Record<string, unknown> } {
  const settings = { url, secrets: { current: [sealer.seal(secret, 'hooks/acme')] }, headers: {}, format: null, ...row }
  return { name: 'hooks/acme', settings }
}

async function ask(
  url: string,
  { rate = null, row = {}, ...options }: Partial<WebhookEndpointsOptions> & { rate?: number | null; row?: object } = {},
  signal?: AbortSignal,
): Promise<Consent> {
  await using family = createWebhookEndpoints({ ...common, requestOrigin: ours, ...options })
  return await family.askConsent(endpoint(url, { ...row }), rate, signal)
}

type Headers = Readonly<Record<string, string | readonly string[]>>

/** A server that answers OPTIONS with this. */
function server(status: number, headers: Headers): Promise<Receiver> {
  return receiver((response, { method }) => {
    if (method === 'OPTIONS') for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    response.writeHead(method === 'OPTIONS' ? status : 204).end()
  })
}

async function answered(status: number, headers: Headers): Promise<Consent> {
  await using asked = await server(status, headers)
  const consent = await ask(asked.url)
  expect(asked.received.map(({ method }) => method)).toEqual(['OPTIONS'])
  return consent
}

const refused = (status: number | null, code: string, message: string): Consent =>
  ({ given: false, status, perMinute: null, error: { code, message: expect.stringContaining(message) as string } }) as Consent
const given = (status: number, perMinute: number | null = null): Consent => ({ given: true, status, perMinute, error: null })

describe('asking', () => {
  test('is one OPTIONS to the very URL of the endpoint, with the name of the sender, its headers, and neither body nor signature', async () => {
    await using asked = await server(200, { 'WebHook-Allowed-Origin': ours })
    const row = { headers: { authorization: sealer.seal('Bearer own', 'hooks/acme') } }
    expect(await ask(`${asked.url}path?token=1`, { row, headers: { 'x-all': 'yes' } })).toEqual(given(200))
    const [request, ...more] = asked.received
    expect(more).toEqual([])
    expect(request).toMatchObject({
      method: 'OPTIONS',
      path: '/path?token=1',
      headers: { 'webhook-request-origin': ours, authorization: 'Bearer own', 'x-all': 'yes' },
    })
    expect(request?.body).toHaveLength(0)
    for (const name of ['webhook-request-rate', 'webhook-request-callback', 'webhook-signature', 'transfer-encoding'])
      expect(request?.headers[name], name).toBeUndefined()
  })

  test.for<[rate: number, asksFor: string]>([
    [2, '120'],
    [0.5, '30'],
    [1.1, '66'],
    [0.001, '1'],
  ])('for %d events a second asks for %s requests a minute', async ([rate, asksFor]) => {
    await using asked = await server(200, { 'WebHook-Allowed-Origin': ours })
    await ask(asked.url, { rate })
    expect(asked.received[0]?.headers['webhook-request-rate']).toBe(asksFor)
  })

  test('without a name of the sender is refused, and nothing is sent', async () => {
    await using asked = await server(200, { 'WebHook-Allowed-Origin': '*' })
    await using family = createWebhookEndpoints(common)
    await expect(family.askConsent(endpoint(asked.url), null)).rejects.toMatchObject({
      code: 'invalid_options',
      message: expect.stringContaining('requestOrigin: is missing; set it for the sink') as string,
    })
    expect(asked.connections).toBe(0)
  })
})

describe('consent is', () => {
  test.for<[what: string, status: number, headers: Headers]>([
    ['our name', 200, { 'WebHook-Allowed-Origin': ours }],
    ['our name in other letters', 200, { 'webhook-allowed-origin': ' Events.SHOP.example ' }],
    ['*', 200, { 'WebHook-Allowed-Origin': '*' }],
    ['our name with 204', 204, { 'WebHook-Allowed-Origin': ours }],
    ['our name and any rate', 200, { 'WebHook-Allowed-Origin': ours, 'WebHook-Allowed-Rate': '*' }],
  ])('%s', async ([, status, headers]) => {
    expect(await answered(status, headers)).toEqual(given(status))
  })

  test.for<[rate: string, perMinute: number]>([
    ['120', 120],
    ['1', 1],
    [' 060 ', 60],
    ['9'.repeat(400), Number.MAX_SAFE_INTEGER],
  ])('with a rate when it allows %s', async ([rate, perMinute]) => {
    expect(await answered(200, { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': rate })).toEqual(given(200, perMinute))
  })
})

describe('it is no consent, when', () => {
  test.for<[what: string, status: number, headers: Headers, says: string]>([
    ['another sender is allowed', 200, { 'WebHook-Allowed-Origin': 'other.example' }, `neither * nor ${ours}`],
    ['a part of our name is allowed', 200, { 'WebHook-Allowed-Origin': 'shop.example' }, `neither * nor ${ours}`],
    ['a pattern is allowed', 200, { 'WebHook-Allowed-Origin': '*.shop.example' }, `neither * nor ${ours}`],
    ['there are two answers', 200, { 'WebHook-Allowed-Origin': ['other.example', ours] }, `neither * nor ${ours}`],
    ['the header is empty', 200, { 'WebHook-Allowed-Origin': '' }, `neither * nor ${ours}`],
    [
      'there is none, as of any server that answers OPTIONS',
      200,
      { allow: 'OPTIONS, POST' },
      'WebHook-Allowed-Origin is missing',
    ],
    ['OPTIONS is not known', 405, {}, 'answered 405'],
    ['the status says no, whatever the header says', 403, { 'WebHook-Allowed-Origin': ours }, 'answered 403'],
  ])('%s', async ([, status, headers, says]) => {
    expect(await answered(status, headers)).toEqual(refused(status, 'no_consent', says))
  })

  test.for(['many', '0', '-1', '1.5', '1e3', '60, 120', '', '0x10'])(
    'the allowed rate is %j, which nobody could keep',
    async (rate) => {
      expect(await answered(200, { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': rate })).toEqual(
        refused(200, 'no_consent', 'WebHook-Allowed-Rate is neither * nor a whole number above 0'),
      )
    },
  )

  test('it comes from where a redirect leads: that is not followed', async () => {
    await using elsewhere = await server(200, { 'WebHook-Allowed-Origin': '*' })
    for (const status of [301, 302, 307, 308]) {
      expect(await answered(status, { location: elsewhere.url, 'WebHook-Allowed-Origin': '*' })).toEqual(
        refused(status, 'no_consent', `answered ${status}; redirects are not followed`),
      )
    }
    expect(elsewhere.connections).toBe(0)
  })
})

describe('there is an answer within the total deadline, before', () => {
  const timeouts = { totalMs: 1_000 }
  async function face(url: string): Promise<Consent> {
    const before = performance.now()
    const consent = await ask(url, { timeouts })
    expect(performance.now() - before).toBeLessThan(timeouts.totalMs + 250)
    return consent
  }

  test('a server that never answers', async () => {
    await using silent = await rawServer((socket) => void socket.resume())
    expect(await face(silent.url)).toEqual(refused(null, 'timeout', 'no answer within the total deadline'))
  })

  test('a server whose headers drip', async () => {
    await using dripping = await rawServer((socket, until) => {
      socket.resume().write('HTTP/1.1 200 OK\r\nwebhook-allowed-origin: *\r\nx-slow: ')
      repeat(socket, 'a', 20, until)
    })
    expect(await face(dripping.url)).toEqual(refused(null, 'timeout', 'no answer within the total deadline'))
  })

  test('a server that is not there, or speaks something else', async () => {
    await using other = await rawServer((socket) => void socket.once('data', () => socket.write('220 mail.example ESMTP\r\n')))
    expect(await face(other.url)).toMatchObject({ given: false, status: null, error: { code: 'malformed_response' } })
    const { url, ...gone } = await receiver()
    await gone[Symbol.asyncDispose]()
    expect(await face(url)).toEqual(refused(null, 'connect', 'no connection (ECONNREFUSED)'))
  })
})

test('whoever asks can stop waiting', async () => {
  await using silent = await rawServer((socket) => void socket.resume())
  const before = performance.now()
  const consent = await ask(silent.url, {}, AbortSignal.timeout(100))
  expect(consent).toMatchObject({ given: false, error: { code: 'interrupted' } })
  expect(performance.now() - before).toBeLessThan(1_000)
})

test('a forbidden address is never dialled, by itself or behind a name', async () => {
  await using asked = await server(200, { 'WebHook-Allowed-Origin': '*' })
  await using dns = await dnsServer((_, type) => (type === 'A' ? ['127.0.0.1'] : []))
  const elsewhere = { allow: ['10.0.0.0/8', 'asked.test'], dnsServers: [dns.address] }
  await expect(ask(asked.url, elsewhere)).rejects.toMatchObject({
    code: 'invalid_options',
    message: expect.stringContaining('url: target not allowed') as string,
  })
  const named = { allow: ['10.0.0.0/8'], dnsServers: [dns.address] }
  expect(await ask(`http://asked.test:${asked.port}/`, named)).toEqual(refused(null, 'blocked_target', 'target not allowed'))
  expect(dns.questions).toContain('A asked.test')
  expect(asked.connections).toBe(0)
  // The name is found, and would have consented.
  expect(await ask(`http://asked.test:${asked.port}/`, elsewhere)).toEqual(given(200))
})

describe('each event says who sends it', () => {
  const sent = async (row: object, options: Partial<WebhookEndpointsOptions> = {}): Promise<string | undefined> => {
    await using taken = await receiver()
    await using family = createWebhookEndpoints({ ...common, requestOrigin: ours, ...options })
    await using sink = family.open(endpoint(taken.url, { ...row }))
    expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
    return taken.received[0]?.headers['webhook-request-origin'] as string | undefined
  }

  test('to an endpoint that has consented to it, in whatever format; to the others it does not', async () => {
    for (const format of [null, 'cloudevents', 'cloudevents-binary', 'raw'])
      expect(await sent({ verification: 'cloudevents', format })).toBe(ours)
    for (const row of [{ verification: 'ping' }, { verification: 'none' }, {}]) expect(await sent(row)).toBeUndefined()
  })

  test('and an endpoint that has consented cannot be opened without the name: it stands still until it is there again', async () => {
    await using family = createWebhookEndpoints(common)
    expect(() => family.open(endpoint('http://127.0.0.1:9/', { verification: 'cloudevents' }))).toThrow(
      /requestOrigin: is missing/,
    )
  })
})
