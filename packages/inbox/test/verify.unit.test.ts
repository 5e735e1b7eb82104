import { createHash } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { generateSecret, publicKeyOf } from '@postrider/schema/signature'
import fc from 'fast-check'
import { createVerifier, verify, type HeaderSource, type VerifyResult } from '../src/index.ts'
import { sign } from './sign.ts'

const id = 'evt_01JGFJJZ00000000000000000A'
const timestamp = 1_767_225_600
const secret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const pair = generateSecret('whsk')
const body = '{"name":"Zoë €😀"}'
const signature = sign({ id, timestamp, body: Buffer.from(body) }, [secret])
const good = { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signature }

function check(
  change: Record<string, string> = {},
  options: { body?: string | Uint8Array; at?: number; secrets?: string[] } = {},
): VerifyResult {
  const verifier = createVerifier({
    secrets: options.secrets ?? [secret],
    now: () => (options.at ?? timestamp) * 1000,
    maxBodyBytes: 1_000,
  })
  return verifier.check({ body: options.body ?? body, headers: { ...good, ...change } })
}

function signedAs(other: string, text = body): string {
  return sign({ id: other, timestamp, body: Buffer.from(text) }, [secret])
}

test('accepts an honest request, and tells what it is', () => {
  expect(check({ 'postrider-attempt': '3', 'postrider-event-type': 'user.renamed' })).toEqual({
    ok: true,
    id,
    timestamp,
    attempt: 3,
    type: 'user.renamed',
  })
})

test('accepts bytes, fetch headers, arrays and any case of names', () => {
  expect(check({}, { body: Buffer.from(body) }).ok).toBe(true)
  const upper = Object.fromEntries(Object.entries(good).map(([name, value]) => [name.toUpperCase(), [value]]))
  for (const headers of [
    new Headers(good),
    upper,
    new Map(Object.entries(good)),
    Object.entries(good),
  ] satisfies HeaderSource[]) {
    expect(createVerifier({ secrets: [secret], now: () => timestamp * 1000 }).check({ body, headers }).ok).toBe(true)
  }
})

test('accepts any of several secrets and any of several signatures, unknown versions among them', () => {
  const others = [generateSecret(), generateSecret('whsk')]
  expect(check({}, { secrets: [...others, secret] }).ok).toBe(true)
  const strange = sign({ id, timestamp, body: Buffer.from(body) }, others)
  expect(check({ 'webhook-signature': `v9,x ${strange} ${signature}` }).ok).toBe(true)
})

test('accepts ed25519 with the private or the public text', () => {
  const asymmetric = { 'webhook-signature': sign({ id, timestamp, body: Buffer.from(body) }, [pair]) }
  expect(check(asymmetric, { secrets: [pair] }).ok).toBe(true)
  expect(check(asymmetric, { secrets: [publicKeyOf(pair)] }).ok).toBe(true)
})

describe('refuses', () => {
  const changed = body.replace('Zoë', 'Zoe')
  const base64url = signature.replaceAll('+', '-').replaceAll('/', '_')
  const asymmetric = sign({ id, timestamp, body: Buffer.from(body) }, [pair])
  const eleven = Array.from({ length: 11 }, () => signature).join(' ')
  const dotted = `${id}.x`

  test.each<[what: string, result: () => VerifyResult, reason: string]>([
    ['a request from 301 s ago', () => check({}, { at: timestamp + 301 }), 'too_old'],
    ['a request from 301 s ahead', () => check({}, { at: timestamp - 301 }), 'too_new'],
    ['a timestamp with letters behind', () => check({ 'webhook-timestamp': `${timestamp}abc` }), 'bad_timestamp'],
    ['a timestamp with a sign', () => check({ 'webhook-timestamp': `+${timestamp}` }), 'bad_timestamp'],
    ['a timestamp of 13 digits', () => check({ 'webhook-timestamp': `${timestamp}000` }), 'bad_timestamp'],
    ['an id with a dot', () => check({ 'webhook-id': dotted, 'webhook-signature': signedAs(dotted) }), 'bad_id'],
    [
      'an id of 65 characters',
      () => check({ 'webhook-id': 'a'.repeat(65), 'webhook-signature': signedAs('a'.repeat(65)) }),
      'bad_id',
    ],
    ['another id', () => check({ 'webhook-id': 'evt_other' }), 'no_match'],
    ['one byte changed', () => check({}, { body: changed }), 'no_match'],
    ['an empty v1', () => check({ 'webhook-signature': 'v1,' }), 'no_match'],
    ['the URL alphabet', () => check({ 'webhook-signature': base64url }), 'no_match'],
    ['no padding', () => check({ 'webhook-signature': signature.slice(0, -1) }), 'no_match'],
    ['only v1a, where the key is HMAC', () => check({ 'webhook-signature': asymmetric }), 'no_match'],
    [
      'an HMAC under the name v1a',
      () => check({ 'webhook-signature': signature.replace('v1,', 'v1a,') }, { secrets: [pair] }),
      'no_match',
    ],
    ['eleven signatures', () => check({ 'webhook-signature': eleven }), 'bad_signature'],
    ['a header over 4 KiB', () => check({ 'webhook-signature': `v9,${'x'.repeat(4096)} ${signature}` }), 'bad_signature'],
    ['a body over the limit', () => check({}, { body: 'x'.repeat(1_001) }), 'body_too_large'],
    ['no secret at all', () => check({}, { secrets: [] }), 'no_match'],
  ])('%s', (_what, result, reason) => {
    expect(result()).toMatchObject({
      ok: false,
      reason,
      error: { code: expect.any(String) as string, next: expect.any(String) as string },
    })
  })

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('a request without %s', (name) => {
    const headers = Object.fromEntries(Object.entries(good).filter(([key]) => key !== name))
    expect(createVerifier({ secrets: [secret] }).check({ body, headers })).toMatchObject({ ok: false, reason: 'missing_header' })
  })
})

