import { generateSecret, type WebhookOptions } from '@postrider/webhook'
import { startChild } from './calls.ts'
import type { ReceiverVerbs } from './receiver-child.ts'

export interface Receiver extends AsyncDisposable {
  readonly url: string
  /** Options of a sink that posts here: signed, and guarded, with this machine on its list. */
  hook(name: string, connections: number): WebhookOptions
  /** Forgets what was taken; from now the time of each event below this number is remembered, or with 0 of none. */
  forget(receiptsTo: number): Promise<void>
  report(): Promise<{ readonly taken: number; readonly cpuMs: number }>
  receipts(from: number, to: number): Promise<Float64Array>
}

/** Starts a receiver in a process of its own that answers 204 to everything. */
export async function startReceiver(): Promise<Receiver> {
  const child = await startChild<ReceiverVerbs>(new URL('receiver-child.ts', import.meta.url))
  const url = `http://127.0.0.1:${await child.call('listen', null)}/hooks`
  const secret = generateSecret()
  return {
    url,
    hook: (name, connections) => ({
      name,
      url,
      secrets: { current: secret },
      trust: 'internal',
      allow: ['127.0.0.0/8'],
      connections,
    }),
    forget: (receiptsTo) => child.call('forget', { receiptsTo }),
    report: () => child.call('report', null),
    receipts: (from, to) => child.call('receipts', { from, to }),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  }
}
