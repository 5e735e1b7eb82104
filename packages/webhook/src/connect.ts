import { isIP, type BlockList, type LookupFunction } from 'node:net'
import { buildConnector } from 'undici'
import { narrowed, type ClosedAddresses } from './deny.ts'
import type { Guard } from './guard.ts'
import type { HostResolver } from './resolve.ts'
import { Unreachable } from './unreachable.ts'

/** Identity and trust on TLS, in PEM. */
export interface TlsFiles {
  readonly ca?: string | readonly string[]
  readonly cert?: string
  readonly key?: string
}

export interface ConnectOptions {
  readonly guard: Guard
  /** What the guard permits and is out of reach nevertheless; null for nothing. */
  readonly closed?: ClosedAddresses | null
  readonly resolver: HostResolver
  readonly tls: TlsFiles
  /** From the first packet to the end of the TLS handshake, DNS included. */
  readonly deadlineMs: number
}

const blocked = (): Unreachable => new Unreachable('blocked', 'target not allowed')

/**
 * A connector that can only reach what the guard permits. Three doors, because each has a way round it: `lookup` is never
 * called for a literal address, a literal check knows no names, and neither sees what the kernel really connected to.
 * A name is resolved once for a connection, and only addresses that were vetted are dialled, so rebinding gains nothing.
 */
export function guardedConnector({
  guard: permitted,
  closed = null,
  resolver,
  tls,
  deadlineMs,
}: ConnectOptions): buildConnector.connector {
  let closedNow: BlockList | null = null
  const guard = closed === null ? permitted : narrowed(permitted, () => closedNow)
  const connect = buildConnector({
    ...(tls.ca === undefined ? {} : { ca: [tls.ca].flat() }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true, // Said aloud, it also outweighs NODE_TLS_REJECT_UNAUTHORIZED.
    allowH2: false,
    timeout: deadlineMs,
    autoSelectFamily: true,
    lookup: vettedLookup(guard, resolver),
  })
  const dial: buildConnector.connector = (target, callback) => {
    if (isIP(target.hostname) !== 0 && !guard.permits(target.hostname, target.hostname)) {
      queueMicrotask(() => callback(blocked(), null))
      return
    }
    connect(target, (error, socket) => {
      if (error !== null) return callback(explain(error, target.protocol), null)
      const peer = socket.remoteAddress
      if (peer !== undefined && guard.permits(peer, target.hostname)) return callback(null, socket)
      socket.on('error', () => undefined).destroy()
      callback(peer === undefined ? new Unreachable('connect', 'connection closed at once') : blocked(), null)
    })
  }
  if (closed === null) return dial
  return (target, callback) => {
    closed().then(
      (addresses) => {
        closedNow = addresses
        dial(target, callback)
      },
      (error: Error) => callback(error, null),
    )
  }
}

/** A `lookup` for net.connect that answers only with permitted addresses. */
export function vettedLookup(guard: Guard, resolver: HostResolver): LookupFunction {
  return (hostname, options, callback) => {
    resolver.resolve().then(
      (addresses) => {
        const vetted = addresses
          .filter((address) => guard.permits(address, hostname))
          .map((address) => ({ address, family: isIP(address) }))
        const [first] = vetted
        if (first === undefined) callback(blocked(), '')
        else if (options.all) callback(null, vetted)
        else callback(null, first.address, first.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, ''),
    )
  }
}

/** Names what failed without repeating the message: Node puts addresses into it. */
function explain(error: Error & { code?: unknown }, protocol: string): Unreachable {
  if (error instanceof Unreachable) return error
  const code = typeof error.code === 'string' ? error.code : error.name
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return new Unreachable('connect', 'no connection in time', { cause: error })
  // Codes of the system are one word, ECONNREFUSED; those of TLS have underscores, CERT_HAS_EXPIRED, but for EPROTO.
  const ofSystem = /^E[A-Z0-9]+$/.test(code) && code !== 'EPROTO'
  if (protocol === 'https:' && !ofSystem) return new Unreachable('tls', `TLS handshake failed (${code})`, { cause: error })
  return new Unreachable('connect', `no connection (${code})`, { cause: error })
}
