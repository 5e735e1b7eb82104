import { randomUUID } from 'node:crypto'
import { generateSecret, readSigningSecret, signWithKey, type SignedContent } from '@postrider/schema/signature'

/** Signs as a sender does, newest secret first. */
export function sign(content: SignedContent, secrets: readonly string[]): string {
  return secrets.map((secret) => signWithKey(readSigningSecret(secret), content)).join(' ')
}

export const secret: string = generateSecret()

export interface Sent {
  readonly id: string
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

/** A request in the format `standard`, signed now. */
export function standardRequest(data: unknown, { id = randomUUID(), by = secret }: { id?: string; by?: string } = {}): Sent {
  const body = `{"id":"${id}","type":"order.placed","timestamp":"2026-01-05T09:30:00.123Z","data":${JSON.stringify(data)},"source":"shop","sequence":"00000000000000000017"}`
  return { id, body, headers: { 'content-type': 'application/json', ...signedHeaders(id, body, by) } }
}

export function signedHeaders(id: string, body: string | Uint8Array, by: string = secret): Record<string, string> {
  const timestamp = Math.floor(Date.now() / 1000)
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': sign({ id, timestamp, body: Buffer.from(body as string) }, [by]),
    'postrider-event-type': 'order.placed',
    'postrider-attempt': '1',
  }
}
