import type { TlsFiles } from './connect.ts'
import type { WebhookFormat } from './encode.ts'

/** Keys that sign. Receivers accept a request when any of its signatures fits. */
export interface WebhookSecrets {
  /**
   * `whsec_` + base64 of 24 to 64 bytes (HMAC-SHA256), or `whsk_` + base64 of an ed25519 key; one of each kind at most.
   * @see generateSecret
   */
  readonly current: string | readonly string[]
  /** Up to three former secrets, newest first, that sign too until receivers know the current one. */
  readonly previous?: readonly { readonly secret: string; readonly until: Date | string }[]
}

/** Deadlines in milliseconds. */
export interface WebhookTimeouts {
  /** For the whole attempt, whatever the destination does. Default 20,000; 1,000 to 60,000. */
  readonly totalMs?: number
  /** For a new connection: name, TCP and TLS. Default 5,000; 100 to 30,000. */
  readonly connectMs?: number
  /** For the answer of the name servers. Default 2,000; 100 to 10,000. */
  readonly dnsMs?: number
  /** From the request to the headers of the answer. Default 15,000; 100 to 60,000. Coarse: up to half a second late. */
  readonly firstByteMs?: number
}

/** A destination for signed POSTs. */
export interface WebhookOptions {
  /** Name of the sink; stands in `postrider.sinks`, logs and metrics. */
  readonly name: string
  /** Where to POST. The path counts as a secret: logs and attempts show the origin and a hash of the rest. */
  readonly url: string
  readonly secrets: WebhookSecrets
  /** Default `standard`. */
  readonly format?: WebhookFormat
  /** Sent with every request. Names that the sink itself sets are refused; up to 32, 4 KiB each, 16 KiB together. */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * `external` (default): https to public addresses only. `internal`: only what `allow` lists, http too.
   * Metadata services, link-local, multicast and broadcast addresses are out of reach for both.
   */
  readonly trust?: 'external' | 'internal'
  /** For `internal`: networks (`10.0.0.0/8`), addresses, and hosts whose every address is trusted. No search domains. */
  readonly allow?: readonly string[]
  /**
   * Out of reach whatever `trust` and `allow` say, as `host`, `host:port` or an address: your own public address, so that no
   * event comes back as an event, and services that are nobody's receiver. A name alone counts as a name; an address and
   * `host:port` also where another name leads there. Up to 64.
   */
  readonly deny?: readonly string[]
  /** For `external`: ports that the URL may name. Default `[443]`. */
  readonly ports?: readonly number[]
  readonly timeouts?: WebhookTimeouts
  /** Connections at most, one request on each. Not below the relay's slots for this sink. Default 64; 1 to 256. */
  readonly connections?: number
  /** PEM: `ca` instead of the public authorities, `cert` and `key` for a server that asks who we are. */
  readonly tls?: TlsFiles
  /** Of which answers up to 2 KiB of body are kept in `attempts`. Default `failures`. */
  readonly capture?: 'none' | 'failures' | 'all'
  /** Further statuses, 400 to 599, after which an event is dead at once. 408, 410, 425, 429 and 503 have their own rule. */
  readonly permanentStatuses?: readonly number[]
  /**
   * How often what one event has led to may pass through webhooks, as its `tracestate` tells; from then on it is dead, because
   * it goes round in a circle. Default 8; 1 to 64.
   */
  readonly maxHops?: number
  /** Default `Postrider/<version>`. */
  readonly userAgent?: string
  /**
   * DNS name that this sender calls itself, for all its relays: `webhook-request-origin` of every request (CloudEvents, HTTP
   * 1.1 Web Hooks, section 4.1.2). Among many endpoints only those get it that consented to it. Default none.
   */
  readonly requestOrigin?: string
  /** Name servers, as `address` or `address:port`. Default: those of the system. */
  readonly dnsServers?: readonly string[]
}
