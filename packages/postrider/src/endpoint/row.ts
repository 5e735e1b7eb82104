import { PostriderError } from '@postrider/schema'
import { sql, type Transaction } from 'kysely'
import type { Views } from '../views.ts'
import type { Verification } from './verify.ts'

/** A row of `postrider.endpoints`, with the state of its sink. */
export interface EndpointRow {
  readonly sink: string
  readonly url: string
  readonly secrets: StoredSecrets
  readonly headers: Readonly<Record<string, string>>
  readonly format: string | null
  readonly verification: Verification
  readonly state: 'pending' | 'active' | 'paused' | 'disabled' | 'gone'
  /** Events in a second at most, whoever has said so; null without a limit. */
  readonly rate: number | null
}

/** Secrets as they are stored: sealed, or references. */
export interface StoredSecrets {
  readonly current: readonly string[]
  readonly previous?: readonly { readonly secret: string; readonly until: string }[]
}

type Settings = Pick<EndpointRow, 'url' | 'secrets' | 'headers' | 'format'>

/** @throws PostriderError `not_found`. */
export async function readEndpoint(trx: Transaction<Views>, schema: string, name: string, lock = false): Promise<EndpointRow> {
  const { rows } = await sql<EndpointRow>`
    select e.sink, e.url, e.secrets, e.headers, e.format, e.verification, s.state, nullif(coalesce(s.live_rate, s.rate), 'infinity') as rate
    from ${sql.ref(`${schema}.endpoints`)} as e join ${sql.ref(`${schema}.sinks`)} as s on s.name = e.sink
    where e.sink = ${name} ${lock ? sql`for update of e` : sql``}`.execute(trx)
  const [row] = rows
  if (row === undefined) throw noEndpoint(name)
  return row
}

/** Writes what is named, with who and why. */
export async function changeEndpoint(
  trx: Transaction<Views>,
  schema: string,
  name: string,
  changes: Partial<Settings> & { readonly types?: readonly string[] | null; readonly tenant?: string | null },
  by: { readonly actor: string; readonly reason: string | null },
): Promise<void> {
  const { rows } = await sql<{ changed: boolean }>`
    select ${sql.ref(`${schema}.change_endpoint`)}(${name}, ${JSON.stringify(changes)}::jsonb, ${by.reason}, ${by.actor}) as changed`.execute(
    trx,
  )
  if (rows[0]?.changed !== true) throw noEndpoint(name)
}

export function noEndpoint(name: string): PostriderError {
  return new PostriderError('not_found', `There is no endpoint ${name}. Which there are: postrider endpoints list`)
}
