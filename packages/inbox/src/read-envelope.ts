import { malformed, parseJson } from './event.ts'
import { findMember } from './find-member.ts'

/** What an envelope or the headers say about an event; null what they do not say. */
export interface Attributes {
  readonly id: string | null
  readonly type: string | null
  readonly source: string | null
  readonly subject: string | null
  readonly key: string | null
  readonly tenant: string | null
  readonly time: string | null
  readonly sequence: string | null
  readonly contentType: string
  readonly bytes: Uint8Array | null
}

type Members = Readonly<Record<string, unknown>>

/**
 * CloudEvents 1.0 in structured mode: attributes and payload in one JSON object.
 *
 * @throws PostriderError `malformed_event`
 */
export function readStructured(body: Uint8Array): Attributes {
  const members = objectOf(parseJson(body, 'the CloudEvent'))
  if (members === null) throw malformed('the CloudEvent is not a JSON object')
  if (members['specversion'] !== '1.0') throw malformed('specversion of the CloudEvent is not 1.0')
  return {
    ...common(members),
    key: text(members, 'partitionkey'),
    tenant: text(members, 'tenant'),
    time: text(members, 'time'),
    ...payloadOf(members, body),
  }
}

/** The small envelope of Standard Webhooks as Postrider writes it, or null when the body is something else. */
export function readStandard(body: Uint8Array, isEnvelope: (members: Members) => boolean): Attributes | null {
  let members: Members | null
  try {
    members = objectOf(parseJson(body, 'the body'))
  } catch {
    return null // A payload alone; who looks at its data learns that it is not JSON.
  }
  if (members === null || typeof members['type'] !== 'string' || typeof members['timestamp'] !== 'string') return null
  if (!('data' in members || 'data_base64' in members) || !isEnvelope(members)) return null
  return { ...common(members), key: null, tenant: null, time: text(members, 'timestamp'), ...payloadOf(members, body) }
}

function common(members: Members): Pick<Attributes, 'id' | 'type' | 'source' | 'subject' | 'sequence'> {
  return {
    id: text(members, 'id'),
    type: text(members, 'type'),
    source: text(members, 'source'),
    subject: text(members, 'subject'),
    sequence: text(members, 'sequence'),
  }
}

function payloadOf(members: Members, body: Uint8Array): Pick<Attributes, 'contentType' | 'bytes'> {
  const contentType = text(members, 'datacontenttype') ?? 'application/json'
  const base64 = members['data_base64']
  if (base64 !== undefined) {
    if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) throw malformed('data_base64 is not base64')
    return { contentType, bytes: Buffer.from(base64, 'base64') }
  }
  const json = findMember(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString(), 'data')
  return { contentType, bytes: json === undefined ? null : Buffer.from(json) }
}

function text(members: Members, name: string): string | null {
  const value = members[name]
  if (value === undefined || value === null) return null
  if (typeof value !== 'string') throw malformed(`${name} is not a text`)
  return value
}

function objectOf(value: unknown): Members | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : null
}
