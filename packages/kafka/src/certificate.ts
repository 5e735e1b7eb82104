import { isIP } from 'node:net'
import { connect } from 'node:tls'
import { tlsOptions, type KafkaTls } from './connection.ts'
import type { Address } from './wire.ts'

/** Until when the certificate of a broker is valid, in ms since the epoch; null when it cannot be seen. */
export async function certificateEnd({ host, port }: Address, tls: KafkaTls, deadlineMs: number): Promise<number | null> {
  const { promise, resolve } = Promise.withResolvers<number | null>()
  const socket = connect({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...tlsOptions(tls) }, () => {
    const end = Date.parse(socket.getPeerCertificate().valid_to)
    resolve(Number.isNaN(end) ? null : end)
  })
  socket.on('error', () => resolve(null))
  socket.setTimeout(deadlineMs, () => resolve(null))
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}
