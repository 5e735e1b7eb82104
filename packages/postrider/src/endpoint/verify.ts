import { sql, type Transaction } from 'kysely'
import type { Views } from '../views.ts'
import { askConsent, wordHandshake, type Handshake } from './ask-consent.ts'
import type { Family } from './family.ts'
import { ping, wordPing, type Ping } from './ping.ts'

/** What has to succeed before anything is sent to an endpoint. */
export type Verification = 'none' | 'ping' | 'cloudevents'

/** What an endpoint answered when it was verified. */
export interface Verified {
  readonly by: Exclude<Verification, 'none'>
  readonly ok: boolean
  /** `ping: answered 204 after 12 ms`. */
  readonly words: string
  /** Events in a second that it allows; null when it sets no limit. */
  readonly allowedRate: number | null
  /** Members of what `--json` prints. */
  readonly shown: { readonly ping: Ping } | { readonly consent: Handshake }
}

/** An endpoint as its row describes it, or will. */
export interface Verifiable {
  readonly name: string
  readonly settings: Readonly<Record<string, unknown>>
  /** Events in a second that it would get at most; null without a limit. */
  readonly rate: number | null
}

/**
 * Asks an endpoint, over the network, whether it is one; null for `none`, which asks nothing. Whoever calls has been allowed to
 * (see `allowPing`).
 * @throws PostriderError `invalid_options`: the endpoint cannot be used as it is described.
 */
export async function verify(
  { endpoints, talkative }: Pick<Family, 'endpoints' | 'talkative'>,
  by: Verification,
  { name, settings, rate }: Verifiable,
): Promise<Verified | null> {
  switch (by) {
    case 'none':
      return null
    case 'ping': {
      const answered = await ping(talkative, name, settings)
      return { by, ok: answered.ok, words: `ping: ${wordPing(answered)}`, allowedRate: null, shown: { ping: answered } }
    }
    case 'cloudevents': {
      const answered = await askConsent(endpoints, name, settings, rate)
      const allowedRate = answered.perMinute === null ? null : answered.perMinute / 60
      const words = `handshake: ${wordHandshake(answered)}`
      return { by, ok: answered.given, words, allowedRate, shown: { consent: answered } }
    }
  }
}

/** Writes that an endpoint was verified, or need not be (null), with the limit that it set. */
export async function storeVerified(
  trx: Transaction<Views>,
  schema: string,
  name: string,
  verified: Verified | null,
  actor: string,
): Promise<void> {
  const { by, allowedRate } = verified ?? { by: 'none', allowedRate: null }
  await sql`
    select ${sql.ref(`${schema}.verify_endpoint`)}(${name}, ${by}, ${actor}, ${allowedRate}::real)`.execute(trx)
}
