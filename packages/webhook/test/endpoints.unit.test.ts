import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Sink } from '@postrider/relay'
import { createVerifier } from '@postrider/inbox'
import {
  createSealer,
  createWebhookEndpoints,
  generateSealKey,
  generateSecret,
  type WebhookEndpointsOptions,
} from '@postrider/webhook'
import { deliver } from './event.ts'
import { receiver, type Received, type Receiver } from './receiver.ts'

const secretKey = generateSealKey()
const sealer = createSealer({ current: secretKey })
const secret = generateSecret()
const sealed = sealer.seal(secret, 'hooks/acme')

let server: Receiver
let directory: string
beforeAll(async () => {
  server = await receiver()
  directory = await mkdtemp(join(tmpdir(), 'postrider-endpoints-'))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
})

const internal = { name: 'hooks', trust: 'internal', allow: ['127.0.0.0/8'], secretKey } as const

/** The endpoint `hooks/acme` as its row describes it. */
function open(row: Record<string, unknown> = {}, options: Partial<WebhookEndpointsOptions> = {}): Sink {
  const settings = {
    sink: 'hooks/acme',
    url: server.url,
    secrets: { current: [sealed] },
    headers: {},
    format: null,
    created_by: 'ada',
    ...row,
  }
  return createWebhookEndpoints({ ...internal, ...options }).open({ name: 'hooks/acme', settings })
}

/** What arrives when one event is sent. */
async function arrives(row: Record<string, unknown> = {}, options: Partial<WebhookEndpointsOptions> = {}): Promise<Received> {
  await using sink = open(row, options)
  expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
  const last = server.received.at(-1)
  if (last === undefined) throw new Error('nothing has arrived')
  return last
}

/** The message of a refusal. */
function refusal(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    expect(error).toMatchObject({ name: 'PostriderError', code: 'invalid_options' })
    return error instanceof Error ? error.message : ''
  }
  return 'it was taken'
}

const signedBy = ({ headers, body }: Received, secrets: readonly string[]): boolean =>
  createVerifier({ secrets }).check({ headers, body }).ok

test('an endpoint is a sink of the name of its row, which signs with the secret that was sealed for it', async () => {
  await using sink = open()
  expect([sink.name, sink.kind]).toEqual(['hooks/acme', 'webhook'])
  const request = await arrives()
  expect(signedBy(request, [secret])).toBe(true)
  expect(signedBy(request, [generateSecret()])).toBe(false)
})

test('former secrets sign too until their time', async () => {
  const [old, expired] = [generateSecret(), generateSecret()]
  const previous = [
    { secret: sealer.seal(old, 'hooks/acme'), until: new Date(Date.now() + 60_000).toISOString() },
    { secret: sealer.seal(expired, 'hooks/acme'), until: new Date(Date.now() - 1_000).toISOString() },
  ]
  const request = await arrives({ secrets: { current: [sealed], previous } })
  expect([secret, old, expired].map((one) => signedBy(request, [one]))).toEqual([true, true, false])
})

test('a secret may stand in the environment or in a file', async () => {
  const [inEnv, inFile] = [generateSecret(), generateSecret()]
  vi.stubEnv('ACME_SECRET', inEnv)
  await writeFile(join(directory, 'secret'), `${inFile}\n`)
  expect(signedBy(await arrives({ secrets: { current: ['env:ACME_SECRET'] } }), [inEnv])).toBe(true)
  const filed = { secrets: { current: [`file:${join(directory, 'secret')}`] } }
  expect(signedBy(await arrives(filed), [inFile])).toBe(true)
  const { secretKey: _, ...withoutKey } = internal
  const row = { url: server.url, headers: {}, format: null, ...filed }
  await using unsealed = createWebhookEndpoints(withoutKey).open({ name: 'hooks/acme', settings: row })
  expect(await deliver(unsealed)).toMatchObject({ kind: 'delivered' })
  vi.unstubAllEnvs()
})

test('headers of an endpoint, sealed or not, come beside those of all and replace them', async () => {
  const headers = { Authorization: sealer.seal('Bearer own', 'hooks/acme'), 'x-plain': 'sealed: no' }
  const request = await arrives({ headers }, { headers: { authorization: 'Bearer of all', 'x-all': 'yes' } })
  expect(request.headers).toMatchObject({ authorization: 'Bearer own', 'x-plain': 'sealed: no', 'x-all': 'yes' })
})

test('a header is no reference: nobody can have a file or the environment sent to himself', async () => {
  vi.stubEnv('ACME_SECRET', 'canary-of-the-environment')
  const request = await arrives({ headers: { a: 'env:ACME_SECRET', b: 'file:/etc/hostname' } })
  expect(request.headers).toMatchObject({ a: 'env:ACME_SECRET', b: 'file:/etc/hostname' })
  vi.unstubAllEnvs()
})

