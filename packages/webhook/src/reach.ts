import { TLSSocket } from 'node:tls'
import type { Reach } from '@postrider/relay'
import type { WebhookSettings } from './check-options.ts'
import { classifyFailure } from './classify.ts'
import { createDialler } from './dial.ts'
import { Cut } from './exchange.ts'

/** Opens a connection as for a request (name, permitted address, TLS and its certificate), and closes it. Nothing is sent. */
export async function reach(settings: WebhookSettings, signal: AbortSignal): Promise<Reach> {
  using dialler = createDialler(settings)
  const { url } = settings
  const { promise, resolve } = Promise.withResolvers<Reach>()
  const end = (): void => resolve(failed(new Cut('interrupted')))
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  else {
    const hostname = url.hostname.replace(/^\[|\]$/g, '')
    dialler.connect({ hostname, host: url.host, protocol: url.protocol, port: url.port }, (error, socket) => {
      if (error !== null) return resolve(failed(error))
      resolve({ reached: true, certificateEnds: socket instanceof TLSSocket ? endOf(socket) : null })
      socket.on('error', () => undefined).destroy()
    })
  }
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', end)
  }
}

function failed(error: Error): Reach {
  return { reached: false, error: classifyFailure(error).error }
}

function endOf(socket: TLSSocket): Date | null {
  const end = new Date(socket.getPeerCertificate().valid_to)
  return Number.isNaN(end.getTime()) ? null : end
}
