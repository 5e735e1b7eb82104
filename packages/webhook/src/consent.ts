import type { DeliveryError } from '@postrider/relay'
import type { WebhookSettings } from './check-options.ts'
import { classifyFailure } from './classify.ts'
import type { Ended } from './exchange.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { createPoster } from './post.ts'

/** What a destination says when it is asked whether it wants events from this sender. */
export interface Consent {
  readonly given: boolean
  /** Of the answer; null without one. */
  readonly status: number | null
  /** Requests in a minute that it allows; null when it sets no limit, or does not consent. */
  readonly perMinute: number | null
  /** Why there is no consent: `no_consent` with what is wrong about the answer, or what kept the answer away. */
  readonly error: DeliveryError | null
}

/** Beyond this a rate is no limit to anybody; and every number up to here is exact. */
const highestRate = Number.MAX_SAFE_INTEGER

/**
 * Asks a destination for its consent, by OPTIONS: the handshake of CloudEvents, HTTP 1.1 Web Hooks for Event Delivery,
 * section 4. It goes the way of every POST, guarded, within the total deadline, and to no redirect. Never throws.
 * @param rate events in a second that are to be asked for; null asks for none
 */
export async function askConsent(settings: WebhookSettings, rate: number | null, signal: AbortSignal): Promise<Consent> {
  await using poster = createPoster(settings)
  // The protocol has whole numbers above zero, by the minute.
  const wanted = rate === null ? [] : ['webhook-request-rate', String(Math.max(1, Math.round(rate * 60)))]
  const headers = [...fixedHeaders(settings), ...wanted]
  return judge(await poster.post({ method: 'OPTIONS', headers, body: Buffer.alloc(0) }, signal), settings.requestOrigin)
}

/** Only the name of the sender is consent: a server that knows nothing of all this may answer OPTIONS with 200 too. */
function judge(ended: Ended, origin: string | null): Consent {
  if (!ended.answered) return { given: false, status: null, perMinute: null, error: classifyFailure(ended.error).error }
  const { status, headers } = ended
  const refuse = (why: string): Consent => ({
    given: false,
    status,
    perMinute: null,
    error: { code: 'no_consent', message: why },
  })
  if (status >= 300 && status <= 399) return refuse(`answered ${status}; redirects are not followed`)
  if (status < 200 || status > 299) return refuse(`answered ${status}`)

  const allowed = headers['webhook-allowed-origin']
  if (allowed === undefined) return refuse('WebHook-Allowed-Origin is missing')
  if (!allows(allowed, origin)) return refuse(`WebHook-Allowed-Origin is neither * nor ${origin}`)
  const perMinute = rateOf(headers['webhook-allowed-rate'])
  if (perMinute === 'unreadable') return refuse('WebHook-Allowed-Rate is neither * nor a whole number above 0')
  return { given: true, status, perMinute, error: null }
}

/** Names of DNS are the same in either case. Twice in one answer it says nothing that could be relied on. */
function allows(allowed: string | readonly string[], origin: string | null): boolean {
  if (typeof allowed !== 'string') return false
  const name = allowed.trim()
  return name === '*' || name.toLowerCase() === origin?.toLowerCase()
}

/** A limit that cannot be read could not be kept either, so it is not taken for none. */
function rateOf(allowed: string | readonly string[] | undefined): number | null | 'unreadable' {
  if (allowed === undefined) return null
  if (typeof allowed !== 'string') return 'unreadable'
  const text = allowed.trim()
  if (text === '*') return null
  return /^0*[1-9]\d*$/.test(text) ? Math.min(highestRate, Number(text)) : 'unreadable'
}
