import { sign as signWith, timingSafeEqual, verify as verifyWith } from 'node:crypto'
import { Hmac } from './hmac.ts'
import type { SigningKey } from './secret.ts'

/** What is signed: the bytes `id.timestamp.body` (Standard Webhooks 1.0.0). */
export interface SignedContent {
  /** Must satisfy {@link messageIdPattern}. */
  readonly id: string
  /** Unix seconds. */
  readonly timestamp: number
  readonly body: Uint8Array
}

/** No dot: the id `a` with the body `T.x`, and the id `a.T` with the body `x`, would have one signature. */
export const messageIdPattern: RegExp = /^[A-Za-z0-9_-]{1,64}$/

/** Base64 of 32 and of 64 bytes, with padding: nothing else can be a signature, and only one text stands for each. */
const forms = { v1: /^[A-Za-z0-9+/]{43}=$/, v1a: /^[A-Za-z0-9+/]{86}==$/ } as const

/** One signature, as it stands in the header: `v1,…` or `v1a,…`. */
export function signWithKey({ version, key }: SigningKey, content: SignedContent): string {
  if (version === 'v1') return `v1,${hmac(key, content)}`
  return `v1a,${signWith(null, bytesOf(content), key).toString('base64')}`
}

/** Whether one of these signatures is of this key; in constant time for each. Those of another version are passed over. */
export function isSignedWith({ version, key }: SigningKey, signatures: readonly string[], content: SignedContent): boolean {
  const prefix = `${version},`
  const given = signatures
    .filter((signature) => signature.startsWith(prefix) && forms[version].test(signature.slice(prefix.length)))
    .map((signature) => Buffer.from(signature.slice(prefix.length), 'base64'))
  if (given.length === 0) return false
  if (version === 'v1a') {
    const signed = bytesOf(content)
    return given.some((one) => verifyWith(null, signed, key, one))
  }
  const expected = Buffer.from(hmac(key, content), 'base64')
  return given.some((one) => timingSafeEqual(expected, one))
}

const hmacs = new WeakMap<SigningKey['key'], Hmac>()

function hmac(key: SigningKey['key'], content: SignedContent): string {
  let prepared = hmacs.get(key)
  if (prepared === undefined) hmacs.set(key, (prepared = new Hmac(key)))
  return prepared.digest(headOf(content), content.body)
}

function bytesOf(content: SignedContent): Buffer {
  return Buffer.concat([Buffer.from(headOf(content)), content.body])
}

function headOf({ id, timestamp }: SignedContent): string {
  return `${id}.${timestamp}.`
}
