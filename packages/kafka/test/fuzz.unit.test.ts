/** What becomes a record, and what an operator writes about Kafka: an answer or an error of its own, whatever comes. */
import { encode, type KafkaOptions } from '@postrider/kafka'
import { isPostriderError } from '@postrider/schema'
import { answerOr, fuzz, hostileText } from '@postrider/test/fuzz'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkOptions } from '../src/check-options.ts'
import { compileTemplate, isTopicName, templateProblem } from '../src/topic-template.ts'
import { anEvent } from './event.ts'

const attribute = fc.oneof(hostileText(60), fc.constantFrom('order.placed', 'shop', 'acme'))
const events = fc.record({
  type: attribute,
  source: attribute,
  subject: fc.option(attribute),
  tenant: fc.option(attribute),
  key: fc.option(attribute),
  time: fc.oneof(
    hostileText(30),
    fc.date().map((date) => (Number.isNaN(date.getTime()) ? '' : date.toISOString())),
  ),
  contentType: attribute,
  headers: fc.dictionary(
    fc.oneof(hostileText(30), fc.constantFrom('traceparent', 'tracestate', '__proto__', 'ce_id')),
    attribute,
  ),
})

test('an event becomes a record with its id and its type, or is refused as cannot_encode', () => {
  fuzz(fc.tuple(events, fc.constantFrom('cloudevents', 'debezium')), ([change, profile]) => {
    const event = anEvent(change)
    const record = answerOr(['cannot_encode'], () => encode({ event, number: 1 }, profile, 'relay'))
    if (record === null) return
    expect(Number.isFinite(record.timestampMs)).toBe(true)
    const once = new Set(['ce_id', 'ce_type', 'id', 'eventType', 'content-type', 'postrider-position', 'postrider-attempt'])
    const ours = record.headers.map(([name]) => name).filter((name) => once.has(name))
    expect(new Set(ours).size).toBe(ours.length)
    const told = Object.fromEntries(record.headers.map(([name, value]) => [name, value.toString()]))
    expect([told['ce_id'] ?? told['id'], told['ce_type'] ?? told['eventType']]).toEqual([event.id, event.type])
  })
})

test('a template of topics is refused, or makes a name that Kafka takes, or none', () => {
  const template = fc.oneof(
    hostileText(60),
    fc
      .array(
        fc.oneof(fc.constantFrom('{type}', '{type.0}', '{tenant}', '{source}', '{type.10}', '{', '}', '.'), hostileText(8)),
        { maxLength: 5 },
      )
      .map((parts) => parts.join('')),
  )
  fuzz(fc.tuple(template, events), ([text, change]) => {
    if (templateProblem(text) !== null) return
    const name = compileTemplate(text)(anEvent(change))
    expect(name === null || isTopicName(name)).toBe(true)
  })
})

test('options are taken or refused as invalid_options, and no password stands in a message', () => {
  const canary = 'canary-51de0c9b'
  const value = fc.oneof(hostileText(40), fc.double(), fc.boolean(), fc.constant(null))
  const options = fc.record(
    {
      name: fc.oneof(hostileText(20), fc.constant('stream')),
      brokers: fc.array(
        fc.oneof(
          hostileText(40),
          fc.constantFrom('127.0.0.1:9092', '[::1]:9092', `user:${canary}@kafka:9092`, `kafka:9092/${canary}`),
        ),
        { maxLength: 3 },
      ),
      sasl: fc.record({ mechanism: fc.constantFrom('plain', 'none'), username: value, password: fc.constant(canary) }),
      clientId: value,
      topic: value,
      prefix: value,
      source: value,
      profile: value,
      compression: value,
      lingerMs: value,
      idempotent: value,
      batch: fc.record({ records: value, bytes: value }),
      partitionCounts: fc.dictionary(hostileText(20), fc.double(), { maxKeys: 2 }),
      tls: fc.oneof(fc.boolean(), fc.record({ ca: fc.constant(`-----BEGIN ${canary}`), key: fc.constant(canary) })),
    },
    { requiredKeys: ['name', 'brokers'] },
  )
  fuzz(
    options,
    (given) => {
      try {
        checkOptions(given as unknown as KafkaOptions)
      } catch (error) {
        if (!isPostriderError(error) || error.code !== 'invalid_options') throw error
        expect(`${error.message}${JSON.stringify(error.details)}`).not.toContain(canary)
      }
    },
    { runs: 600 },
  )
})