test('the format is that of all, or its own', async () => {
  expect((await arrives({}, { format: 'cloudevents' })).headers['content-type']).toContain('application/cloudevents+json')
  expect((await arrives({ format: 'raw' }, { format: 'cloudevents' })).body.toString()).toBe('{"n": 9007199254740993}')
})

describe('a row that cannot be used is refused with all that is wrong, and no secret in it', () => {
  test.for<[what: string, row: Record<string, unknown>, says: string[]]>([
    ['an address inside', { url: 'https://169.254.169.254/' }, ['url: target not allowed for trust: internal']],
    ['no address', { url: 'canary' }, ['url: not a URL']],
    [
      'sealed for another',
      { secrets: { current: [sealer.seal(secret, 'hooks/other')] } },
      ['secrets.current: a sealed text cannot be opened: it was not sealed for hooks/acme'],
    ],
    [
      'sealed with another key',
      { secrets: { current: [createSealer({ current: generateSealKey() }).seal(secret, 'hooks/acme')] } },
      ['secrets.current: a sealed text cannot be opened: it was sealed with key'],
    ],
    [
      'no variable',
      { secrets: { current: ['env:NOT_THERE'] } },
      ['secrets.current: the environment variable NOT_THERE is not set'],
    ],
    ['no file', { secrets: { current: ['file:/not/there'] } }, ['secrets.current: the file /not/there cannot be read (ENOENT)']],
    [
      'no secret',
      { secrets: { current: [sealer.seal('canary', 'hooks/acme')] } },
      ['secrets.current: a secret begins with whsec_'],
    ],
    ['header', { headers: { 'webhook-id': 'canary' } }, ['headers.webhook-id: is reserved']],
    ['format', { format: 'canary-format' }, ['format: one of']],
    [
      'not of the form',
      { url: 1, secrets: { current: 'canary', previous: [{}] }, headers: { a: 1 } },
      ['url: expected', 'secrets.current: expected', 'secrets.previous: expected', 'headers: expected'],
    ],
    [
      'several',
      { secrets: { current: ['env:NOT_THERE'], previous: [{ secret: 'file:/not/there', until: 'x' }] } },
      ['secrets.current:', 'secrets.previous:'],
    ],
  ])('%s', ([what, row, says]) => {
    const message = refusal(() => open(row))
    for (const text of says) expect(message).toContain(text)
    expect(message).not.toContain(secret)
    if (what !== 'format') expect(message).not.toContain('canary')
  })

  test('without a key nothing sealed can be opened', () => {
    expect(
      refusal(() =>
        createWebhookEndpoints({ name: 'hooks' }).open({
          name: 'hooks/acme',
          settings: { url: server.url, secrets: { current: [sealed] }, headers: {}, format: null },
        }),
      ),
    ).toContain('there is no secretKey')
  })
})

describe('what endpoints have in common is checked at once', () => {
  test.for<[given: object, says: string | null]>([
    [{}, null],
    [{ ports: [8443] }, null],
    [{ trust: 'internal', allow: ['10.0.0.0/8'] }, null],
    [{ trust: 'internal' }, 'allow: trust: internal needs'],
    [{ timeouts: { totalMs: 1 } }, 'timeouts.totalMs'],
    [{ headers: { 'ce-id': 'a' } }, 'headers.ce-id: is reserved'],
    [{ url: 'https://a.example/' }, null],
    [{ nonsense: 1 }, 'nonsense: unknown option'],
    [{ secretKey: 'canary' }, 'secretKey: expected base64 of 32 bytes'],
    [{ secretKey, previousKeys: ['canary'] }, 'previousKeys[0]: expected base64 of 32 bytes'],
    [{ previousKeys: [secretKey] }, 'previousKeys: is nothing without secretKey'],
  ])('%j', ([given, says]) => {
    const message = refusal(() => createWebhookEndpoints({ name: 'hooks', ...given }))
    if (says === null) expect(message).toBe('it was taken')
    else expect(message).toContain(says)
    expect(message).not.toContain('canary')
  })
})

test('by default an endpoint reaches public addresses only', () => {
  const row = { secrets: { current: [sealed] }, headers: {}, format: null }
  const openAt = (url: string) => () =>
    createWebhookEndpoints({ name: 'hooks', secretKey }).open({ name: 'hooks/acme', settings: { ...row, url } })
  expect(refusal(openAt('http://a.example/'))).toContain('url: must be https')
  expect(refusal(openAt('https://10.0.0.1/'))).toContain('url: target not allowed')
  expect(refusal(openAt('https://a.example:8443/'))).toContain('url: port 8443')
})

test('closing one endpoint leaves the others as they are', async () => {
  await using other = open()
  const one = open()
  expect(await deliver(one)).toMatchObject({ kind: 'delivered' })
  await one[Symbol.asyncDispose]()
  expect(await deliver(other)).toMatchObject({ kind: 'delivered' })
  expect(await deliver(one)).toMatchObject({ kind: 'retry', error: { code: 'interrupted' } })
})
