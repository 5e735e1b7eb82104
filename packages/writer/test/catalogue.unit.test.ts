import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as v from 'valibot'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { createWriter, event, type EventOf, type InputOf, type OutputOf, type StandardSchema } from '../src/index.ts'
import { recorder } from './recorder.ts'

const events = {
  'order.placed': z.object({ orderId: z.string(), total: z.number(), placedAt: z.coerce.date<string>() }),
  'order.paid': v.object({
    orderId: v.string(),
    cents: v.pipe(
      v.string(),
      v.transform((digits) => BigInt(digits)),
    ),
  }),
  'order.noted': event<{ text: string }>(),
  'order.scanned': event<Uint8Array>(),
}

const outbox = createWriter({
  source: 'shop/orders',
  events,
  key: {
    'order.placed': (order) => order.orderId,
    'order.paid': (payment) => (payment.cents > 0n ? payment.orderId : undefined),
  },
})

const placed = { orderId: 'o-1', total: 3, placedAt: '2026-01-02T03:04:05Z' }

describe('the compiler knows the catalogue', () => {
  test('data are what the validator takes, keys are made from what it gives', () => {
    expectTypeOf<InputOf<(typeof events)['order.placed']>>().toEqualTypeOf<{ orderId: string; total: number; placedAt: string }>()
    expectTypeOf<OutputOf<(typeof events)['order.placed']>>().toEqualTypeOf<{ orderId: string; total: number; placedAt: Date }>()
    expectTypeOf<OutputOf<(typeof events)['order.paid']>>().toEqualTypeOf<{ orderId: string; cents: bigint }>()
    expectTypeOf<EventOf<typeof events>['type']>().toEqualTypeOf<keyof typeof events>()
    createWriter({
      source: 'x',
      events,
      key: {
        'order.placed': (order) => {
          expectTypeOf(order.placedAt).toEqualTypeOf<Date>()
          return order.orderId
        },
        // @ts-expect-error a key is a string
        'order.noted': (note) => note.text.length,
      },
    })
  })

  test('validators of the Standard Schema are validators of a catalogue, and event<T>() is one of theirs', () => {
    const theirs = (schema: StandardSchemaV1<string, number>): StandardSchema<string, number> => schema
    const ours: StandardSchemaV1<{ text: string }> = event<{ text: string }>()
    expectTypeOf<InputOf<ReturnType<typeof theirs>>>().toEqualTypeOf<string>()
    expectTypeOf<OutputOf<StandardSchemaV1<string, number>>>().toEqualTypeOf<number>()
    expect(ours['~standard'].validate({ text: 'x' })).toEqual({ value: { text: 'x' } })
  })

  test('an unknown type, a wrong payload, a wrong option and a wrong member of a batch do not compile, and are refused', async () => {
    const { trx, sent } = recorder()
    // @ts-expect-error no such type
    await expect(outbox.emit(trx, 'order.plced', placed)).rejects.toMatchObject({ code: 'unknown_type' })
    // @ts-expect-error total is a number
    await expect(outbox.emit(trx, 'order.placed', { ...placed, total: '3' })).rejects.toMatchObject({ code: 'invalid_payload' })
    // @ts-expect-error the option is called deliverAt
    await expect(outbox.emit(trx, 'order.placed', placed, { delayMs: 5 })).rejects.toMatchObject({ code: 'invalid_event' })
    const mixed = [
      { type: 'order.noted', data: { text: 'x' } },
      { type: 'order.paid', data: { text: 'x' } },
    ] as const
    // @ts-expect-error the second has the data of the first
    await expect(outbox.emitMany(trx, mixed)).rejects.toMatchObject({ code: 'invalid_payload', details: { index: 1 } })
    // @ts-expect-error a key for a type that is not in the catalogue
    expect(() => createWriter({ source: 'x', events, key: { 'order.lost': () => 'x' } })).toThrow(
      'key: "order.lost" is not in events',
    )
    expect(sent).toEqual([])
  })
})

