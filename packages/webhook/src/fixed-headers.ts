import type { WebhookSettings } from './check-options.ts'

/** What every request to a destination says, whatever it carries: name, value, name, value, …. */
export function fixedHeaders({ userAgent, requestOrigin, headers }: WebhookSettings): readonly string[] {
  return [
    'user-agent',
    userAgent,
    'accept',
    '*/*',
    'accept-encoding',
    'identity',
    ...(requestOrigin === null ? [] : ['webhook-request-origin', requestOrigin]),
    ...Object.entries(headers).flat(),
  ]
}
