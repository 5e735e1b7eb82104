import type { LogEvent } from '@postrider/schema'
import { traceContext } from './trace.ts'

/** Context attributes of CloudEvents 1.0 with the extensions `partitionkey`, `sequence`, `tenant` and trace context. */
export function attributes(event: LogEvent): readonly (readonly [name: string, value: string])[] {
  const list: (readonly [string, string])[] = [
    ['specversion', '1.0'],
    ['id', event.id],
    ['source', event.source],
    ['type', event.type],
    ['time', event.time],
  ]
  if (event.subject !== null) list.push(['subject', event.subject])
  if (event.key !== null) list.push(['partitionkey', event.key])
  list.push(['sequence', sequence(event)])
  if (event.tenant !== null) list.push(['tenant', event.tenant])
  return [...list, ...traceContext(event.headers)]
}

/** Zero-padded to 20 digits, so that the order of strings is the order of numbers. */
export function sequence(event: LogEvent): string {
  return event.position.padStart(20, '0')
}

/** `ce-` headers of the binary mode. */
export function binaryHeaders(event: LogEvent): string[] {
  return attributes(event).flatMap(([name, value]) => [`ce-${name}`, encodeHeaderValue(value)])
}

/**
 * Percent-encoding of the HTTP binding (section 3.1.3.2): space, `"`, `%`, and everything outside U+0021 to U+007E, as
 * UTF-8 in upper-case hex. Iterating by code point keeps surrogate pairs together.
 */
export function encodeHeaderValue(value: string): string {
  return value.replace(/[^\x21\x23\x24\x26-\x7e]/gu, (character) =>
    Buffer.from(character).reduce((text, byte) => `${text}%${byte.toString(16).toUpperCase().padStart(2, '0')}`, ''),
  )
}
