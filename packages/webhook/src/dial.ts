import type { buildConnector } from 'undici'
import type { WebhookSettings } from './check-options.ts'
import { guardedConnector } from './connect.ts'
import { closedTo } from './deny.ts'
import { localAddresses } from './hosts.ts'
import { createResolver } from './resolve.ts'
import { hostOf } from './target.ts'

/** How one sink opens connections, with the questions to name servers that this takes. */
export interface Dialler extends Disposable {
  readonly connect: buildConnector.connector
}

export function createDialler({ url, trust, guard, deny, timeouts, tls, dnsServers }: WebhookSettings): Dialler {
  const host = hostOf(url)
  const resolver = createResolver({
    host,
    known: trust === 'internal' ? localAddresses(host) : [],
    servers: dnsServers,
    deadlineMs: timeouts.dnsMs,
  })
  const closed = closedTo(deny, url, timeouts.dnsMs)
  return {
    connect: guardedConnector({ guard, closed, resolver, tls, deadlineMs: timeouts.connectMs }),
    [Symbol.dispose]: () => resolver.close(),
  }
}
