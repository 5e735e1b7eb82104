import type { Consent, WebhookEndpoints } from '@postrider/webhook'
import { plain } from '../print.ts'

/** What came of the handshake of CloudEvents. */
export interface Handshake extends Consent {
  readonly ms: number
}

/**
 * Asks an endpoint for its consent to `rate` events in a second, or to as many as there are.
 * @throws PostriderError `invalid_options`: the endpoint cannot be used as it is described, or there is no `requestOrigin`.
 */
export async function askConsent(
  endpoints: WebhookEndpoints,
  name: string,
  settings: Readonly<Record<string, unknown>>,
  rate: number | null,
): Promise<Handshake> {
  const begun = performance.now()
  const consent = await endpoints.askConsent({ name, settings }, rate)
  return { ...consent, ms: Math.round(performance.now() - begun) }
}

/** `consent after 12 ms, to 100 requests a minute`, or why there is none. */
export function wordHandshake({ given, status, perMinute, error, ms }: Handshake): string {
  if (given) return `consent after ${ms} ms${perMinute === null ? '' : `, to ${perMinute} requests a minute`}`
  const why = `${error?.code ?? '?'}: ${plain(error?.message ?? '?')}`
  return status === null ? `no answer after ${ms} ms (${why})` : `no consent after ${ms} ms (${why})`
}
