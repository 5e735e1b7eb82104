import type { IncomingHttpHeaders } from 'node:http'

/** Where a delivery stands in the stream, as far as the format of the sink tells. */
export interface Place {
  readonly key: string | null
  /** Digits, padded so that the order of texts is the order of numbers. */
  readonly sequence: string | null
}

/** From the envelope (`sequence`, `partitionkey`) or from the headers of the binary mode of CloudEvents. */
export function placeOf(headers: IncomingHttpHeaders, body: Buffer): Place {
  const envelope = parse(headers, body)
  return {
    key: textOf(envelope['partitionkey']) ?? decoded(headers['ce-partitionkey']),
    sequence: textOf(envelope['sequence']) ?? textOf(headers['ce-sequence']),
  }
}

function parse(headers: IncomingHttpHeaders, body: Buffer): Readonly<Record<string, unknown>> {
  if (!/^application\/(?:[\w.-]+\+)?json\b/i.test(headers['content-type'] ?? '')) return {}
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {} // Not our business: whether it is taken is for the signature to say.
  }
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

function decoded(value: string | string[] | undefined): string | null {
  if (typeof value !== 'string') return null
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
