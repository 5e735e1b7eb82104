import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { bareHost, type Guard, isIn, plainAddress } from './guard.ts'
import { isHostName, portOf, hostOf } from './target.ts'
import { Unreachable } from './unreachable.ts'

/** A place that a sink may not reach, whatever `trust` and `allow` say. */
export interface DeniedPlace {
  readonly host: string
  /** Null: every port. */
  readonly port: number | null
}

/** `host`, `host:port`, an address, `[address]:port`; null for anything else. */
export function parseDenied(text: string): DeniedPlace | null {
  if (isIP(text) !== 0) return { host: text, port: null }
  const [, bracketed, name, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const port = digits === undefined ? null : Number(digits)
  if (port !== null && (port < 1 || port > 65_535)) return null
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { host: bracketed, port } : null
  if (name === undefined || (isIP(name) === 0 && !isHostName(bareHost(name)))) return null
  return { host: bareHost(name), port }
}

/** Whether a URL names such a place. By name: what else leads there is seen when it is dialled, see {@link closedTo}. */
export function isNamed(denied: readonly DeniedPlace[], url: URL): boolean {
  const host = hostOf(url)
  return denied.some((place) => place.host === host && (place.port === null || place.port === portOf(url)))
}

/**
 * The same by address. A name without a port is left out: public names share their addresses with strangers (a content
 * delivery network, a load balancer), and a stranger's name at our address fails on TLS. With a port it is a service, such
 * as the database of the relay, and nobody shall get there by another name.
 *
 * @returns null when nothing can stand in the way at the port of this URL
 */
export function closedTo(denied: readonly DeniedPlace[], url: URL, deadlineMs: number): ClosedAddresses | null {
  const here = denied.filter(({ host, port }) => (port === null ? isIP(host) !== 0 : port === portOf(url)))
  return here.length === 0 ? null : () => addressesOf(here, deadlineMs)
}

/** Asks anew each time, because a service moves. Throws {@link Unreachable}: who does not know where it is lets nobody by. */
export type ClosedAddresses = () => Promise<BlockList>

/** The guard, less these addresses. */
export function narrowed(guard: Guard, closed: () => BlockList | null): Guard {
  return {
    permits(address, host) {
      const list = closed()
      const plain = plainAddress(address)
      return guard.permits(address, host) && plain !== null && (list === null || !isIn(list, plain))
    },
  }
}

async function addressesOf(places: readonly DeniedPlace[], deadlineMs: number): Promise<BlockList> {
  const list = new BlockList()
  for (const { host } of places) {
    const addresses = isIP(host) === 0 ? await resolve(host, deadlineMs) : [host]
    for (const address of addresses) {
      const plain = plainAddress(address)
      if (plain === null) continue
      if (isThisMachine(plain)) addThisMachine(list)
      else list.addAddress(plain, familyOf(plain))
    }
  }
  return list
}

/** As the client of the database asks, with search domains and the hosts file; what is denied is the operator's own. */
async function resolve(host: string, deadlineMs: number): Promise<readonly string[]> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error('ETIMEOUT')), deadlineMs)
  try {
    const found = await Promise.race([lookup(host, { all: true }), late.promise])
    return found.map(({ address }) => address)
  } catch (error) {
    throw new Unreachable('dns', 'the name of a denied place is not resolved', { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

function isThisMachine(address: string): boolean {
  return address === '::1' || address === '::' || address === '0.0.0.0' || address.startsWith('127.')
}

/** What listens on one of its addresses may listen on all. */
function addThisMachine(list: BlockList): void {
  list.addSubnet('127.0.0.0', 8, 'ipv4')
  list.addAddress('::1', 'ipv6')
  for (const { address } of Object.values(networkInterfaces()).flatMap((one) => one ?? [])) {
    const plain = plainAddress(address.split('%')[0] ?? '')
    if (plain !== null) list.addAddress(plain, familyOf(plain))
  }
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}
