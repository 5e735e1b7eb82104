/** docs/configuration.md and docs/kafka.md, compared with the sink. */
import { readPage } from '@postrider/test/docs'
import { expect, test } from 'vitest'
import { checkOptions } from '../src/check-options.ts'
import { encode, idHeader, type KafkaProfile } from '../src/encode.ts'
import { anEvent } from './event.ts'

const configured = readPage('docs/configuration.md').rowsOf('Kafka sinks')
const kafka = readPage('docs/kafka.md')

test('the defaults are those of the sink', () => {
  const written = Object.fromEntries(configured.map(([key, standard = '']) => [key, standard.replaceAll(/(?<=\d),(?=\d)/g, '')]))
  const options = { name: 'docs', brokers: ['127.0.0.1:9092'] }
  const {
    client,
    connection,
    driver,
    timeouts,
    topicOf,
    profile,
    source,
    batchRecords,
    batchBytes,
    lingerMs,
    lookBack,
    partitionCounts,
  } = checkOptions(options)
  expect(written).toMatchObject({
    client,
    clientId: connection.clientId,
    tls: String(connection.tls !== null),
    compression: driver.compression,
    idempotent: String(driver.idempotent),
    profile,
    'batch.records': String(batchRecords),
    'batch.bytes': String(batchBytes),
    lingerMs: String(lingerMs),
    exactlyOnce: String(lookBack !== null),
    'exactlyOnce.lookBack': String(checkOptions({ ...options, exactlyOnce: true }).lookBack),
  })
  for (const [name, ms] of Object.entries(timeouts)) expect(written[`timeouts.${name}`], name).toBe(String(ms))
  const one = anEvent()
  expect(topicOf(one)).toBe(checkOptions({ ...options, topic: written['topic'] ?? '' }).topicOf(one))
  expect([connection.sasl, source, partitionCounts.size]).toEqual([null, '', 0])
})

test.each<KafkaProfile>(['cloudevents', 'debezium'])('the headers of the profile %s are those that are explained', (profile) => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const full = anEvent({ subject: 'o-1', tenant: 'acme', headers: { traceparent, tracestate: 'a=1' } })
  const { headers } = encode({ event: full, number: 1, replay: { operation: '7', originalId: full.id } }, profile, 'shop/orders')
  const explained = kafka.rowsOf(`Headers of ${profile}`).map(([name]) => name)
  expect(headers.map(([name]) => name).toSorted()).toEqual(explained.toSorted())
  expect(explained).toContain(idHeader(profile))
})
