import { randomUUID } from 'node:crypto'
import type { LogEvent } from '@postrider/schema'
import { keyOf, payloadOf } from './payload.ts'

/** The event of a number as a sink would be given it, for those who send the same bytes without a log. */
export function madeEvent(n: number, bytes: number, keys: number): LogEvent & { readonly key: string } {
  return {
    position: String(n),
    id: randomUUID(),
    type: 'bench.made',
    key: keyOf(n, keys),
    source: 'postgresql/bench_1',
    subject: null,
    tenant: null,
    // A broker throws old records away, by their own time.
    time: new Date().toISOString(),
    contentType: 'application/json',
    headers: {},
    payloadText: JSON.stringify(payloadOf(n, bytes)),
    payloadBytes: null,
  }
}
