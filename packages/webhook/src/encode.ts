import { PostriderError, typePattern, type LogEvent } from '@postrider/schema'
import { messageIdPattern } from '@postrider/schema/signature'
import { attributes, binaryHeaders, sequence } from './cloudevents.ts'
import { traceHeaders } from './trace.ts'

/**
 * How an event is written.
 * - `standard`: a small JSON envelope, see {@link encode}.
 * - `cloudevents`: CloudEvents 1.0, structured mode.
 * - `cloudevents-binary`: the payload alone, the attributes as `ce-` headers.
 * - `raw`: the payload alone.
 */
export type WebhookFormat = 'standard' | 'cloudevents' | 'cloudevents-binary' | 'raw'

export interface Encoded {
  readonly body: Buffer
  /** Name, value, name, value, …: content type, event type, trace context and attributes. */
  readonly headers: readonly string[]
}

/** Texts of a pattern, of which there are few and which come with every event: what was accepted is remembered. */
class Accepted {
  readonly #pattern: RegExp
  readonly #known = new Set<string>()

  constructor(pattern: RegExp) {
    this.#pattern = pattern
  }

  accepts(text: string): boolean {
    if (this.#known.has(text)) return true
    if (!this.#pattern.test(text)) return false
    if (this.#known.size < 1_000) this.#known.add(text)
    return true
  }
}

const types = new Accepted(typePattern)
const mediaTypes = new Accepted(/^[\x21-\x7e][\x20-\x7e]{0,254}$/)

/**
 * The same event gives the same bytes on every attempt. The payload's text is spliced in, never parsed, so numbers above
 * 2^53 survive. `standard` has, in this order: `id`, `type`, `timestamp`, `data` (or `data_base64` and `datacontenttype`
 * for bytes), `source`, `subject`, `sequence`. Headers of the producer are not sent, but for trace context: what
 * a receiver shall see belongs into the payload.
 * Throws `cannot_encode`.
 */
export function encode(event: LogEvent, format: WebhookFormat): Encoded {
  // A dot in the id would let two messages share one signature.
  if (!messageIdPattern.test(event.id)) throw cannotEncode(event, 'id', 'is not 1 to 64 letters, digits, _ or -')
  if (!types.accepts(event.type)) throw cannotEncode(event, 'type', 'is not words joined by dots')
  if (!mediaTypes.accepts(event.contentType)) throw cannotEncode(event, 'contentType', 'cannot be a header')
  if (format.startsWith('cloudevents') && event.source === '')
    throw cannotEncode(event, 'source', 'is empty; CloudEvents needs one')

  const common = ['postrider-event-type', event.type, ...traceHeaders(event.headers)]
  switch (format) {
    case 'standard':
      return { body: Buffer.from(standardText(event)), headers: ['content-type', 'application/json', ...common] }
    case 'cloudevents':
      return {
        body: Buffer.from(structuredText(event)),
        headers: ['content-type', 'application/cloudevents+json; charset=utf-8', ...common],
      }
    case 'cloudevents-binary':
      return { body: payloadBytes(event), headers: ['content-type', event.contentType, ...common, ...binaryHeaders(event)] }
    case 'raw':
      return { body: payloadBytes(event), headers: ['content-type', event.contentType, ...common] }
  }
}

function standardText(event: LogEvent): string {
  const { id, type, time, source, subject } = event
  // What their patterns accept needs no escape; nor does a time.
  let text = `{"id":"${id}","type":"${type}","timestamp":"${time}",${standardData(event)}`
  if (source !== '') text += `,"source":${JSON.stringify(source)}`
  if (subject !== null) text += `,"subject":${JSON.stringify(subject)}`
  return `${text},"sequence":"${sequence(event)}"}`
}

function standardData({ payloadText, payloadBytes, contentType }: LogEvent): string {
  if (payloadBytes === null) return `"data":${payloadText ?? 'null'}`
  return `"data_base64":"${base64(payloadBytes)}","datacontenttype":${JSON.stringify(contentType)}`
}

function structuredText(event: LogEvent): string {
  const { payloadText, payloadBytes, contentType } = event
  const members = attributes(event).map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
  if (payloadBytes !== null)
    members.push(`"datacontenttype":${JSON.stringify(contentType)}`, `"data_base64":"${base64(payloadBytes)}"`)
  else if (payloadText !== null) members.push(`"datacontenttype":${JSON.stringify(contentType)}`, `"data":${payloadText}`)
  return `{${members.join(',')}}`
}

function payloadBytes({ payloadText, payloadBytes }: LogEvent): Buffer {
  if (payloadBytes === null) return Buffer.from(payloadText ?? '')
  return asBuffer(payloadBytes)
}

function base64(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('base64')
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function cannotEncode(event: LogEvent, path: string, problem: string): PostriderError {
  return new PostriderError('cannot_encode', `${path} ${problem}`, { id: event.id, type: event.type, path })
}
