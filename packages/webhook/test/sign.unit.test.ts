import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createVerifier } from '@postrider/inbox'
import { readSigningSecret } from '@postrider/schema/signature'
import { generateSecret, publicKeyOf, sign, type SignedContent } from '@postrider/webhook'
import { createSigner } from '../src/sign.ts'

const id = 'evt_01JGFJJZ00000000000000000A'
const timestamp = 1_767_225_600
const official = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: 1_614_265_330 }
const k32 = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const k24 = 'whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh'
const k64 = 'whsec_//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eDf3t3c29rZ2NfW1dTT0tHQz87NzMvKycjHxsXEw8LBwA=='
const seed = `whsk_${Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('base64')}`
const bodyA = `{"id":"${id}","type":"user.created","timestamp":"2026-01-01T00:00:00.000Z","data":{"n":9007199254740993}}`
const bodyB = '{"name":"Zoë €😀"}'

interface Vector extends Omit<SignedContent, 'body'> {
  readonly name: string
  readonly secret: string
  /** The text for receivers, where it is another. */
  readonly open?: string
  readonly body: string
  readonly expected: string
}

/** The first two are the published vectors of Standard Webhooks and of Svix. */
const vectors: readonly Vector[] = [
  {
    name: 'V1',
    ...official,
    secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    body: '{"test": 2432232314}',
    expected: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  },
  {
    name: 'V2',
    ...official,
    secret: 'whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==',
    open: 'whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=',
    body: '{"test": 2432232314}',
    expected: 'v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==',
  },
  { name: 'A/K32', id, timestamp, secret: k32, body: bodyA, expected: 'v1,t5iU7cAzbcR3vdjCodkfpL3yTr/yGVqUAyIh+eT1tYo=' },
  { name: 'B/K32', id, timestamp, secret: k32, body: bodyB, expected: 'v1,z+48LWMUbPN9MvJQobF+e8GroqeitVpcjoVCNZjpTcE=' },
  { name: 'C/K32', id, timestamp, secret: k32, body: '', expected: 'v1,bw2tTao4xCu0VJ03L+xhTldbQigzVBJ78Jol9dslMQI=' },
  {
    name: 'D/K32',
    id,
    timestamp,
    secret: k32,
    body: '{ "a" : 1.0 }\n',
    expected: 'v1,pECkxuqiEzNVXwFlX5xp1Ouu29iDotafndaiaNwJZRA=',
  },
  { name: 'B/K24', id, timestamp, secret: k24, body: bodyB, expected: 'v1,8tmfPkqJk8I0eY+C5kEYr348e69kRW645cS59XTyabI=' },
  { name: 'B/K64', id, timestamp, secret: k64, body: bodyB, expected: 'v1,zC0+mLST1Z/eq6XD4wTJcNj7Cfw/7/ct61MGQp8w4Vw=' },
  {
    name: 'B/ed',
    id,
    timestamp,
    secret: seed,
    open: 'whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=',
    body: bodyB,
    expected: 'v1a,DjDHl4xX5iK4M/PsTbrr50tkqkO40Tr3c6ZvOPdKbcIbw8OQgIKbWcWmrJoP2fh/iAX44nyjtRXU60rug801AA==',
  },
]

describe.each(vectors)('vector $name', (vector) => {
  const { body, expected } = vector
  test('is signed to the byte', () => {
    expect(sign({ id: vector.id, timestamp: vector.timestamp, body: Buffer.from(body) }, [vector.secret])).toBe(expected)
  })
  test('is accepted by verify', () => {
    const headers = { 'webhook-id': vector.id, 'webhook-timestamp': String(vector.timestamp), 'webhook-signature': expected }
    const secrets = [vector.open ?? vector.secret]
    expect(createVerifier({ secrets, now: () => vector.timestamp * 1000 }).check({ body, headers })).toMatchObject({
      ok: true,
      id: vector.id,
    })
  })
})

test('ed25519 secrets have the public keys that are published', () => {
  const pairs = vectors.filter(({ open }) => open !== undefined)
  expect(pairs.map(({ secret }) => publicKeyOf(secret))).toEqual(pairs.map(({ open }) => open))
  expect(pairs).toHaveLength(2)
})

describe('rotation', () => {
  const content = { id, timestamp, body: Buffer.from('{}') }
  const key = readSigningSecret(k32)
  const older = readSigningSecret(k24)
  const oldest = readSigningSecret(k64)

  test('the current key signs first, then former ones, then ed25519', () => {
    const signer = createSigner(
      [readSigningSecret(seed), key],
      [
        { key: older, untilMs: Infinity },
        { key: oldest, untilMs: Infinity },
      ],
    )
    const expected = [k32, k24, k64, seed].map((secret) => sign(content, [secret])).join(' ')
    expect(signer(content)).toBe(expected)
  })

  test('a former key signs until its time and not from then on', () => {
    const signer = createSigner([key], [{ key: older, untilMs: timestamp * 1000 + 1 }])
    expect(signer(content).split(' ')).toHaveLength(2)
    expect(signer({ ...content, timestamp: timestamp + 1 }).split(' ')).toHaveLength(1)
  })
})

describe('secrets', () => {
  test.each(['whsec', 'whsk'] as const)('a generated %s signs and verifies', (kind) => {
    const secret = generateSecret(kind)
    const signature = sign({ id, timestamp, body: Buffer.from('x') }, [secret])
    const headers = { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signature }
    expect(createVerifier({ secrets: [secret], now: () => timestamp * 1000 }).check({ body: 'x', headers }).ok).toBe(true)
  })

  const tooShort = `whsec_${Buffer.alloc(23).toString('base64')}`
  const tooLong = `whsec_${Buffer.alloc(65).toString('base64')}`
  const unpadded = k32.slice(0, -1)
  const urlSafe = `whsec_${Buffer.alloc(30, 0xff).toString('base64url')}`
  const twisted = `whsk_${Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 2)]).toString('base64')}`
  test.each([
    ['whsec_'],
    [tooShort],
    [tooLong],
    [unpadded],
    [urlSafe],
    [twisted],
    ['whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg='],
    ['hello'],
  ])('%s cannot sign, and the error does not repeat it', (secret) => {
    let message = ''
    try {
      readSigningSecret(secret)
    } catch (error) {
      message = String(error)
    }
    expect(message).toMatch(/^PostriderError: /)
    expect(message).not.toContain(secret.slice(6) || '\0')
  })
})

describe('HMAC-SHA256', () => {
  test('is that of node:crypto, whatever the key and the body, one after the other', () => {
    const keys = fc.uint8Array({ minLength: 24, maxLength: 64 })
    const bodies = fc.array(fc.oneof(fc.uint8Array({ maxLength: 600 }), largeBody), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(keys, bodies, (key, given) => {
        const signer = createSigner([readSigningSecret(`whsec_${Buffer.from(key).toString('base64')}`)])
        for (const body of given) {
          const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')
          expect(signer({ id, timestamp, body })).toBe(`v1,${expected}`)
        }
      }),
      { numRuns: 200 },
    )
  })
})

/** Around where room is made, and where nothing is copied any more. */
const largeBody = fc
  .constantFrom(3_900, 4_000, 4_040, 8_100, 65_400, 65_536, 200_000)
  .map((bytes) => new Uint8Array(bytes).fill(bytes % 251))
