import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createSealer, generateSealKey, isSealed } from '@postrider/webhook'

const [key, other] = [generateSealKey(), generateSealKey()] as const
const sealer = createSealer({ current: key })

test('what is sealed for a place is opened there, whatever it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (text, place) => {
      const sealed = sealer.seal(text, place)
      expect(isSealed(sealed)).toBe(true)
      expect(sealer.open(sealed, place)).toBe(text)
    }),
  )
})

test('the same text is sealed differently each time, and is not to be seen in it', () => {
  const sealed = Array.from({ length: 20 }, () => sealer.seal('whsec_canary', 'hooks/acme'))
  expect(new Set(sealed).size).toBe(20)
  for (const one of sealed) {
    expect(one).not.toContain('canary')
    expect(Buffer.from(one.split(':')[2] ?? '', 'base64url').toString('latin1')).not.toContain('canary')
  }
})

test('it cannot be opened elsewhere, so copying it to another endpoint gains nothing', () => {
  const sealed = sealer.seal('text', 'hooks/acme')
  expect(() => sealer.open(sealed, 'hooks/mallory')).toThrow('it was not sealed for hooks/mallory, or is damaged')
})

test('a change of any character is found', () => {
  const sealed = sealer.seal('a secret', 'hooks/acme')
  const start = sealed.lastIndexOf(':') + 1
  for (let at = start; at < sealed.length - 1; at++) {
    const changed = sealed.slice(0, at) + (sealed[at] === 'A' ? 'B' : 'A') + sealed.slice(at + 1)
    expect(() => sealer.open(changed, 'hooks/acme'), `character ${at}`).toThrow('a sealed text cannot be opened')
  }
  expect(() => sealer.open(sealed.slice(0, -4), 'hooks/acme')).toThrow('a sealed text cannot be opened')
})

test('a former key opens what it has sealed, and what is new is sealed with the current one', () => {
  const sealed = sealer.seal('text', 'hooks/acme')
  const rotated = createSealer({ current: other, previous: [key] })
  expect(rotated.open(sealed, 'hooks/acme')).toBe('text')
  const anew = rotated.seal('text', 'hooks/acme')
  expect([rotated.isCurrent(sealed), rotated.isCurrent(anew)]).toEqual([false, true])
  expect(createSealer({ current: other }).open(anew, 'hooks/acme')).toBe('text')
})

test('without the key it is named by its id', () => {
  const sealed = sealer.seal('text', 'hooks/acme')
  const [, id] = sealed.split(':')
  expect(() => createSealer({ current: other }).open(sealed, 'hooks/acme')).toThrow(
    expect.objectContaining({ code: 'invalid_options', message: expect.stringContaining(`key ${id}`) as string }) as Error,
  )
})

describe('a key that is none is refused without repeating it', () => {
  test.for([
    '',
    'canary',
    Buffer.alloc(31).toString('base64'),
    Buffer.alloc(33).toString('base64'),
    Buffer.alloc(32).toString('base64url'),
  ])('%j', (text) => {
    const refused = (): unknown => createSealer({ current: key, previous: [text] })
    expect(refused).toThrow('previousKeys[0]: expected base64 of 32 bytes')
    if (text !== '') expect(refused).not.toThrow(text)
  })
})

test.for(['sealed:', 'sealed:0a1b2c3d:', 'sealed:0a1b2c3d:AAAA', 'sealed:0A1B2C3D:AAAA', 'env:SECRET', 'whsec_AAAA'])(
  '%j cannot be opened',
  (text) => {
    expect(() => sealer.open(text, 'hooks/acme')).toThrow('it is not of the form sealed:<key id>:<base64url>')
  },
)
