/** Every parser of this package that meets bytes from outside: a right answer or an error of its own, in time, whatever comes. */
import { answerOr, fuzz, hostileText } from '@postrider/test/fuzz'
import { isPostriderError } from '@postrider/schema'
import { generateSealKey, type WebhookOptions } from '@postrider/webhook'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createCapture } from '../src/capture.ts'
import { checkOptions } from '../src/check-options.ts'
import { classifyAnswer } from '../src/classify.ts'
import { parseDenied } from '../src/deny.ts'
import { encode, type WebhookFormat } from '../src/encode.ts'
import { externalGuard, internalGuard, parseNetwork, plainAddress } from '../src/guard.ts'
import { hopsOf, withHop } from '../src/hops.ts'
import { localAddresses } from '../src/hosts.ts'
import { parseRetryAfter } from '../src/retry-after.ts'
import { createSealer, isSealed } from '../src/seal.ts'
import { headerProblems } from '../src/static-headers.ts'
import { allowProblem, targetProblems } from '../src/target.ts'
import { anEvent, secret } from './event.ts'

const digits = fc.array(fc.constantFrom(...'0123456789 :,-.GMTSunJan')).map((all) => all.join(''))

test('Retry-After is null or a whole number of milliseconds', () => {
  fuzz(fc.oneof(hostileText(), digits), (text) => {
    const ms = parseRetryAfter(text, 1_767_225_600_000)
    expect(ms === null || (Number.isInteger(ms) && ms >= 0)).toBe(true)
    const outcome = classifyAnswer({ status: 503, retryAfter: text }, new Set(), 0)
    if ('afterMs' in outcome && outcome.afterMs !== undefined) expect(outcome.afterMs).toBeLessThanOrEqual(86_400_000)
  })
})

test('an address is refused with problems, or leads where the guard lets it', () => {
  const authority = fc.oneof(
    hostileText(40),
    fc.ipV4(),
    fc.ipV4Extended(),
    fc.ipV6().map((address) => `[${address}]`),
    fc.domain(),
  )
  const url = fc.oneof(
    hostileText(),
    fc.webUrl(),
    fc
      .tuple(fc.constantFrom('https://', 'http://', 'HTTPS:\\\\', 'https:', 'file://', 'https://a@'), authority, hostileText(40))
      .map((parts) => parts.join('')),
  )
  fuzz(url, (text) => {
    if (targetProblems(text, 'external', [443], externalGuard).length > 0) return
    const { protocol, hostname, username, password, port } = new URL(text)
    expect([protocol, username, password, port]).toEqual(['https:', '', '', ''])
    const literal = plainAddress(hostname.replace(/^\[|\]$/g, ''))
    expect(literal === null || externalGuard.permits(literal, hostname)).toBe(true)
    expect(hostname).not.toMatch(/(?:^|\.)localhost\.?$/)
  })
})

test('networks, hosts and places are read or refused, and a network that was read holds its own address', () => {
  const place = fc.oneof(
    hostileText(80),
    fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.integer()).map(([a, b]) => `${a}/${b}`),
    fc.tuple(fc.oneof(fc.ipV4(), fc.domain()), fc.integer()).map(([a, b]) => `${a}:${b}`),
  )
  fuzz(place, (text) => {
    const network = parseNetwork(text)
    if (network !== null) expect(allowProblem(text)).toBeNull()
    if (allowProblem(text) === null) internalGuard([text]).permits('8.8.8.8', text)
    const denied = parseDenied(text)
    if (denied?.port !== undefined && denied.port !== null)
      expect(denied.port).toSatisfy((port: number) => port > 0 && port < 65_536)
    plainAddress(text)
    localAddresses(text, `${text}\n127.0.0.1 ${text}`)
  })
})

test('static headers that are accepted cannot break a request apart', () => {
  fuzz(fc.dictionary(hostileText(40), fc.oneof(hostileText(60), fc.anything())), (headers) => {
    if (headerProblems(headers).length > 0) return
    for (const [name, value] of Object.entries(headers)) {
      expect(name).toMatch(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/)
      expect(value).toMatch(/^[\t\x20-\x7e]+$/)
    }
  })
})

test('options are taken or refused as invalid_options, and what was refused stands in no message', () => {
  const canary = 'canary-7c1f2a90'
  const value = fc.oneof(
    hostileText(60),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(hostileText(20), { maxLength: 3 }),
  )
  const options = fc.record(
    {
      name: hostileText(20),
      url: hostileText(),
      format: value,
      capture: value,
      trust: fc.oneof(fc.constantFrom('external', 'internal'), hostileText(9)),
      allow: fc.array(hostileText(30), { maxLength: 3 }),
      deny: fc.array(hostileText(30), { maxLength: 3 }),
      maxHops: fc.oneof(fc.integer(), fc.double()),
      connections: fc.double(),
      dnsServers: fc.array(hostileText(30), { maxLength: 3 }),
      permanentStatuses: fc.array(fc.integer(), { maxLength: 3 }),
      userAgent: hostileText(60),
      requestOrigin: value,
      headers: fc.dictionary(hostileText(20), fc.constantFrom(`${canary}\n`, `${canary}ü`), { maxKeys: 3 }),
      secrets: fc.constantFrom({ current: canary }, { current: [`whsec_${canary}`] }, { current: `whsk_${canary}` }),
    },
    { requiredKeys: ['secrets'] },
  )
  fuzz(options, (given) => {
    try {
      checkOptions(given as unknown as WebhookOptions)
    } catch (error) {
      if (!isPostriderError(error) || error.code !== 'invalid_options') throw error
      expect(`${error.message}${JSON.stringify(error.details)}`).not.toContain(canary)
      return
    }
    throw new Error('such secrets cannot be taken')
  })
})

