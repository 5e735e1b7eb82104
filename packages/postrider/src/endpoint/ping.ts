import { randomUUID } from 'node:crypto'
import type { DeliveryError, SinkFamily } from '@postrider/relay'
import { plain, print, style } from '../print.ts'

/** What came of a ping. */
export interface Ping {
  readonly ok: boolean
  /** Status of the answer; null without one. */
  readonly status: number | null
  readonly ms: number
  readonly error: DeliveryError | null
  readonly sent: { readonly id: string; readonly type: string; readonly payload: string }
  /** Where it went (the path as a hash), and what was kept of the answer. */
  readonly answer: Readonly<Record<string, unknown>>
}

/**
 * Sends a signed event of the type `postrider.ping` to an endpoint, as the relay sends its events; but it stands in no log,
 * is no attempt, and neither opens nor closes a circuit.
 * @throws PostriderError `invalid_options`: the endpoint cannot be used as it is described.
 */
export async function ping(family: SinkFamily, name: string, settings: Readonly<Record<string, unknown>>): Promise<Ping> {
  await using sink = family.open({ name, settings })
  const sent = { id: randomUUID(), type: 'postrider.ping', payload: JSON.stringify({ endpoint: name }) }
  const event = {
    position: '0',
    id: sent.id,
    type: sent.type,
    key: null,
    source: 'postrider',
    subject: name,
    tenant: null,
    time: new Date().toISOString(),
    contentType: 'application/json',
    headers: {},
    payloadText: sent.payload,
    payloadBytes: null,
  }
  const begun = performance.now()
  const outcome = await sink.deliver({ event, number: 1 }, AbortSignal.timeout(sink.deadlineMs))
  return {
    ok: outcome.kind === 'delivered',
    status: outcome.status ?? null,
    ms: Math.round(performance.now() - begun),
    error: 'error' in outcome ? outcome.error : null,
    sent,
    answer: outcome.detail ?? {},
  }
}

/** `answered 503 after 12 ms`, or why there was no answer. */
export function wordPing({ status, ms, error }: Ping): string {
  if (status !== null) return `answered ${status} after ${ms} ms`
  return `no answer after ${ms} ms (${error?.code ?? '?'}: ${plain(error?.message ?? '?')})`
}

/** The whole exchange, for a person. */
export function showPing({ sent, answer, ...rest }: Ping): void {
  const { url, headers, body } = answer as { url?: string; headers?: Record<string, string>; body?: string }
  print(style('dim', 'sent'))
  print(`  POST ${url ?? '?'}`)
  print(`  webhook-id: ${sent.id}`)
  print(`  ${sent.type} ${sent.payload}`)
  print(style('dim', wordPing({ sent, answer, ...rest })))
  for (const [name, value] of Object.entries(headers ?? {})) print(`  ${name}: ${plain(value)}`)
  if (body !== undefined && body !== '') for (const line of body.split('\n')) print(`  ${plain(line)}`)
}
