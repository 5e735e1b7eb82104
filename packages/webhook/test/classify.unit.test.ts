import { errors } from 'undici'
import { describe, expect, test } from 'vitest'
import { classifyAnswer, classifyFailure, type Answer } from '../src/classify.ts'
import { Cut } from '../src/exchange.ts'
import { Unreachable } from '../src/unreachable.ts'

const now = Date.UTC(2026, 0, 1)
const permanent = new Set([422])

function short(answer: Answer): unknown {
  const outcome = classifyAnswer(answer, permanent, now)
  const { kind, ...rest } = outcome
  return { kind, ...rest, ...('error' in outcome ? { error: outcome.error.code } : {}) }
}

test.each<[answer: Answer, expected: object]>([
  [{ status: 200 }, { kind: 'delivered' }],
  [{ status: 204, never: true, retryAfter: '5' }, { kind: 'delivered' }],
  [{ status: 299 }, { kind: 'delivered' }],
  [{ status: 410 }, { kind: 'gone', error: 'gone' }],
  [
    { status: 410, never: true },
    { kind: 'gone', error: 'gone' },
  ],
  [{ status: 413 }, { kind: 'reject', error: 'payload_refused' }],
  [{ status: 415 }, { kind: 'reject', error: 'payload_refused' }],
  [{ status: 431 }, { kind: 'reject', error: 'payload_refused' }],
  [{ status: 422 }, { kind: 'reject', error: 'payload_refused' }],
  [
    { status: 500, never: true },
    { kind: 'reject', error: 'payload_refused' },
  ],
  [
    { status: 429, never: true },
    { kind: 'reject', error: 'payload_refused' },
  ],
  [{ status: 429 }, { kind: 'throttled', error: 'throttled', afterMs: 10_000 }],
  [
    { status: 429, retryAfter: 'soon' },
    { kind: 'throttled', error: 'throttled', afterMs: 10_000 },
  ],
  [
    { status: 429, retryAfter: '0' },
    { kind: 'throttled', error: 'throttled', afterMs: 1_000 },
  ],
  [
    { status: 429, retryAfter: '30' },
    { kind: 'throttled', error: 'throttled', afterMs: 30_000 },
  ],
  [
    { status: 429, retryAfter: '86400' },
    { kind: 'throttled', error: 'throttled', afterMs: 3_600_000 },
  ],
  [
    { status: 503, retryAfter: '30' },
    { kind: 'throttled', error: 'throttled', afterMs: 30_000 },
  ],
  [
    { status: 503, retryAfter: '-1' },
    { kind: 'retry', error: 'status_5xx' },
  ],
  [{ status: 503 }, { kind: 'retry', error: 'status_5xx' }],
  [
    { status: 500, retryAfter: '60' },
    { kind: 'retry', error: 'status_5xx', afterMs: 60_000 },
  ],
  [
    { status: 502, retryAfter: '9999999999' },
    { kind: 'retry', error: 'status_5xx', afterMs: 86_400_000 },
  ],
  [{ status: 524 }, { kind: 'retry', error: 'status_5xx' }],
  [{ status: 301 }, { kind: 'retry', error: 'redirect' }],
  [
    { status: 307, retryAfter: '5' },
    { kind: 'retry', error: 'redirect', afterMs: 5_000 },
  ],
  [{ status: 304 }, { kind: 'retry', error: 'redirect' }],
  [{ status: 408 }, { kind: 'retry', error: 'status_4xx' }],
  [{ status: 425 }, { kind: 'retry', error: 'status_4xx' }],
  [{ status: 400 }, { kind: 'retry', error: 'status_4xx', maxAttempts: 5, scope: 'event' }],
  [
    { status: 401, retryAfter: '7' },
    { kind: 'retry', error: 'status_4xx', maxAttempts: 5, afterMs: 7_000 },
  ],
  [{ status: 404 }, { kind: 'retry', error: 'status_4xx', maxAttempts: 5 }],
  [{ status: 451 }, { kind: 'retry', error: 'status_4xx', maxAttempts: 5 }],
  [{ status: 600 }, { kind: 'retry', error: 'malformed_response' }],
])('%j', (answer, expected) => {
  expect(short(answer)).toEqual({ status: answer.status, ...expected })
})

test('every status from 200 to 999 has an outcome, and only 2xx is delivered', () => {
  for (let status = 200; status <= 999; status += 1) {
    expect(classifyAnswer({ status }, new Set(), now).kind === 'delivered').toBe(status < 300)
  }
})

describe('failures', () => {
  const withCode = (code: string): Error => Object.assign(new Error('connect 10.1.2.3:443 failed'), { code })
  test.each<[name: string, error: Error, kind: string, code: string]>([
    ['blocked', new Unreachable('blocked', 'target not allowed'), 'reject', 'blocked_target'],
    ['dns', new Unreachable('dns', 'host name not resolved (ENOTFOUND)'), 'retry', 'dns'],
    ['connect', new Unreachable('connect', 'no connection (ECONNREFUSED)'), 'retry', 'connect'],
    ['tls', new Unreachable('tls', 'TLS handshake failed (CERT_HAS_EXPIRED)'), 'retry', 'tls'],
    ['deadline', new Cut('deadline'), 'retry', 'timeout'],
    ['interrupted', new Cut('interrupted'), 'retry', 'interrupted'],
    ['endless 1xx', new Cut('malformed'), 'retry', 'malformed_response'],
    ['headers timeout', new errors.HeadersTimeoutError(), 'retry', 'timeout'],
    ['headers overflow', new errors.HeadersOverflowError(), 'retry', 'malformed_response'],
    ['not HTTP', withCode('HPE_INVALID_CONSTANT'), 'retry', 'malformed_response'],
    ['not HTTP, without a code', new errors.HTTPParserError('Expected HTTP/'), 'retry', 'malformed_response'],
    ['other side closed', new errors.SocketError('other side closed'), 'retry', 'connect'],
    ['reset', withCode('ECONNRESET'), 'retry', 'connect'],
    ['alert', withCode('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), 'retry', 'tls'],
    ['invalid argument', new errors.InvalidArgumentError('invalid header'), 'reject', 'cannot_encode'],
    ['destroyed', new errors.ClientDestroyedError(), 'retry', 'interrupted'],
    ['unknown', new TypeError('what is this'), 'retry', 'connect'],
  ])('%s', (_name, error, kind, code) => {
    const outcome = classifyFailure(error)
    expect(outcome).toMatchObject({ kind, error: { code } })
    expect(JSON.stringify(outcome)).not.toContain('10.1.2.3')
  })
})