test('a sealed text opens to what was sealed, or is refused as invalid_options', () => {
  const sealer = createSealer({ current: generateSealKey() })
  const sealed = sealer.seal('the secret', 'hooks/acme')
  const changed = fc
    .tuple(fc.nat(sealed.length), fc.nat(8), hostileText(12))
    .map(([at, cut, text]) => sealed.slice(0, at) + text + sealed.slice(at + cut))
  fuzz(fc.oneof(changed, hostileText()), (text) => {
    const opened = answerOr(['invalid_options'], () => sealer.open(text, 'hooks/acme'))
    // Of base64 without padding the last character has idle bits: such a text is the same bytes, and so the same secret.
    if (opened !== null) expect(opened).toBe('the secret')
    if (opened !== null) expect(isSealed(text)).toBe(true)
  })
  fuzz(hostileText(), (key) => answerOr(['invalid_options'], () => createSealer({ current: key })))
})

test('the trace state that goes out is visible ASCII within the limits of W3C, and counts one hop more', () => {
  const member = fc.tuple(fc.constantFrom('a', 'postrider', 'b@c'), hostileText(80)).map((pair) => pair.join('='))
  fuzz(
    fc.oneof(
      hostileText(),
      fc.array(member, { maxLength: 60 }).map((all) => all.join(',')),
    ),
    (text) => {
      const next = withHop(text)
      expect(next).toMatch(/^[\x20-\x7e]{1,512}$/)
      expect(next.split(',').length).toBeLessThanOrEqual(32)
      expect(hopsOf(next)).toBe(Math.min(999, hopsOf(text) + 1))
    },
  )
})

test('an event is encoded, or refused as cannot_encode; no header of it can break the request apart', () => {
  const attribute = fc.oneof(hostileText(60), fc.constant('order.placed'))
  const events = fc.record({
    id: fc.oneof(hostileText(70), fc.uuid()),
    type: attribute,
    source: attribute,
    subject: fc.option(attribute),
    tenant: fc.option(attribute),
    key: fc.option(attribute),
    contentType: fc.oneof(hostileText(40), fc.constant('application/json')),
    headers: fc.dictionary(fc.constantFrom('traceparent', 'tracestate', '__proto__', 'a'), hostileText(80)),
  })
  const formats: readonly WebhookFormat[] = ['standard', 'cloudevents', 'cloudevents-binary', 'raw']
  fuzz(fc.tuple(events, fc.constantFrom(...formats)), ([change, format]) => {
    const encoded = answerOr(['cannot_encode'], () => encode(anEvent(change), format))
    for (const text of encoded?.headers ?? []) expect(text).toMatch(/^[\x20-\x7e]*$/)
    if (encoded !== null && (format === 'standard' || format === 'cloudevents')) JSON.parse(encoded.body.toString())
  })
})

test('what is kept of an answer is small, fit for PostgreSQL, and has no secret', () => {
  const url = new URL('https://hooks.test/services/T0CANARY00/B0CANARY11/path-canary-0123456789')
  const header = 'Bearer header-canary-0123456789'
  const capture = createCapture({ url, headers: { authorization: header }, capture: 'all' })
  const said = fc.oneof(hostileText(400), fc.constantFrom(header, url.pathname, 'path-canary-0123456789', header.slice(7)))
  const answers = fc.record({
    status: fc.integer({ min: 200, max: 999 }),
    headers: fc.dictionary(
      fc.constantFrom(
        'content-type',
        'server',
        'date',
        'retry-after',
        'location',
        'x-request-id',
        'content-encoding',
        'set-cookie',
      ),
      fc.oneof(said, fc.array(said, { maxLength: 3 })),
    ),
    body: fc.oneof(
      fc.uint8Array({ maxLength: 2_048 }).map((bytes) => Buffer.from(bytes)),
      fc.array(said, { maxLength: 4 }).map((texts) => Buffer.from(texts.join(' ')).subarray(0, 2_048)),
    ),
  })
  fuzz(answers, (answer) => {
    const text = JSON.stringify(capture({ answered: true, ...answer }))
    expect(text).not.toContain('\\u0000')
    expect(text.isWellFormed()).toBe(true)
    expect(text).not.toMatch(/path-canary-0123456789|header-canary-0123456789/)
    expect(text.length).toBeLessThan(40_000)
  })
})

test('a secret that the end of what is kept cuts off is not kept by half', () => {
  const url = new URL('https://hooks.test/path-canary-0123456789')
  const capture = createCapture({ url, headers: {}, capture: 'all' })
  for (let cut = 8; cut <= 22; cut++) {
    const end = url.pathname.slice(1, 1 + cut)
    const headers = { server: `${'x'.repeat(256 - cut)}${url.pathname.slice(1)}` }
    const kept = JSON.stringify(capture({ answered: true, status: 500, headers, body: Buffer.from(`${'y'.repeat(90)}${end}`) }))
    expect(kept, end).not.toContain('path-can')
  }
})

test('the secret of the tests is one that is taken', () => {
  expect(checkOptions({ name: 'a', url: 'https://example.com/', secrets: { current: secret } }).name).toBe('a')
})
