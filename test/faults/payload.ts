import { createHash } from 'node:crypto'
import { bigNumber } from '../receiver.ts'
import type { Emitted } from './history.ts'

/** Characters that are easily spoilt on a way. */
const delicate = 'Grüße, "Zoë" \\ 🚚 <&> \u2028'

/** What an event says, as it must arrive: byte by byte as PostgreSQL writes it, with a number that JavaScript cannot hold. */
export function payloadOf(event: Pick<Emitted, 'id' | 'key' | 'pad'> & { readonly n: number }): string {
  const { id, key, n, pad } = event
  return `{"n": ${n}, "id": "${id}", "big": ${bigNumber}, "key": ${JSON.stringify(key ?? 'none')}, "text": ${JSON.stringify(textOf(pad))}}`
}

export function textOf(pad: number): string {
  return delicate + 'x'.repeat(pad)
}

export function digest(bytes: string): string {
  return createHash('sha256').update(bytes).digest('base64')
}

/** The payload in a body of the format `standard`: its text as it stands there. */
export function payloadIn(body: string): string {
  const from = body.indexOf('"data":') + 7
  return body.slice(from, body.lastIndexOf(',"source":'))
}
