import { WireError, type WireTrouble } from './wire.ts'

const refused: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'EADDRNOTAVAIL'])
const names: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME'])
const tlsPattern = /^(?:ERR_(?:SSL|TLS)_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|EPROTO$|HOSTNAME_MISMATCH$)/

const words: Readonly<Record<WireTrouble, string>> = {
  refused: 'no connection to the broker',
  closed: 'the connection broke before an answer',
  silent: 'no answer from the broker',
  dns: 'the name of the broker could not be resolved',
  tls: 'the TLS handshake with the broker failed',
  authentication: 'the broker refused the credentials',
  unsupported: 'the broker does not speak a version of this request that the client speaks',
  aborted: 'interrupted',
  client: 'the client failed',
}

/** An error of a connection, by the code that the system gave it; the text of clients is not passed on. */
export function connectionError(error: unknown, sent: boolean): WireError {
  const code = systemCode(error)
  const trouble = troubleOf(code, sent)
  return new WireError(trouble, `${words[trouble]}${code === null ? '' : ` (${code})`}`, sent, { cause: error })
}

export function wireError(trouble: WireTrouble, sent: boolean, cause?: unknown): WireError {
  return new WireError(trouble, words[trouble], sent, { cause })
}

function troubleOf(code: string | null, sent: boolean): WireTrouble {
  if (code === null) return sent ? 'closed' : 'refused'
  if (names.has(code)) return 'dns'
  if (tlsPattern.test(code)) return 'tls'
  if (code === 'ETIMEDOUT') return 'silent'
  return refused.has(code) ? 'refused' : 'closed'
}

/** The first code of the system among an error and its causes. */
function systemCode(error: unknown): string | null {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code } = at as Error & { readonly code?: unknown }
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code) && !code.startsWith('PLT_')) return code
    if (at instanceof AggregateError && at.errors.length > 0) {
      const inner = systemCode(at.errors[0])
      if (inner !== null) return inner
    }
  }
  return null
}