describe('the validator decides what is stored', () => {
  test('its output is stored, with the key that the catalogue makes of it', async () => {
    const { trx, events } = recorder()
    await outbox.emitMany(trx, [
      { type: 'order.placed', data: placed },
      { type: 'order.paid', data: { orderId: 'o-2', cents: '9007199254740993' } },
      { type: 'order.paid', data: { orderId: 'o-2', cents: '0' } },
      { type: 'order.placed', data: placed, key: 'mine' },
    ])
    expect(events()).toMatchObject([
      { type: 'order.placed', key: 'o-1', source: 'shop/orders', payload: { placedAt: '2026-01-02T03:04:05.000Z' } },
      { type: 'order.paid', key: 'o-2' },
      { type: 'order.paid' },
      { type: 'order.placed', key: 'mine' },
    ])
    expect(events()[2]).not.toHaveProperty('key')
  })

  test('all its complaints are in the error, the first in the message', async () => {
    const { trx } = recorder()
    const data = { orderId: 1, total: 'x', placedAt: '2026-01-02T03:04:05Z' } as unknown as typeof placed
    await expect(outbox.emit(trx, 'order.placed', data)).rejects.toMatchObject({
      code: 'invalid_payload',
      message: expect.stringMatching(/^event 0 \(order\.placed\): payload\.orderId: .*string.* \(and 1 more\)$/) as string,
      details: {
        index: 0,
        type: 'order.placed',
        path: 'payload.orderId',
        problems: [expect.stringContaining('payload.orderId: ') as string, expect.stringContaining('payload.total: ') as string],
      },
    })
  })

  test('paths of valibot, which are objects, read the same', async () => {
    const { trx } = recorder()
    const nested = createWriter({ source: 'x', events: { a: v.object({ items: v.array(v.object({ price: v.number() })) }) } })
    const data = { items: [{ price: 1 }, { price: '2' as unknown as number }] }
    await expect(nested.emit(trx, 'a', data)).rejects.toMatchObject({ details: { path: 'payload.items[1].price' } })
  })

  test('an asynchronous validator is awaited, in the order of the call', async () => {
    const { trx, events, sent } = recorder()
    const slow: StandardSchema<number> = {
      '~standard': { version: 1, vendor: 'test', validate: async (value) => ({ value: Number(value) * 10 }) },
    }
    const writer = createWriter({ source: 'x', events: { slow, fast: event<number>() } })
    await writer.emitMany(trx, [
      { type: 'slow', data: 1 },
      { type: 'fast', data: 2 },
    ])
    expect(events().map(({ payload }) => payload)).toEqual([10, 2])
    expect(sent).toHaveLength(1)
  })

  test('with a synchronous validator the statement is handed over before the call returns', () => {
    const { trx, sent } = recorder()
    void outbox.emit(trx, 'order.placed', placed)
    expect(sent).toHaveLength(1)
  })

  test('what a validator throws comes through as it is', async () => {
    const { trx } = recorder()
    const fault = new Error('my own')
    const validate = (): never => {
      throw fault
    }
    const broken: StandardSchema<number> = { '~standard': { version: 1, vendor: 'test', validate } }
    await expect(createWriter({ source: 'x', events: { broken } }).emit(trx, 'broken', 1)).rejects.toBe(fault)
  })
})

test('a type with the name of a member of every object is unknown unless it is in the catalogue', async () => {
  const { trx, events } = recorder()
  await expect(outbox.emit(trx, 'constructor' as 'order.noted', { text: '' })).rejects.toMatchObject({
    code: 'unknown_type',
    message: expect.stringContaining('order.placed, order.paid') as string,
  })
  await createWriter({ source: 'x', events: { constructor: event<number>() }, key: {} }).emit(trx, 'constructor', 1)
  expect(events()[0]).not.toHaveProperty('key')
})

test('bytes are stored as bytes, up to the limit, of a view as of a whole buffer', async () => {
  const { trx, events } = recorder()
  const bytes = Uint8Array.of(0, 1, 2, 253, 254, 255)
  await outbox.emit(trx, 'order.scanned', bytes)
  await outbox.emit(trx, 'order.scanned', bytes.subarray(3), { contentType: 'image/png' })
  expect(events()).toMatchObject([{ payload_base64: 'AAEC/f7/' }, { payload_base64: '/f7/', content_type: 'image/png' }])
  expect(events()[0]).not.toHaveProperty('payload')

  await outbox.emit(trx, 'order.scanned', new Uint8Array(262_144))
  await expect(outbox.emit(trx, 'order.scanned', new Uint8Array(262_145))).rejects.toMatchObject({ code: 'payload_too_large' })
})

test('every problem of the options is told at once', () => {
  const options = {
    source: '',
    events: { 'order placed': event(), ['t'.repeat(129)]: event(), x: {} },
    key: { y: 1 },
    schema: 'a"; drop',
    sauce: 1,
  }
  expect(() => createWriter(options as never)).toThrow(
    expect.objectContaining({
      code: 'invalid_options',
      details: {
        problems: [
          'there is no option "sauce"',
          'source is empty',
          expect.stringContaining('schema is not a plain lower-case identifier'),
          expect.stringContaining('"order placed" is not one to ten segments'),
          expect.stringContaining('"ttt'),
          expect.stringContaining('"x" has no Standard Schema validator'),
          'key: "y" is not in events',
          'key: "y" has no function that makes a key',
        ],
      },
    }),
  )
  expect(() => createWriter({ source: 'x', events: {} })).toThrow('events is empty')
})

test('the schema can have another name', async () => {
  const { trx, sent } = recorder()
  await createWriter({ source: 'x', events: { a: event<number>() }, schema: 'outbox_2' }).emit(trx, 'a', 1)
  expect(sent[0]?.text).toBe('select outbox_2.emit($1::text::jsonb)')
})
