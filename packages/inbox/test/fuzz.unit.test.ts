/** What a consumer reads from strangers: an answer or an error of its own, in time and within memory, whatever comes. */
import { answerOr, fuzz, hostileText } from '@postrider/test/fuzz'
import { isPostriderError } from '@postrider/schema'
import { createVerifier, eventFromRecord, eventFromRequest } from '@postrider/inbox'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findMember } from '../src/find-member.ts'
import { readHeaders } from '../src/headers.ts'
import { readBody } from '../src/read-body.ts'
import { secret } from './sign.ts'

const names = fc.oneof(
  hostileText(30),
  fc.constantFrom(
    'webhook-id',
    'webhook-timestamp',
    'webhook-signature',
    'content-type',
    'ce-id',
    'ce-type',
    'ce-specversion',
    'ce_id',
  ),
  fc.constantFrom(
    'ce_type',
    'ce_specversion',
    'id',
    'eventType',
    'postrider-attempt',
    'postrider-position',
    'postrider-event-type',
  ),
)
const values = fc.oneof(
  hostileText(),
  fc.constantFrom('1.0', 'application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json', 'evt_1'),
  fc.constantFrom('1767225600', 'v1,AAAA', `v1,${'A'.repeat(43)}=`, `v1a,${'A'.repeat(86)}==`),
)
const headers = fc.dictionary(names, fc.oneof(values, fc.array(values, { maxLength: 3 })), { maxKeys: 10 })
const bodies = fc.oneof(
  fc.uint8Array({ maxLength: 3_000 }),
  fc.json().map((text) => Buffer.from(text)),
  hostileText().map((text) => Buffer.from(text)),
  fc
    .tuple(
      fc.constantFrom('id', 'type', 'specversion', '__proto__', 'data', 'data_base64', 'timestamp', 'time'),
      fc.jsonValue(),
      fc.json(),
    )
    .map(([name, value, data]) =>
      Buffer.from(
        `{"specversion":"1.0","id":"a","type":"b","timestamp":"c",${JSON.stringify(name)}:${JSON.stringify(value)},"data":${data}}`,
      ),
    ),
)

test('headers are read whatever they are called, each as a text, and none becomes a prototype', () => {
  fuzz(fc.oneof(headers, fc.array(fc.tuple(names, values))), (given) => {
    const read = readHeaders(given as Record<string, string>)
    expect(Object.getPrototypeOf(read)).toBeNull()
    for (const [name, value] of Object.entries(read)) expect([name.toLowerCase(), typeof value]).toEqual([name, 'string'])
  })
})

test('no request that nobody signed is accepted, and none makes the verifier throw', () => {
  const verifier = createVerifier({ secrets: [secret], now: () => 1_767_225_600_000, maxBodyBytes: 2_000 })
  // All but the signature is mostly right, or nothing would get so far as to be compared.
  const nearly = fc.record(
    {
      'webhook-id': fc.oneof({ weight: 4, arbitrary: fc.constant('evt_1') }, values),
      'webhook-timestamp': fc.oneof({ weight: 4, arbitrary: fc.constant('1767225600') }, values),
      'webhook-signature': fc.oneof(
        values,
        fc
          .array(
            fc.base64String({ minLength: 44, maxLength: 44 }).map((text) => `v1,${text}`),
            { maxLength: 12 },
          )
          .map((all) => all.join(' ')),
      ),
    },
    { requiredKeys: [] },
  )
  fuzz(fc.tuple(fc.oneof({ weight: 3, arbitrary: nearly }, headers), bodies), ([given, body]) => {
    const result = verifier.check({ headers: given, body })
    expect(result.ok).toBe(false)
    if (!result.ok) expect(isPostriderError(result.error)).toBe(true)
    if (body.length > 2_000) expect(result).toMatchObject({ reason: 'body_too_large' })
  })
})

