import { BlockList, isIP, SocketAddress } from 'node:net'

/** Decides by address, never by name, where a sink may connect. */
export interface Guard {
  /** `host` is the name that led to the address; it matters for `trust: internal` with a host in `allow`. */
  permits(address: string, host: string): boolean
}

type Network = readonly [address: string, bits: number]

/**
 * Nobody's webhook lives here, whatever the configuration says: metadata services of clouds, link-local, "this network",
 * multicast and broadcast. 168.63.129.16 (Azure) looks like a public address and is none.
 */
const neverV4: readonly Network[] = [
  ['0.0.0.0', 8],
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['169.254.0.0', 16],
  ['192.0.0.192', 32],
  ['224.0.0.0', 4],
  ['255.255.255.255', 32],
]
const neverV6: readonly Network[] = [
  ['::', 128],
  ['fd00:ec2::254', 128],
  ['fe80::', 10],
  ['ff00::', 8],
]

/** What the IANA registries of special-purpose addresses set aside, and the networks above. */
const specialV4: readonly Network[] = [
  ...neverV4,
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['240.0.0.0', 4],
]
/** IPv6 is a list of what is allowed, 2000::/3, less these: tunnels and translations hide an IPv4 address. */
const specialV6: readonly Network[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['2620:4f:8000::', 48],
  ['3fff::', 20],
]

const never = blockList([...neverV4, ...neverV6, ...neverV4.flatMap(translated)])
const special = blockList([...specialV4, ...specialV6])
const globalV6 = blockList([['2000::', 3]])

/** For addresses that strangers may give: public unicast only. */
export const externalGuard: Guard = {
  permits(address) {
    const plain = plainAddress(address)
    if (plain === null || isIn(special, plain)) return false
    return isIP(plain) === 4 || isIn(globalV6, plain)
  },
}

/** For addresses that the operator declares: only these networks and hosts, and never {@link never}. */
export function internalGuard(allow: readonly string[]): Guard {
  const networks = new BlockList()
  const hosts = new Set<string>()
  for (const entry of allow) {
    const network = parseNetwork(entry)
    if (network === null) hosts.add(bareHost(entry))
    else addNetwork(networks, network)
  }
  return {
    permits(address, host) {
      const plain = plainAddress(address)
      if (plain === null || isIn(never, plain)) return false
      return hosts.has(bareHost(host)) || isIn(networks, plain)
    },
  }
}

/** `10.0.0.0/8`, `fd12::/48` or a single address; null for anything else. */
export function parseNetwork(text: string): Network | null {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || address.includes('%') || rest.length > 0) return null
  const widest = family === 4 ? 32 : 128
  if (bits === undefined) return [address, widest]
  return /^\d{1,3}$/.test(bits) && Number(bits) <= widest ? [address, Number(bits)] : null
}

/** One spelling of a host name: lower case, without the dot of the root. */
export function bareHost(host: string): string {
  return host.toLowerCase().replace(/\.$/, '')
}

/** IPv4 in IPv6 clothes (`::ffff:a.b.c.d`) as IPv4; null for what is no address or carries a zone. */
export function plainAddress(address: string): string | null {
  const family = isIP(address)
  if (family === 0 || address.includes('%')) return null
  if (family === 4) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  return canonical.startsWith('::ffff:') && canonical.includes('.') ? canonical.slice('::ffff:'.length) : canonical
}

/** The same IPv4 network behind NAT64 (64:ff9b::/96) and 6to4 (2002::/16). */
function translated([address, bits]: Network): readonly Network[] {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number)
  const groups = `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
  return [
    [`64:ff9b::${groups}`, 96 + bits],
    [`2002:${groups}::`, 16 + bits],
  ]
}

function blockList(networks: readonly Network[]): BlockList {
  const list = new BlockList()
  for (const network of networks) addNetwork(list, network)
  return list
}

function addNetwork(list: BlockList, [address, bits]: Network): void {
  list.addSubnet(address, bits, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}

/** Whether a list has this plain address. */
export function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}
