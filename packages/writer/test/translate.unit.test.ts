import { PostriderError } from '@postrider/schema'
import { expect, test } from 'vitest'
import { translate } from '../src/translate.ts'

const events = [
  { type: 'order.placed', id: 'a' },
  { type: 'order.paid', id: 'b' },
]

const raised = (code: string, detail?: unknown): Error => Object.assign(new Error('event 1: no'), { code, detail })

test('an error of the function becomes the one with the same meaning, and names the event', () => {
  const cause = raised('PR002', '{"index": 1, "path": "payload", "limit": 3}')
  const error = translate(cause, 'postrider', events)
  expect(error).toBeInstanceOf(PostriderError)
  expect(error).toMatchObject({
    code: 'invalid_payload',
    message: 'event 1: no',
    details: { index: 1, path: 'payload', limit: 3, type: 'order.paid', id: 'b' },
    cause,
  })
})

test.for([[undefined], ['not json'], ['null'], ['7'], ['{"index": "1", "path": 2}'], ['{"index": 99}']])(
  'a DETAIL of %j costs the place, never the error',
  ([detail]) => {
    const error = translate(raised('PR001', detail), 'postrider', events)
    expect(error).toMatchObject({ code: 'invalid_event', message: 'event 1: no' })
    expect(error).not.toHaveProperty('details.type')
  },
)

test.for(['42P01', '42883', '3F000'])('SQLSTATE %s is schema_missing', (code) => {
  expect(translate(raised(code), 'outbox', events)).toMatchObject({
    code: 'schema_missing',
    message: 'outbox.emit cannot run in this database: event 1: no',
  })
})

test.for<[name: string, error: unknown]>([
  ['a serialization failure', raised('40001')],
  ['a deadlock', raised('40P01')],
  ['a missing privilege', raised('42501')],
  ['an error without a SQLSTATE', new Error('Connection terminated')],
  ['what is no error', 'a string'],
])('%s stays what it is', ([, error]) => {
  expect(translate(error, 'postrider', events)).toBe(error)
})
