import { createCipheriv, createDecipheriv, createHash, createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import { PostriderError } from '@postrider/schema'

/** Keys that seal what is stored about endpoints: each base64 of 32 bytes. */
export interface SealKeys {
  readonly current: string
  /** Former keys, with which what they have sealed can still be opened. */
  readonly previous?: readonly string[]
}

/**
 * Seals texts with AES-256-GCM for a place: what was sealed for one endpoint cannot be opened for another, so that nobody
 * gains by copying it within the database.
 */
export interface Sealer {
  /** `sealed:<key id>:<base64url>`. */
  seal(text: string, place: string): string
  /**
   * @throws PostriderError `invalid_options`: it was sealed with a key that is not here, for another place, or was tampered
   *   with. The message repeats none of it.
   */
  open(sealed: string, place: string): string
  /** Whether it was sealed with the current key. */
  isCurrent(sealed: string): boolean
}

const form = /^sealed:([0-9a-f]{8}):([A-Za-z0-9_-]+)$/
const ivBytes = 12
const tagBytes = 16

/** Whether a text is one that {@link Sealer.seal} writes. */
export function isSealed(text: string): boolean {
  return form.test(text)
}

/** A new key from the system's generator. */
export function generateSealKey(): string {
  return randomBytes(32).toString('base64')
}

/** @throws PostriderError `invalid_options` for a key that is none; the message never repeats it. */
export function createSealer({ current, previous = [] }: SealKeys): Sealer {
  const own = readKey(current, 'secretKey')
  const byId = new Map(
    [...previous.map((text, index) => readKey(text, `previousKeys[${index}]`)), own].map((one) => [one.id, one.key]),
  )
  return {
    seal(text, place) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', own.key, iv).setAAD(placeBytes(place))
      const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      return `sealed:${own.id}:${sealed.toString('base64url')}`
    },
    open(sealed, place) {
      const [, id = '', text = ''] = form.exec(sealed) ?? []
      const bytes = Buffer.from(text, 'base64url')
      if (bytes.length < ivBytes + tagBytes) throw cannot('it is not of the form sealed:<key id>:<base64url>')
      const key = byId.get(id)
      if (key === undefined) throw cannot(`it was sealed with key ${id}, which is neither secretKey nor among previousKeys`)
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
      decipher.setAAD(placeBytes(place)).setAuthTag(bytes.subarray(-tagBytes))
      try {
        return Buffer.concat([decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final()]).toString('utf8')
      } catch {
        throw cannot(`it was not sealed for ${place}, or is damaged`)
      }
    },
    isCurrent: (sealed) => form.exec(sealed)?.[1] === own.id,
  }
}

/** The id tells keys apart and nothing about them: a few bytes of a hash. */
function readKey(text: string, name: string): { readonly id: string; readonly key: KeyObject } {
  const bytes = /^[A-Za-z0-9+/]{43}=$/.test(text) ? Buffer.from(text, 'base64') : Buffer.alloc(0)
  if (bytes.length !== 32) {
    const problem = `${name}: expected base64 of 32 bytes, as \`openssl rand -base64 32\` prints`
    throw new PostriderError('invalid_options', problem, { problems: [problem] })
  }
  return {
    id: createHash('sha256').update('postrider seal key\n').update(bytes).digest('hex').slice(0, 8),
    key: createSecretKey(bytes),
  }
}

function placeBytes(place: string): Buffer {
  return Buffer.from(`postrider endpoint\n${place}`)
}

function cannot(why: string): PostriderError {
  return new PostriderError('invalid_options', `a sealed text cannot be opened: ${why}`, { problems: [why] })
}