test('the URL alphabet would have mattered: the good signature holds + or /', () => {
  expect(signature).toMatch(/[+/]/)
})

test('the official library accepts 2,000 bodies that we sign, and we accept what it signs', () => {
  const library = new Webhook(secret)
  const at = Math.floor(Date.now() / 1000)
  for (let index = 0; index < 2_000; index += 1) {
    // Reproducible, of every length up to 2,000, with characters of one to four bytes.
    const noise = createHash('sha256').update(String(index)).digest('base64')
    const text = JSON.stringify({ index, text: `é€😀${noise}`.repeat(1 + (index % 40)) }).slice(0, 2 + index)
    const payload = JSON.stringify(text.toWellFormed())
    const ours = sign({ id, timestamp: at, body: Buffer.from(payload) }, [secret])
    const headers = { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': ours }
    expect(library.verify(payload, headers)).toBe(text.toWellFormed())

    const theirs = library.sign(id, new Date(at * 1000), payload)
    expect(verify({ body: payload, headers: { ...headers, 'webhook-signature': theirs } }, { secrets: [secret] }).id).toBe(id)
  }
})

test('verify throws what check answers, as a code with a next step', () => {
  expect(() => verify({ body, headers: good }, { secrets: [secret] })).toThrow(expect.objectContaining({ code: 'stale_request' }))
  const now = () => timestamp * 1000
  const throws = (headers: Record<string, string>, code: string): void =>
    expect(() => verify({ body, headers }, { secrets: [secret], now })).toThrow(expect.objectContaining({ code }))
  throws({}, 'missing_signature')
  throws({ ...good, 'webhook-id': 'a.b' }, 'malformed_request')
  throws({ ...good, 'webhook-signature': 'v1,x' }, 'wrong_signature')
  expect(verify({ body, headers: good }, { secrets: [secret], now })).toEqual({ id, timestamp, attempt: null, type: null })
})

test('a secret that cannot be read, and limits that are none, are refused at the door, without repeating the secret', () => {
  expect(() => createVerifier({ secrets: ['whsec_c2VjcmV0'] })).toThrow(expect.not.stringContaining('c2VjcmV0') as string)
  for (const options of [{ toleranceSeconds: 0 }, { toleranceSeconds: Number.NaN }, { maxBodyBytes: -1 }]) {
    expect(() => createVerifier({ secrets: [secret], ...options })).toThrow(expect.objectContaining({ code: 'invalid_options' }))
  }
})

describe('headers that come more than once', () => {
  test('a second id or timestamp is refused, whether joined or apart or in another case', () => {
    for (const name of ['webhook-id', 'webhook-timestamp'] as const) {
      expect(check({ [name]: `${good[name]}, ${good[name]}` }).ok).toBe(false)
      expect(check({ [name.toUpperCase()]: good[name] }).ok).toBe(false)
      const apart = { ...good, [name]: [good[name], good[name]] }
      expect(createVerifier({ secrets: [secret], now: () => timestamp * 1000 }).check({ body, headers: apart }).ok).toBe(false)
    }
  })

  test('several headers of signatures are one list', () => {
    expect(check({ 'webhook-signature': `v1,${'A'.repeat(43)}=, ${signature}` }).ok).toBe(true)
  })
})

test('no header and no body makes it throw, and none but the signed one is accepted', () => {
  const hostile = fc.record({
    'webhook-id': fc.oneof(fc.string({ unit: 'binary' }), fc.constant(id)),
    'webhook-timestamp': fc.oneof(fc.string({ unit: 'binary' }), fc.constant(String(timestamp)), fc.bigInt().map(String)),
    'webhook-signature': fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6_000 }),
      fc.array(fc.base64String({ minLength: 40, maxLength: 100 }).map((text) => `v1,${text}`)).map((all) => all.join(' ')),
      fc.constant(signature),
      fc
        .nat(signature.length - 1)
        .map((at) => `${signature.slice(0, at)}${signature[at] === 'A' ? 'B' : 'A'}${signature.slice(at + 1)}`),
    ),
  })
  const bodies = fc.oneof(fc.constant(body), fc.uint8Array({ maxLength: 2_000 }), fc.string({ unit: 'binary' }))
  fc.assert(
    fc.property(hostile, bodies, (headers, sent) => {
      const genuine =
        headers['webhook-id'] === id &&
        headers['webhook-timestamp'] === String(timestamp) &&
        headers['webhook-signature'] === signature
      const same = Buffer.from(sent as string).equals(Buffer.from(body))
      expect(check(headers, { body: sent }).ok).toBe(genuine && same)
    }),
    { numRuns: 2_000 },
  )
})

test('whatever is signed is accepted, and one flipped bit is not', () => {
  const ids = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/)
  fc.assert(
    fc.property(
      ids,
      fc.uint8Array({ minLength: 1, maxLength: 900 }),
      fc.nat(),
      fc.nat(7),
      fc.boolean(),
      (own, bytes, at, bit, asymmetric) => {
        const key = asymmetric ? pair : secret
        const headers = {
          'webhook-id': own,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': sign({ id: own, timestamp, body: bytes }, [key]),
        }
        expect(check(headers, { body: bytes, secrets: [key] }).ok).toBe(true)
        const flipped = bytes.map((byte, index) => (index === at % bytes.length ? byte ^ (1 << bit) : byte))
        expect(check(headers, { body: flipped, secrets: [key] })).toMatchObject({ reason: 'no_match' })
      },
    ),
    { numRuns: 300 },
  )
})
