import { isIP } from 'node:net'
import { bareHost, parseNetwork, type Guard } from './guard.ts'

const maxUrlLength = 2048
const hostPattern = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/

/** What is wrong with an entry of `allow`, or null. */
export function allowProblem(entry: string): string | null {
  if (parseNetwork(entry) !== null) return null
  if (isHostName(bareHost(entry))) return null
  return 'is neither a network such as 10.0.0.0/8, nor an address, nor a host name'
}

/** Digits at the end are an address of some odd form, never a host name. */
export function isHostName(host: string): boolean {
  return hostPattern.test(host) && !/(?:^|\.)\d+$/.test(host)
}

/**
 * What is wrong with the address of a sink. The URL is parsed as WHATWG has it, which turns every odd form of a literal
 * (`127.1`, `0x7f.1`, full-width digits) into a plain address before the guard looks at it.
 */
export function targetProblems(text: string, trust: 'external' | 'internal', ports: readonly number[], guard: Guard): string[] {
  if (text.length > maxUrlLength) return [`url: over ${maxUrlLength} characters`]
  if (!URL.canParse(text)) return ['url: not a URL']
  const url = new URL(text)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return ['url: must be https']

  const problems: string[] = []
  if (url.username !== '' || url.password !== '') problems.push('url: no user or password; give a header instead')
  if (text.includes('#')) problems.push('url: no fragment')
  if (trust === 'external') {
    if (url.protocol !== 'https:') problems.push('url: must be https; http needs trust: internal')
    const port = portOf(url)
    if (url.protocol === 'https:' && !ports.includes(port))
      problems.push(`url: port ${port} is not among ports (${ports.join(', ')})`)
  }
  const host = hostOf(url)
  const local = host === 'localhost' || host.endsWith('.localhost')
  if ((trust === 'external' && local) || (isIP(host) !== 0 && !guard.permits(host, host))) {
    problems.push(`url: target not allowed for trust: ${trust}`)
  }
  return problems
}

/** Host name or literal address, without the brackets of IPv6 and the dot of the root. */
export function hostOf(url: URL): string {
  return bareHost(url.hostname.replace(/^\[|\]$/g, ''))
}

/** As written, or that of the scheme. */
export function portOf(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'https:' ? 443 : 80
}
