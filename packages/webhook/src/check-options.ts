import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { createSecureContext } from 'node:tls'
import { isPostriderError, PostriderError } from '@postrider/schema'
import { readSigningSecret, type SigningKey } from '@postrider/schema/signature'
import type { TlsFiles } from './connect.ts'
import { isNamed, parseDenied, type DeniedPlace } from './deny.ts'
import type { WebhookFormat } from './encode.ts'
import { externalGuard, internalGuard, type Guard } from './guard.ts'
import type { WebhookOptions, WebhookSecrets, WebhookTimeouts } from './options.ts'
import type { OldKey } from './sign.ts'
import { headerProblems } from './static-headers.ts'
import { allowProblem, isHostName, targetProblems } from './target.ts'

/** {@link WebhookOptions} checked, with every default filled in. */
export interface WebhookSettings {
  readonly name: string
  readonly url: URL
  readonly current: readonly SigningKey[]
  readonly previous: readonly OldKey[]
  readonly format: WebhookFormat
  readonly headers: Readonly<Record<string, string>>
  readonly trust: 'external' | 'internal'
  readonly guard: Guard
  readonly deny: readonly DeniedPlace[]
  readonly timeouts: Required<WebhookTimeouts>
  readonly connections: number
  readonly tls: TlsFiles
  readonly capture: 'none' | 'failures' | 'all'
  readonly permanentStatuses: ReadonlySet<number>
  readonly maxHops: number
  readonly userAgent: string
  /** Null: it is not said. */
  readonly requestOrigin: string | null
  readonly dnsServers: readonly string[]
}

const known: Readonly<Record<keyof WebhookOptions, true>> = {
  name: true,
  url: true,
  secrets: true,
  format: true,
  headers: true,
  trust: true,
  allow: true,
  deny: true,
  ports: true,
  timeouts: true,
  connections: true,
  tls: true,
  capture: true,
  permanentStatuses: true,
  maxHops: true,
  userAgent: true,
  requestOrigin: true,
  dnsServers: true,
}
/** Of a sink, or of an endpoint of one: `hooks/acme`. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(?:\/[A-Za-z0-9][A-Za-z0-9_.-]{0,62})?$/
const formats: readonly string[] = ['standard', 'cloudevents', 'cloudevents-binary', 'raw'] satisfies WebhookFormat[]
const ownRule: ReadonlySet<number> = new Set([408, 410, 425, 429, 503])
const mostDenied = 64
const timeoutRanges = {
  totalMs: [20_000, 1_000, 60_000],
  connectMs: [5_000, 100, 30_000],
  dnsMs: [2_000, 100, 10_000],
  firstByteMs: [15_000, 100, 60_000],
} as const satisfies Record<keyof WebhookTimeouts, readonly [standard: number, least: number, most: number]>
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** Checks options at the door. Throws `invalid_options` with all problems together; none of them repeats a secret. */
export function checkOptions(options: WebhookOptions): WebhookSettings {
  const problems: string[] = []
  for (const key of Object.keys(options)) if (!Object.hasOwn(known, key)) problems.push(`${key}: unknown option`)
  if (typeof options.name !== 'string' || !namePattern.test(options.name)) {
    problems.push('name: 1 to 63 letters, digits, _ . or -')
  }
  const format = oneOf(options.format ?? 'standard', formats, 'format', problems)
  const capture = oneOf(options.capture ?? 'failures', ['none', 'failures', 'all'], 'capture', problems)
  const headers = options.headers ?? {}
  problems.push(...headerProblems(headers))
  const userAgent = options.userAgent ?? `Postrider/${version}`
  if (!/^[\x21-\x7e][\x20-\x7e]{0,255}$/.test(userAgent)) problems.push('userAgent: visible ASCII, at most 256 characters')
  const requestOrigin = options.requestOrigin ?? null
  if (requestOrigin !== null && !isDnsName(requestOrigin)) problems.push('requestOrigin: a DNS name such as events.shop.example')

  const { trust, guard, deny } = checkTarget(options, problems)
  const { current, previous } = checkSecrets(options.secrets, problems)
  const timeouts = checkTimeouts(options.timeouts ?? {}, problems)
  const connections = integer(options.connections ?? 64, 1, 256, 'connections', problems)
  const tls = checkTls(options.tls ?? {}, problems)

  const permanentStatuses = options.permanentStatuses ?? []
  for (const status of permanentStatuses) {
    integer(status, 400, 599, 'permanentStatuses', problems)
    if (ownRule.has(status)) problems.push(`permanentStatuses: ${status} has its own rule`)
  }
  const maxHops = integer(options.maxHops ?? 8, 1, 64, 'maxHops', problems)
  const dnsServers = options.dnsServers ?? []
  for (const server of dnsServers) if (!isServer(server)) problems.push(`dnsServers: ${server} is not an address or address:port`)

  if (problems.length > 0) {
    const list = problems.map((problem) => `- ${problem}`).join('\n')
    throw new PostriderError('invalid_options', `The webhook sink ${options.name} cannot start:\n${list}`, { problems })
  }
  return Object.freeze({
    name: options.name,
    url: new URL(options.url),
    current,
    previous,
    format,
    headers,
    trust,
    guard,
    deny,
    timeouts,
    connections,
    tls,
    capture,
    permanentStatuses: new Set(permanentStatuses),
    maxHops,
    userAgent,
    requestOrigin,
    dnsServers,
  })
}

