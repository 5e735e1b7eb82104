import { expect, it } from 'vitest'
import { causeOfCode, causeOfError, errorCodeOf } from '../src/classify.ts'
import { outcomeOf } from '../src/outcome.ts'
import { WireError, type WireTrouble } from '../src/wire.ts'

it.each([
  ['NOT_LEADER_OR_FOLLOWER', 6, 'no', 'now', 'partition'],
  ['LEADER_NOT_AVAILABLE', 5, 'no', 'now', 'partition'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 3, 'no', 'now', 'topic'],
  ['REQUEST_TIMED_OUT', 7, 'unknown', 'now', 'partition'],
  ['NOT_ENOUGH_REPLICAS_AFTER_APPEND', 20, 'unknown', 'now', 'partition'],
  ['NOT_ENOUGH_REPLICAS', 19, 'no', 'backoff', 'partition'],
  ['THROTTLING_QUOTA_EXCEEDED', 89, 'no', 'backoff', 'partition'],
  ['MESSAGE_TOO_LARGE', 10, 'no', 'never', 'record'],
  ['RECORD_LIST_TOO_LARGE', 18, 'no', 'never', 'record'],
  ['INVALID_RECORD', 87, 'no', 'never', 'record'],
  ['CORRUPT_MESSAGE', 2, 'no', 'never', 'record'],
  ['INVALID_TOPIC_EXCEPTION', 17, 'no', 'backoff', 'topic'],
  ['TOPIC_AUTHORIZATION_FAILED', 29, 'no', 'backoff', 'topic'],
  ['SASL_AUTHENTICATION_FAILED', 58, 'no', 'backoff', 'cluster'],
  ['ERROR_999', 999, 'unknown', 'backoff', 'partition'],
] as const)('%s (%i) is written: %s, retry: %s, of the %s', (code, number, written, retry, scope) => {
  expect(causeOfCode(number, 'x')).toMatchObject({ code, written, retry, scope, renew: false })
})

it.each([
  ['OUT_OF_ORDER_SEQUENCE_NUMBER', 45],
  ['UNKNOWN_PRODUCER_ID', 59],
  ['INVALID_PRODUCER_EPOCH', 47],
  ['PRODUCER_FENCED', 90],
  ['DUPLICATE_SEQUENCE_NUMBER', 46],
] as const)('after %s there is a new producer', (code, number) => {
  expect(causeOfCode(number, 'x')).toMatchObject({ code, retry: 'now', scope: 'partition', renew: true })
})

it.each([
  ['refused', 'connect'],
  ['closed', 'connect'],
  ['silent', 'timeout'],
  ['dns', 'dns'],
  ['tls', 'tls'],
  ['authentication', 'authentication'],
  ['unsupported', 'broker_refused'],
  ['aborted', 'interrupted'],
] as const satisfies [WireTrouble, string][])('no answer because of %s is trouble of the cluster, called %s', (trouble, code) => {
  const before = causeOfError(new WireError(trouble, 'x', false))
  expect([before.written, before.scope, errorCodeOf(before)]).toEqual(['no', 'cluster', code])
  expect(causeOfError(new WireError(trouble, 'x', true)).written).toBe('unknown')
})

it('a fault of a client tells nothing of its text', () => {
  expect(JSON.stringify(causeOfError(new TypeError('password hunter2')))).not.toContain('hunter2')
})

it('trouble of the cluster opens the circuit, trouble of a partition or topic does not; neither spends an attempt', () => {
  const where = { topic: 't', partition: 0 }
  expect(outcomeOf(causeOfCode(58, 'x'), where, 5)).toMatchObject({
    kind: 'retry',
    scope: 'destination',
    free: true,
    error: { code: 'authentication' },
  })
  expect(outcomeOf(causeOfCode(19, 'x'), where, 5)).toMatchObject({
    kind: 'retry',
    scope: 'event',
    free: true,
    afterMs: 5,
    error: { code: 'partition_unavailable' },
  })
  expect(outcomeOf(causeOfCode(29, 'x'), where, 5)).toMatchObject({
    kind: 'retry',
    scope: 'event',
    free: true,
    error: { code: 'topic_unavailable' },
  })
})

it('a record that cannot be taken is a dead letter', () => {
  expect(outcomeOf(causeOfCode(10, 'x'), { topic: 't' }, 5)).toMatchObject({
    kind: 'reject',
    error: { code: 'record_too_large' },
  })
  expect(outcomeOf(causeOfCode(87, 'x'), { topic: 't' }, 5)).toMatchObject({ kind: 'reject', error: { code: 'payload_refused' } })
})
