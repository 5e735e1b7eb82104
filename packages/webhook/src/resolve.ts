import { Resolver, type RecordWithTtl } from 'node:dns'
import { isIP } from 'node:net'
import { Unreachable } from './unreachable.ts'

/** Finds the addresses of one host. */
export interface HostResolver {
  /** Throws {@link Unreachable} with stage `dns`. Callers at the same time share one question. */
  resolve(): Promise<readonly string[]>
  close(): void
}

export interface ResolverOptions {
  readonly host: string
  /** Addresses known without DNS; when there are any, DNS is not asked. */
  readonly known: readonly string[]
  /** Name servers as `address` or `address:port`; empty: those of the system. */
  readonly servers: readonly string[]
  readonly deadlineMs: number
}

const shortestMs = 5_000
const longestMs = 60_000
const negativeMs = 5_000
/** After the answer of one family, the other has this long: some networks drop AAAA questions (RFC 8305 section 3). */
const secondFamilyMs = 50

/**
 * Asks c-ares, not getaddrinfo: the latter runs on libuv's few threads, where one silent name server holds up every
 * other sink and every file read of the process. A sink has one host and one question in flight, on a channel of its own.
 */
export function createResolver({ host, known, servers, deadlineMs }: ResolverOptions): HostResolver {
  // The first try must leave time for a second server within the deadline.
  const resolver = new Resolver({ timeout: Math.max(50, Math.floor(deadlineMs * 0.6)), tries: 2 })
  if (servers.length > 0) resolver.setServers(servers)
  let answer: Promise<readonly string[]> | null = null
  let validUntil = 0

  return {
    resolve() {
      if (known.length > 0) return Promise.resolve(known)
      if (answer !== null && performance.now() < validUntil) return answer
      validUntil = Infinity // Until it is answered: everybody waits for this question.
      answer = query(resolver, host, deadlineMs).then(
        ({ addresses, ttlMs }) => {
          validUntil = performance.now() + Math.min(longestMs, Math.max(shortestMs, ttlMs))
          return addresses
        },
        (error: unknown) => {
          validUntil = performance.now() + negativeMs
          throw error
        },
      )
      return answer
    },
    close() {
      resolver.cancel()
    },
  }
}

interface Found {
  readonly addresses: readonly string[]
  readonly ttlMs: number
}

/** Both families at once, within the deadline; c-ares' own timers may take more than twice what they are given. */
function query(resolver: Resolver, host: string, deadlineMs: number): Promise<Found> {
  const { promise, resolve, reject } = Promise.withResolvers<Found>()
  const records: RecordWithTtl[] = []
  let code = 'ETIMEOUT'
  let waiting = 2
  let timer = setTimeout(end, deadlineMs)

  function end(): void {
    clearTimeout(timer)
    if (waiting > 0) {
      waiting = 0
      resolver.cancel()
    }
    if (records.length === 0) reject(new Unreachable('dns', `host name not resolved (${code})`))
    else resolve({ addresses: records.map((one) => one.address), ttlMs: Math.min(...records.map((one) => one.ttl)) * 1000 })
  }

  function answered(error: NodeJS.ErrnoException | null, found: readonly RecordWithTtl[] | undefined): void {
    if (waiting === 0) return
    waiting -= 1
    if (error === null) records.push(...(found ?? []).filter((one) => isIP(one.address) !== 0))
    else if (code === 'ETIMEOUT' || error.code !== 'ENODATA') code = error.code ?? code
    if (waiting === 0) return end()
    if (records.length === 0) return
    clearTimeout(timer)
    timer = setTimeout(end, secondFamilyMs)
  }

  resolver.resolve4(host, { ttl: true }, answered)
  resolver.resolve6(host, { ttl: true }, answered)
  return promise
}