test('a secret is read or refused as invalid_options, and never repeated', () => {
  const texts = fc.oneof(
    hostileText(),
    fc.tuple(fc.constantFrom('whsec_', 'whsk_', 'whpk_', ''), fc.base64String({ maxLength: 120 })).map((parts) => parts.join('')),
  )
  fuzz(texts, (text) => {
    try {
      createVerifier({ secrets: [text] })
    } catch (error) {
      if (!isPostriderError(error) || error.code !== 'invalid_options') throw error
      const rest = text.slice(6)
      if (rest.length >= 8) expect(`${error.message}${JSON.stringify(error.details)}`).not.toContain(rest)
    }
  })
})

describe('an event', () => {
  const look = (event: { readonly data: unknown } | null): void => void answerOr(['malformed_event'], () => event?.data)

  test('of a request is read or refused as malformed_event', () => {
    fuzz(fc.tuple(headers, bodies), ([given, body]) => {
      look(answerOr(['malformed_event'], () => eventFromRequest({ headers: given, body })))
    })
  })

  test('of a record is read or refused as malformed_event, whatever a client makes of key, value, headers, offset and time', () => {
    const bytes = fc.oneof(hostileText(), bodies)
    const records = fc.record(
      {
        topic: hostileText(20),
        partition: fc.integer(),
        offset: fc.oneof(fc.bigInt(), fc.nat(), fc.double(), hostileText(30), fc.nat().map(String)),
        key: fc.option(bytes),
        value: fc.option(bytes),
        headers: fc.oneof(
          fc.dictionary(names, fc.oneof(values, bodies, fc.array(values, { maxLength: 2 }))),
          fc.array(fc.tuple(fc.oneof(names, bodies), fc.oneof(values, bodies)), { maxLength: 6 }),
        ),
        timestamp: fc.oneof(hostileText(20), fc.bigInt(), fc.double()),
      },
      { requiredKeys: ['topic', 'partition', 'offset'] },
    )
    fuzz(records, (record) => {
      look(answerOr(['malformed_event'], () => eventFromRecord(record as Parameters<typeof eventFromRecord>[0])))
    })
  })

  test('nested a hundred thousand levels deep is no stack that overflows, and takes no time', () => {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const deep = `${open.repeat(100_000)}1${close.repeat(100_000)}`
      const body = `{"specversion":"1.0","id":"a","type":"b","data":${deep}}`
      const event = answerOr(['malformed_event'], () =>
        eventFromRequest({ headers: { 'webhook-id': 'a', 'content-type': 'application/cloudevents+json' }, body }),
      )
      look(event)
      expect(findMember(body, 'data')).toBe(deep)
    }
  })
})

describe('a body', () => {
  test('of any number of chunks is read to its end or refused at the limit, and no more is taken than that', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 600 }), fc.constant('text')), { maxLength: 12 }),
        fc.option(hostileText(20), { nil: undefined }),
        async (chunks, contentLength) => {
          let taken = 0
          const source = (async function* () {
            for (const chunk of chunks) {
              taken += chunk.length
              yield chunk
            }
          })()
          try {
            const body = await readBody({ chunks: source, contentLength }, 1_000, 1_000)
            expect(body.length).toBe(taken)
            expect(body.length).toBeLessThanOrEqual(1_000)
          } catch (error) {
            if (!isPostriderError(error)) throw error
            expect(['body_too_large', 'body_parsed']).toContain(error.code)
            expect(taken).toBeLessThanOrEqual(1_600)
          }
        },
      ),
      { seed: 20_261_121, numRuns: 500 },
    )
  })

  test('without an end, or without a word, ends by its limit or its deadline', async () => {
    const endless: AsyncIterator<unknown> = { next: async () => ({ done: false, value: Buffer.alloc(65_536) }) }
    const silent: AsyncIterator<unknown> = { next: () => new Promise(() => undefined) }
    const broken: AsyncIterator<unknown> = { next: () => Promise.reject(new Error('ECONNRESET')) }
    const read = (chunks: AsyncIterator<unknown>): Promise<Buffer> =>
      readBody({ chunks, contentLength: undefined }, 1_000_000, 100)
    await expect(read(endless)).rejects.toMatchObject({ code: 'body_too_large' })
    await expect(read(silent)).rejects.toMatchObject({ code: 'body_incomplete' })
    await expect(read(broken)).rejects.toMatchObject({ code: 'body_incomplete' })
  })
})
