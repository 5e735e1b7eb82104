import { readFileSync, statSync } from 'node:fs'
import type { Endpoint, SinkFamily } from '@postrider/relay'
import { isPostriderError, PostriderError } from '@postrider/schema'
import { checkOptions } from './check-options.ts'
import { askConsent, type Consent } from './consent.ts'
import type { WebhookFormat } from './encode.ts'
import type { WebhookOptions, WebhookSecrets } from './options.ts'
import { createSealer, isSealed, type Sealer } from './seal.ts'
import { generateSecret } from '@postrider/schema/signature'
import { createWebhookSink } from './webhook.ts'

/** What all endpoints of a sink have in common; format and headers are defaults, which an endpoint may replace. */
export interface WebhookEndpointsOptions extends Omit<WebhookOptions, 'url' | 'secrets'> {
  /** Opens what is sealed in `postrider.endpoints`: base64 of 32 bytes. Without it only references can be used. */
  readonly secretKey?: string
  /** Former keys, until nothing is left that they have sealed. */
  readonly previousKeys?: readonly string[]
}

/** The endpoints of one sink, and how to ask one whether it wants to be one. */
export interface WebhookEndpoints extends SinkFamily {
  /**
   * Asks for the consent of an endpoint, as its row describes it, by the handshake of CloudEvents (OPTIONS); whatever its
   * destination does, there is an answer within the total deadline.
   * @param rate events in a second that are asked for; null for no rate
   * @throws PostriderError `invalid_options`: this endpoint cannot be used, or `requestOrigin` is missing.
   */
  askConsent(endpoint: Endpoint, rate: number | null, signal?: AbortSignal): Promise<Consent>
}

/** A row of `postrider.endpoints`, as far as it is needed here. */
interface Row {
  readonly url: string
  readonly secrets: {
    readonly current: readonly string[]
    readonly previous?: readonly { readonly secret: string; readonly until: string }[]
  }
  readonly headers: Readonly<Record<string, string>>
  readonly format: WebhookFormat | null
  /** What has let it in. */
  readonly verification: string
}

/**
 * Endpoints that send a signed POST, each like a sink of its own (see {@link createWebhookSink}): its connections and its
 * questions to name servers are shared with nobody, so what one of them does cannot slow another.
 * @throws PostriderError `invalid_options` with all problems of what they have in common.
 */
