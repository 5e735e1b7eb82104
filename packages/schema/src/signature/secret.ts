import { createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { PostriderError } from '../errors.ts'

/** `v1` is HMAC-SHA256, `v1a` is ed25519; the names are those of Standard Webhooks 1.0.0. */
export interface SigningKey {
  readonly version: 'v1' | 'v1a'
  readonly key: KeyObject
}

const hmacPrefix = 'whsec_'
const privatePrefix = 'whsk_'
const publicPrefix = 'whpk_'
const seedBytes = 32
/** DER before the 32 raw bytes of an ed25519 key: PKCS#8 and SubjectPublicKeyInfo of RFC 8410. */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex')

/**
 * Reads a secret that signs: `whsec_` + base64 of 24 to 64 bytes, or `whsk_` + base64 of an ed25519 seed, alone or
 * followed by its public key. Throws `invalid_options`; the message never repeats the secret.
 */
export function readSigningSecret(text: string): SigningKey {
  if (text.startsWith(hmacPrefix)) return readHmacSecret(text)
  if (text.startsWith(privatePrefix)) return { version: 'v1a', key: readPrivateKey(text) }
  throw badSecret('a secret begins with whsec_ (HMAC) or whsk_ (ed25519)')
}

/** Reads a secret that verifies: `whsec_`, `whpk_` (ed25519 public), or `whsk_`, of which the public half is used. */
export function readVerifyingSecret(text: string): SigningKey {
  if (text.startsWith(hmacPrefix)) return readHmacSecret(text)
  if (text.startsWith(privatePrefix)) return { version: 'v1a', key: createPublicKey(readPrivateKey(text)) }
  if (text.startsWith(publicPrefix)) {
    const raw = decode(text, publicPrefix)
    if (raw.length !== seedBytes) throw badSecret('a whpk_ key is 32 bytes')
    return { version: 'v1a', key: createPublicKey({ key: Buffer.concat([spkiHead, raw]), format: 'der', type: 'spki' }) }
  }
  throw badSecret('a secret begins with whsec_ (HMAC), whpk_ or whsk_ (ed25519)')
}

/** A new secret from the system's generator: 32 bytes of HMAC key, or an ed25519 pair. */
export function generateSecret(kind: 'whsec' | 'whsk' = 'whsec'): string {
  if (kind === 'whsec') return hmacPrefix + randomBytes(32).toString('base64')
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const seed = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(pkcs8Head.length)
  return privatePrefix + Buffer.concat([seed, rawPublicKey(publicKey)]).toString('base64')
}

/** The `whpk_` text to give to receivers, from a `whsk_` secret. */
export function publicKeyOf(secret: string): string {
  if (!secret.startsWith(privatePrefix)) throw badSecret('only a whsk_ secret has a public key')
  return publicPrefix + rawPublicKey(createPublicKey(readPrivateKey(secret))).toString('base64')
}

function readHmacSecret(text: string): SigningKey {
  const raw = decode(text, hmacPrefix)
  if (raw.length < 24 || raw.length > 64) throw badSecret('a whsec_ secret is 24 to 64 bytes')
  return { version: 'v1', key: createSecretKey(raw) }
}

function readPrivateKey(text: string): KeyObject {
  const raw = decode(text, privatePrefix)
  if (raw.length !== seedBytes && raw.length !== 2 * seedBytes) throw badSecret('a whsk_ secret is 32 or 64 bytes')
  const seed = raw.subarray(0, seedBytes)
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Head, seed]), format: 'der', type: 'pkcs8' })
  if (raw.length > seedBytes && !rawPublicKey(createPublicKey(key)).equals(raw.subarray(seedBytes))) {
    throw badSecret('the two halves of a whsk_ secret do not belong together')
  }
  return key
}

function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(spkiHead.length)
}

/** Standard base64 with padding only: other libraries refuse the URL alphabet. */
function decode(text: string, prefix: string): Buffer {
  const base64 = text.slice(prefix.length)
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw badSecret(`after ${prefix} comes standard base64 with padding`)
  }
  return Buffer.from(base64, 'base64')
}

function badSecret(problem: string): PostriderError {
  return new PostriderError('invalid_options', problem, { problems: [problem] })
}