function checkTarget(options: WebhookOptions, problems: string[]): Pick<WebhookSettings, 'trust' | 'guard' | 'deny'> {
  const trust = oneOf(options.trust ?? 'external', ['external', 'internal'], 'trust', problems)
  const { allow = [], ports = [443] } = options
  for (const port of ports) integer(port, 1, 65_535, 'ports', problems)
  if (trust === 'external' && allow.length > 0) problems.push('allow: is for trust: internal')
  if (trust === 'internal' && options.ports !== undefined) problems.push('ports: is for trust: external')
  if (trust === 'internal' && allow.length === 0) problems.push('allow: trust: internal needs the networks or hosts it may reach')
  for (const entry of allow) {
    const problem = allowProblem(entry)
    if (problem !== null) problems.push(`allow: ${entry} ${problem}`)
  }
  const guard = trust === 'external' ? externalGuard : internalGuard(allow)
  const deny = checkDeny(options.deny ?? [], problems)
  const found = typeof options.url === 'string' ? targetProblems(options.url, trust, ports, guard) : ['url: not a URL']
  problems.push(...found)
  if (found.length === 0 && isNamed(deny, new URL(options.url))) problems.push('url: target not allowed (deny)')
  return { trust, guard, deny }
}

function checkDeny(entries: readonly string[], problems: string[]): readonly DeniedPlace[] {
  if (entries.length > mostDenied) problems.push(`deny: at most ${mostDenied}, not ${entries.length}`)
  return entries.flatMap((entry) => {
    const place = typeof entry === 'string' ? parseDenied(entry) : null
    if (place === null) problems.push(`deny: ${entry} is neither host, host:port nor an address`)
    return place ?? []
  })
}

function checkSecrets(secrets: WebhookSecrets | undefined, problems: string[]): Pick<WebhookSettings, 'current' | 'previous'> {
  const current: SigningKey[] = []
  for (const text of [secrets?.current ?? []].flat()) {
    const key = readSecret(text, 'secrets.current', problems)
    if (key === null) continue
    if (current.some((other) => other.version === key.version))
      problems.push('secrets.current: one of each kind at most; put the older into previous')
    current.push(key)
  }
  if ([secrets?.current ?? []].flat().length === 0)
    problems.push('secrets.current: every request is signed, so a secret is needed')

  const previous: OldKey[] = []
  for (const { secret, until } of secrets?.previous ?? []) {
    const key = readSecret(secret, 'secrets.previous', problems)
    const untilMs = until instanceof Date ? until.getTime() : isoTime(until)
    if (Number.isNaN(untilMs)) problems.push('secrets.previous: until is a Date or an ISO 8601 time with its zone')
    if (key !== null) previous.push({ key, untilMs })
  }
  if ((secrets?.previous?.length ?? 0) > 3) problems.push('secrets.previous: at most 3')
  return { current, previous }
}

function readSecret(text: string, path: string, problems: string[]): SigningKey | null {
  try {
    return readSigningSecret(text)
  } catch (error) {
    problems.push(`${path}: ${isPostriderError(error) ? error.message : 'cannot be read'}`)
    return null
  }
}

/** Without a zone the moment would depend on where the relay runs. */
function isoTime(text: string): number {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : NaN
}

function checkTimeouts(timeouts: WebhookTimeouts, problems: string[]): Required<WebhookTimeouts> {
  for (const key of Object.keys(timeouts))
    if (!Object.hasOwn(timeoutRanges, key)) problems.push(`timeouts.${key}: unknown option`)
  const read = (key: keyof WebhookTimeouts): number => {
    const [standard, least, most] = timeoutRanges[key]
    return integer(timeouts[key] ?? standard, least, most, `timeouts.${key}`, problems)
  }
  return { totalMs: read('totalMs'), connectMs: read('connectMs'), dnsMs: read('dnsMs'), firstByteMs: read('firstByteMs') }
}

function checkTls(tls: TlsFiles, problems: string[]): TlsFiles {
  if ((tls.cert === undefined) !== (tls.key === undefined)) problems.push('tls: cert and key belong together')
  for (const part of ['ca', 'cert', 'key'] as const) {
    const pem = tls[part]
    if (pem === undefined) continue
    try {
      createSecureContext({ [part]: typeof pem === 'string' ? pem : [...pem] })
    } catch {
      problems.push(`tls.${part}: is not PEM that can be read`)
    }
  }
  return tls
}

function isDnsName(text: unknown): boolean {
  return typeof text === 'string' && isHostName(text.toLowerCase())
}

function isServer(text: string): boolean {
  if (isIP(text) !== 0) return true
  const [, host = '', port = ''] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text) ?? []
  return isIP(host) !== 0 && Number(port) <= 65_535
}

function integer(value: number, least: number, most: number, path: string, problems: string[]): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    problems.push(`${path}: a whole number from ${least} to ${most}, not ${String(value)}`)
  }
  return value
}

function oneOf<T extends string>(value: T, choices: readonly string[], path: string, problems: string[]): T {
  if (!choices.includes(value)) problems.push(`${path}: one of ${choices.join(', ')}, not ${value}`)
  return value
}
