import { PostriderError } from '@postrider/schema'

/** Identity and trust on TLS, in PEM. */
export interface KafkaTls {
  /** Instead of the public authorities. */
  readonly ca?: string | readonly string[]
  readonly cert?: string
  readonly key?: string
  /**
   * Takes any certificate, so that anybody in between can read and change everything. For an experiment on one machine only.
   * Default false.
   */
  readonly dangerouslyAcceptAnyCertificate?: boolean
}

export interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly username: string
  /** The password, or what gives it: asked anew for each connection, so that it can be rotated. */
  readonly password: string | (() => string | Promise<string>)
}

/** How a client reaches the cluster: checked, with every default filled in. */
export interface ConnectionSettings {
  readonly clientId: string
  readonly tls: KafkaTls | null
  /** Not enumerable parts: see {@link hidePassword}. */
  readonly sasl: HiddenSasl | null
  readonly connectMs: number
}

export interface HiddenSasl {
  readonly mechanism: KafkaSasl['mechanism']
  readonly username: string
  readonly password: () => Promise<string>
}

/** Keeps a password in a closure, where neither a log nor an inspection finds it. */
export function hidePassword({ mechanism, username, password }: KafkaSasl): HiddenSasl {
  return {
    mechanism,
    username,
    password: async () => {
      const value = typeof password === 'string' ? password : await password()
      if (typeof value === 'string' && value !== '') return value
      throw new PostriderError('authentication', 'sasl.password gave no password')
    },
  }
}

/** Options of `node:tls`. Said aloud, `rejectUnauthorized` also outweighs NODE_TLS_REJECT_UNAUTHORIZED. */
export function tlsOptions(tls: KafkaTls): {
  ca?: string[]
  cert?: string
  key?: string
  minVersion: 'TLSv1.2'
  rejectUnauthorized: boolean
} {
  return {
    ...(tls.ca === undefined ? {} : { ca: [tls.ca].flat() }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: tls.dangerouslyAcceptAnyCertificate !== true,
  }
}
