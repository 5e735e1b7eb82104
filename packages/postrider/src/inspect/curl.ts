import type { LogEvent } from '@postrider/schema'
import { encode, sign } from '@postrider/webhook'
import type { WebhookConfig, WebhookEndpointsConfig } from '../config.ts'
import type { FoundEvent } from './event.ts'

/**
 * The request that a webhook sink sends for an event, for a shell. Its signature is of now, so receivers take it for as
 * long as they take old timestamps (five minutes, mostly). For an endpoint the address is `$URL` and nothing is signed:
 * what is stored about endpoints is sealed.
 */
export function wordCurl(event: FoundEvent, config: WebhookConfig | WebhookEndpointsConfig): string {
  const { body, headers } = encode(asLogged(event), config.format ?? 'standard')
  const timestamp = Math.floor(Date.now() / 1_000)
  const all = [
    ...Object.entries(config.headers ?? {}).flat(),
    ...headers,
    'webhook-id',
    event.id,
    'webhook-timestamp',
    String(timestamp),
    ...(config.secrets === undefined
      ? []
      : ['webhook-signature', sign({ id: event.id, timestamp, body }, [config.secrets.current].flat())]),
    'postrider-attempt',
    '1',
  ]
  const named = all.flatMap((value, index) => (index % 2 === 0 ? [`  -H ${quote(`${value}: ${all[index + 1] ?? ''}`)}`] : []))
  const text = body.toString('utf8')
  // What is no text goes through base64, so that no terminal can damage it.
  const isText = Buffer.from(text, 'utf8').equals(body) && !/[^\P{Cc}\t\n\r]/u.test(text)
  const [before, data] = isText
    ? ['', `  --data-binary ${quote(text)}`]
    : [`printf %s ${body.toString('base64')} | base64 -d | `, '  --data-binary @-']
  const url = config.url === undefined ? '"$URL"' : quote(config.url)
  return [`${before}curl -i -X POST ${url}`, ...named, data].join(' \\\n')
}

/** In single quotes, where a shell leaves everything alone. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function asLogged(event: FoundEvent): LogEvent {
  return {
    position: event.position,
    id: event.id,
    type: event.type,
    key: event.key,
    source: event.source,
    subject: event.subject,
    tenant: event.tenant,
    time: event.time,
    contentType: event.content_type,
    headers: event.headers,
    payloadText: event.payload,
    payloadBytes: event.payload_bytes,
  }
}
