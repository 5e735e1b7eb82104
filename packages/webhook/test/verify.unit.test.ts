import { createHash } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { generateSecret, sign, verify, type HeaderSource, type VerifyResult } from '@postrider/webhook'

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
  return verify({
    body: options.body ?? body,
    headers: { ...good, ...change },
    secrets: options.secrets ?? [secret],
    now: () => (options.at ?? timestamp) * 1000,
  })
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
  for (const headers of [new Headers(good), upper] satisfies HeaderSource[]) {
    expect(verify({ body, headers, secrets: [secret], now: () => timestamp * 1000 }).ok).toBe(true)
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
    ['no secret at all', () => check({}, { secrets: [] }), 'no_match'],
  ])('%s', (_what, result, reason) => {
    expect(result()).toEqual({ ok: false, reason })
  })

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('a request without %s', (name) => {
    const headers = Object.fromEntries(Object.entries(good).filter(([key]) => key !== name))
    expect(verify({ body, headers, secrets: [secret] })).toEqual({ ok: false, reason: 'missing_header' })
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
    expect(verify({ body: payload, headers: { ...headers, 'webhook-signature': theirs }, secrets: [secret] }).ok).toBe(true)
  }
})