export function createWebhookEndpoints(options: WebhookEndpointsOptions): WebhookEndpoints {
  const { secretKey: _secretKey, previousKeys: _previousKeys, ...common } = options
  const sealer = sealerOf(options)
  // There is no address yet, so nothing is said about this one.
  const problems = problemsOf({ ...common, url: 'https://example.com/', secrets: { current: generateSecret() } }).filter(
    (problem) => !problem.startsWith('url:'),
  )
  if (problems.length > 0) throw refuse(`The endpoints of ${options.name} cannot be opened`, problems)
  return {
    name: options.name,
    kind: 'webhook',
    open: (endpoint) => createWebhookSink(optionsOf(endpoint, common, sealer)),
    async askConsent({ name, settings }, rate, signal = new AbortController().signal) {
      const asked = { name, settings: { ...settings, verification: 'cloudevents' } }
      return await askConsent(checkOptions(optionsOf(asked, common, sealer)), rate, signal)
    },
    // Whoever opens an endpoint closes it.
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

/** The sealer of these options; null without a key. */
export function sealerOf({
  secretKey,
  previousKeys = [],
}: Pick<WebhookEndpointsOptions, 'secretKey' | 'previousKeys'>): Sealer | null {
  if (secretKey !== undefined) return createSealer({ current: secretKey, previous: previousKeys })
  if (previousKeys.length > 0) throw refuse('The endpoints cannot be opened', ['previousKeys: is nothing without secretKey'])
  return null
}

/** An endpoint as a sink of its own, with all that is sealed opened. */
function optionsOf(
  { name, settings }: Endpoint,
  { requestOrigin, ...common }: Omit<WebhookOptions, 'url' | 'secrets'>,
  sealer: Sealer | null,
): WebhookOptions {
  const problems: string[] = []
  const row = rowOf(settings, problems)
  const read = (text: string, path: string): string => {
    try {
      return isSealed(text) ? opened(text, name, sealer) : text
    } catch (error) {
      problems.push(`${path}: ${isPostriderError(error) ? error.message : 'cannot be opened'}`)
      return ''
    }
  }
  const secret = (text: string, path: string): string => {
    try {
      return followed(text) ?? read(text, path)
    } catch (error) {
      problems.push(`${path}: ${error instanceof Error ? error.message : String(error)}`)
      return ''
    }
  }
  const headers = Object.entries(row.headers).map(([key, value]) => [key, read(value, `headers.${key}`)] as const)
  const secrets: WebhookSecrets = {
    current: row.secrets.current.map((text) => secret(text, 'secrets.current')),
    previous: (row.secrets.previous ?? []).map((former) => ({
      secret: secret(former.secret, 'secrets.previous'),
      until: former.until,
    })),
  }
  const hasConsented = row.verification === 'cloudevents'
  if (hasConsented && requestOrigin === undefined) {
    problems.push(
      'requestOrigin: is missing; set it for the sink, such as events.shop.example: verification by cloudevents says who sends',
    )
  }
  if (problems.length > 0) throw refuse(`The endpoint ${name} cannot be used`, problems)
  return {
    ...common,
    name,
    url: row.url,
    secrets,
    headers: {
      ...without(
        common.headers ?? {},
        headers.map(([key]) => key),
      ),
      ...Object.fromEntries(headers),
    },
    ...(row.format === null ? {} : { format: row.format }),
    ...(hasConsented && requestOrigin !== undefined ? { requestOrigin } : {}),
  }
}

function problemsOf(options: WebhookOptions): readonly string[] {
  try {
    checkOptions(options)
    return []
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return error.details.problems ?? [error.message]
  }
}

/** The database has checked the form already; this is for rows that come from elsewhere. */
function rowOf(settings: Endpoint['settings'], problems: string[]): Row {
  const { url, secrets, headers, format, verification = 'none' } = settings
  const { current, previous } = objectOf(secrets)
  const isFormer = (one: unknown): boolean => ['secret', 'until'].every((key) => typeof objectOf(one)[key] === 'string')
  if (typeof url !== 'string') problems.push('url: expected a text')
  if (!isList(current, isText)) problems.push('secrets.current: expected a list of texts')
  if (!isList(previous ?? [], isFormer)) problems.push('secrets.previous: expected a list of { secret, until }')
  if (!Object.values(objectOf(headers)).every(isText)) problems.push('headers: expected texts')
  if (format !== null && format !== undefined && typeof format !== 'string') problems.push('format: expected a text')
  if (typeof verification !== 'string') problems.push('verification: expected a text')
  if (problems.length > 0) return { url: '', secrets: { current: [] }, headers: {}, format: null, verification: 'none' }
  return { url, secrets, headers: objectOf(headers), format: format ?? null, verification } as Row
}

function opened(text: string, place: string, sealer: Sealer | null): string {
  if (sealer !== null) return sealer.open(text, place)
  throw refuse('a sealed text cannot be opened', ['there is no secretKey'])
}

/** Of a file with a secret. */
const mostFileBytes = 4_096

/** What a reference leads to; null for a text that is none. Only secrets may be references: whoever can write a header of an endpoint could have any file sent to himself. */
function followed(text: string): string | null {
  const [, kind, name = ''] = /^(env|file):(.*)$/s.exec(text) ?? []
  if (kind === undefined) return null
  if (kind === 'env') {
    // Of its own: process.env has the members of every object too, such as `constructor`.
    const value = Object.hasOwn(process.env, name) ? (process.env[name] ?? '') : ''
    if (value === '') throw new Error(`the environment variable ${name} is not set`)
    return value
  }
  try {
    // The row of an endpoint names it: a device or a pipe would hold the relay for ever.
    const file = statSync(name)
    if (!file.isFile() || file.size > mostFileBytes) throw new Error('not a small file')
    return readFileSync(name, 'utf8').trim()
  } catch (error) {
    throw new Error(
      `the file ${name} cannot be read (${error instanceof Error && 'code' in error ? String(error.code) : `it is no file of at most ${mostFileBytes} bytes`})`,
      { cause: error },
    )
  }
}

function without(headers: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
  const gone = new Set(names.map((name) => name.toLowerCase()))
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !gone.has(name.toLowerCase())))
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isList(value: unknown, fits: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(fits)
}

function refuse(what: string, problems: readonly string[]): PostriderError {
  return new PostriderError('invalid_options', `${what}:\n${problems.map((problem) => `- ${problem}`).join('\n')}`, { problems })
}
