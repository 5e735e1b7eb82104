import { eventOf, malformed, positionOf, replayOf, type ReceivedEvent } from './event.ts'
import { readHeaders, type ReceivedHeaders } from './headers.ts'
import { readStandard, readStructured, type Attributes } from './read-envelope.ts'
import { attemptOf, type SignedRequest } from './verify.ts'

/**
 * The event of a request that was verified, in any format of the webhook sink: `standard`, `cloudevents`,
 * `cloudevents-binary`, `raw`. Its id is `webhook-id`, which the signature covers. So it covers the rest in the first two
 * formats; in the others the rest, but for the payload, stands in headers that are only as safe as the connection.
 *
 * @throws PostriderError `malformed_event`
 */
export function eventFromRequest({ body, headers: source }: SignedRequest): ReceivedEvent {
  const headers = readHeaders(source)
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const id = headers['webhook-id'] ?? ''
  const attributes = attributesOf(headers, bytes, id)
  if (attributes.id !== null && attributes.id !== id) throw malformed('the event has another id than webhook-id')
  const type = attributes.type ?? headers['postrider-event-type']
  if (type === undefined) throw malformed('neither the body nor a header says the type of the event')
  const { source: from, subject, key, tenant, time, sequence, contentType } = attributes
  return eventOf({
    transport: 'webhook',
    id,
    type,
    source: from,
    subject,
    key,
    tenant,
    time,
    contentType,
    bytes: attributes.bytes,
    headers,
    position: positionOf(sequence ?? undefined),
    attempt: attemptOf(headers),
    replay: replayOf(headers),
    record: null,
  })
}

function attributesOf(headers: ReceivedHeaders, body: Uint8Array, id: string): Attributes {
  const contentType = headers['content-type'] ?? 'application/octet-stream'
  const media = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (media === 'application/cloudevents+json') return readStructured(body)
  if (media.startsWith('application/cloudevents')) throw malformed(`${media} is not taken; only one event at a time, as JSON`)
  if (headers['ce-specversion'] !== undefined) return readBinary(headers, contentType, body)
  const standard = media === 'application/json' ? readStandard(body, isEnvelope) : null
  return standard ?? { ...unsaid, contentType, bytes: body.length === 0 ? null : body }

  /** A payload that looks like an envelope is none, unless it has the id of the event; senders but ours leave the id out. */
  function isEnvelope(members: Readonly<Record<string, unknown>>): boolean {
    if (members['id'] === undefined) return headers['postrider-event-type'] === undefined
    return members['id'] === id
  }
}

const unsaid = { id: null, type: null, source: null, subject: null, key: null, tenant: null, time: null, sequence: null }

/** CloudEvents 1.0 in the binary mode of its HTTP binding. */
function readBinary(headers: ReceivedHeaders, contentType: string, body: Uint8Array): Attributes {
  const read = (name: string): string | null => decode(name, headers[`ce-${name}`])
  if (read('specversion') !== '1.0') throw malformed('ce-specversion is not 1.0')
  return {
    id: read('id'),
    type: read('type'),
    source: read('source'),
    subject: read('subject'),
    key: read('partitionkey'),
    tenant: read('tenant'),
    time: read('time'),
    sequence: read('sequence'),
    contentType,
    bytes: body.length === 0 ? null : body,
  }
}

/** Percent-encoding of the HTTP binding, section 3.1.3.2. */
function decode(name: string, value: string | undefined): string | null {
  if (value === undefined) return null
  try {
    return decodeURIComponent(value)
  } catch (cause) {
    throw malformed(`ce-${name} is not percent-encoded UTF-8`, { cause })
  }
}
