import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createWebhookSink, generateSecret, type WebhookOptions } from '@postrider/webhook'
import { isPostriderError } from '@postrider/schema'
import { secret } from './event.ts'

function problems(change: Record<string, unknown>): readonly string[] {
  const options = { name: 'shop', url: 'https://example.com/hook', secrets: { current: secret }, ...change } as WebhookOptions
  try {
    void createWebhookSink(options)[Symbol.asyncDispose]()
    return []
  } catch (error) {
    if (!isPostriderError(error) || error.code !== 'invalid_options' || String(error).includes(secret.slice(6))) throw error
    return error.details.problems ?? []
  }
}
const internal = (url: string, allow: readonly string[] = ['10.0.0.0/8']): Record<string, unknown> => ({
  trust: 'internal',
  allow,
  url,
})

test.each<[what: string, change: Record<string, unknown>]>([
  ['the least', {}],
  ['two kinds of current secrets', { secrets: { current: [secret, generateSecret('whsk')] } }],
  [
    'three former secrets',
    {
      secrets: { current: secret, previous: Array.from({ length: 3 }, () => ({ secret: generateSecret(), until: new Date(0) })) },
    },
  ],
  ['a time with its zone', { secrets: { current: secret, previous: [{ secret, until: '2030-01-01T00:00:00+01:00' }] } }],
  ['plain http inside', internal('http://10.0.0.1:8080/hook')],
  ['a host inside', internal('http://receiver:8080', ['receiver'])],
  ['another port', { url: 'https://example.com:8443/', ports: [443, 8443] }],
  ['headers', { headers: { Authorization: 'Bearer x y', 'x-tab': 'a\tb' } }],
  ['name servers', { dnsServers: ['127.0.0.1', '127.0.0.1:53', '[::1]:53', '::1'] }],
])('accepts %s', (_what, change) => expect(problems(change)).toEqual([]))

test.each<[change: Record<string, unknown>, problem: RegExp]>([
  [{ name: '' }, /^name: /],
  [{ url: 'nonsense' }, /^url: not a URL/],
  [{ url: 'ftp://example.com/' }, /^url: must be https/],
  [{ url: 'http://example.com/' }, /^url: must be https/],
  [{ url: 'https://user:pass@example.com/' }, /^url: no user/],
  [{ url: 'https://example.com/#x' }, /^url: no fragment/],
  [{ url: `https://example.com/${'x'.repeat(2048)}` }, /^url: over 2048/],
  [{ url: 'https://example.com:8443/' }, /^url: port 8443/],
  [{ url: 'https://169.254.169.254/' }, /^url: target not allowed/],
  [internal('http://169.254.169.254/', ['0.0.0.0/0']), /^url: target not allowed/],
  [internal('http://10.0.0.1/', []), /^allow: trust: internal needs/],
  [internal('http://10.0.0.1/', ['10.0.0.0/33']), /^allow: 10\.0\.0\.0\/33 is neither/],
  [internal('http://receiver/', ['127.1', 'receiver']), /^allow: 127\.1 is neither/],
  [{ allow: ['10.0.0.0/8'] }, /^allow: is for trust: internal/],
  [{ ...internal('http://10.0.0.1/'), ports: [80] }, /^ports: is for trust: external/],
  [{ trust: 'both' }, /^trust: one of external, internal, not both/],
  [{ format: 'xml' }, /^format: one of/],
  [{ capture: 'some' }, /^capture: one of/],
  [{ secrets: undefined }, /^secrets.current: every request is signed/],
  [{ secrets: { current: [] } }, /^secrets.current: every request is signed/],
  [{ secrets: { current: [secret, generateSecret()] } }, /^secrets.current: one of each kind/],
  [{ secrets: { current: 'whsec_AAAA' } }, /^secrets.current: a whsec_ secret is 24 to 64 bytes/],
  [
    { secrets: { current: secret, previous: Array.from({ length: 4 }, () => ({ secret, until: new Date() })) } },
    /^secrets.previous: at most 3/,
  ],
  [{ secrets: { current: secret, previous: [{ secret, until: '2030-01-01' }] } }, /^secrets.previous: until is/],
  [{ secrets: { current: secret, previous: [{ secret, until: new Date(NaN) }] } }, /^secrets.previous: until is/],
  [{ timeouts: { totalMs: 999 } }, /^timeouts.totalMs: a whole number from 1000 to 60000/],
  [{ timeouts: { connectMs: 1.5 } }, /^timeouts.connectMs: a whole number/],
  [{ timeouts: { total: 1000 } }, /^timeouts.total: unknown option/],
  [{ connections: 0 }, /^connections: a whole number from 1 to 256/],
  [{ permanentStatuses: [200] }, /^permanentStatuses: a whole number from 400 to 599/],
  [{ permanentStatuses: [429] }, /^permanentStatuses: 429 has its own rule/],
  [{ userAgent: 'a\r\nb: c' }, /^userAgent: /],
  ...['https://shop.example', 'shop.example:443', '*.shop.example', 'shop example', 'shop\r\nx: y', '10.0.0.1', '', 7].map(
    (requestOrigin): [Record<string, unknown>, RegExp] => [{ requestOrigin }, /^requestOrigin: a DNS name/],
  ),
  [{ dnsServers: ['dns.example'] }, /^dnsServers: /],
  [
    { tls: { cert: readFileSync(new URL('fixtures/client.pem', import.meta.url), 'utf8') } },
    /^tls: cert and key belong together/,
  ],
  [{ tls: { cert: 'x', key: 'y' } }, /^tls\.(cert|key): is not PEM/],
  [{ retries: 3 }, /^retries: unknown option/],
])('refuses %j', (change, problem) => {
  expect(problems(change)).toEqual(expect.arrayContaining([expect.stringMatching(problem)]))
})

describe('static headers', () => {
  const reserved = (
    'host connection Keep-Alive transfer-encoding content-length Content-Type content-encoding te trailer upgrade expect user-agent accept ' +
    'accept-encoding traceparent proxy-authorization webhook-id Webhook-X ce-id postrider-attempt'
  ).split(' ')
  test.each(reserved)('%s is reserved', (name) => {
    expect(problems({ headers: { [name]: 'x' } })).toEqual([`headers.${name}: is reserved`])
  })

  test.each(['a\r\nb: c', 'a\0b', 'ü', ' a', 'a ', '', '\x7f'])('the value %j is refused, and not repeated', (value) => {
    expect(problems({ headers: { 'x-a': value } })).toEqual(['headers.x-a: the value must be visible ASCII'])
  })

  test('names, doubles and sizes are checked', () => {
    expect(problems({ headers: { 'a b': 'x' } })).toEqual(['headers.a b: not a header name'])
    expect(problems({ headers: { 'X-A': '1', 'x-a': '2' } })).toEqual(['headers.x-a: is there twice'])
    expect(problems({ headers: { 'x-a': 'x'.repeat(4097) } })).toEqual(['headers.x-a: the value is over 4096 bytes'])
    const many = Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`x-${index}`, 'v']))
    expect(problems({ headers: many })).toEqual(['headers: at most 32, not 33'])
    const large = Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`x-${index}`, 'x'.repeat(4096)]))
    expect(problems({ headers: large })).toEqual(['headers: together over 16384 bytes'])
  })
})

test('all problems come together', () => {
  expect(problems({ name: '', url: 'nonsense', format: 'xml', connections: -1 })).toHaveLength(4)
})
