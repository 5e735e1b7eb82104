import { readFileSync } from 'node:fs'
import { sql } from 'kysely'
import type { Graduation } from './cutover.ts'
import { busyKeyShare, cheaper, signsToGraduate, small, thresholds, type SignName, type Threshold } from './thresholds.ts'

export type Verdict = 'stay' | 'prepare' | 'graduate'

/** One figure, and what it says. */
export interface Sign {
  readonly sign: SignName
  /** Null: there is no figure, and `why` says so. */
  readonly value: number | null
  readonly says: Verdict | 'unknown'
  readonly threshold: Threshold
  /** What would help sooner; null while it says stay. */
  readonly cheaper: string | null
  readonly why: string | null
}

export interface Assessment {
  /** First segment of the types; `*` is the whole log. */
  readonly kind: string
  readonly events: number
  /** Of the events that were looked at. */
  readonly share: number
  readonly peakPerSecond: number | null
  readonly consumers: number
  readonly averageBytes: number
  readonly signs: readonly Sign[]
  readonly notes: readonly string[]
  readonly verdict: Verdict
  /** Why it stays, though signs speak against it; else null. */
  readonly countersign: string | null
}

/** The queries, by name; each file says what it measures. */
export const queryNames = ['kinds', 'consumers', 'fan-out', 'throughput', 'writes', 'kept', 'replays'] as const
export type QueryName = (typeof queryNames)[number]

/** A query as it is asked, for this schema. */
export function queryOf(name: QueryName, schema: string): string {
  const text = readFileSync(new URL(`../../sql/assess/${name}.sql`, import.meta.url), 'utf8')
  return text.replaceAll(/\bpostrider\./g, `${schema}.`).trimEnd()
}

interface Kind {
  readonly kind: string
  readonly events: number
  readonly average_bytes: number
  readonly share: number
  readonly busiest_key_share: number | null
}

/**
 * Whether Kafka is warranted, for the whole log and for each kind of event. Reads only the tables of Postrider and the statistics
 * of the database; what has no figure is `unknown`, and counts for nothing.
 * @param capacity events a second that this database was measured to take; null: never measured
 */
export async function assess(
  capacity: number | null,
  graduation: Pick<Graduation, 'database' | 'schema'>,
): Promise<readonly Assessment[]> {
  const ask = async <Row>(name: QueryName): Promise<Row[]> =>
    await graduation.database.transaction(async (trx) => (await sql.raw<Row>(queryOf(name, graduation.schema)).execute(trx)).rows)
  const kinds = await ask<Kind>('kinds')
  const consumers = byKind(await ask<{ kind: string; owners: number; sinks: number }>('consumers'))
  const fanOut = byKind(
    await ask<{ kind: string; deliveries_per_event: number | null; throttled_share: number | null }>('fan-out'),
  )
  const throughput = byKind(await ask<{ kind: string; peak_per_second: number }>('throughput'))
  const [writes] = await ask<{ all_rows: number | null; own_rows: number }>('writes')
  const [kept] = await ask<{ log_bytes: number; database_bytes: number }>('kept')
  const [replays] = await ask<{ replays: number; replayed_events: number; events: number | null }>('replays')

  return kinds.map(({ kind, events, average_bytes: averageBytes, share, busiest_key_share: busiest }): Assessment => {
    const peakPerSecond = throughput.get(kind)?.peak_per_second ?? null
    const owners = consumers.get(kind)?.owners ?? 0
    const deliveries = fanOut.get(kind)
    const isAll = kind === '*'
    const all = writes?.all_rows ?? 0
    const written = replays?.events ?? 0
    const signs = [
      sign('consumers', owners),
      sign('fanOut', deliveries?.deliveries_per_event ?? null, 'the audit trail has no attempts at these'),
      sign(
        'throughput',
        capacity === null || peakPerSecond === null ? null : peakPerSecond / capacity,
        'the capacity of this database is not known: measure it, and say --capacity',
      ),
      sign(
        'writes',
        all === 0 ? null : ((writes?.own_rows ?? 0) / all) * share,
        'the statistics of the database have just begun',
      ),
      sign('kept', (kept?.log_bytes ?? 0) * share),
      // Operations name filters, not kinds.
      ...(isAll
        ? [sign('replays', written === 0 ? null : (replays?.replayed_events ?? 0) / written, 'nothing was written in 30 days')]
        : []),
      sign('slow', deliveries?.throttled_share ?? null, 'the audit trail has no attempts at these'),
    ]
    const countersign =
      peakPerSecond !== null && peakPerSecond < small.peakPerSecond && owners <= small.consumers
        ? `${owners} ${owners === 1 ? 'consumer' : 'consumers'} and fewer than ${small.peakPerSecond} events a second: Kafka would add brokers and nothing else`
        : null
    return {
      kind,
      events,
      share,
      peakPerSecond,
      consumers: owners,
      averageBytes,
      signs,
      notes:
        busiest !== null && busiest > busyKeyShare
          ? [
              `one key has ${Math.round(busiest * 100)} % of the events: it sets the pace of its partition, as it does of its lane`,
            ]
          : [],
      verdict: countersign === null ? verdictOf(signs) : 'stay',
      countersign,
    }
  })
}

export function verdictOf(signs: readonly Pick<Sign, 'says'>[]): Verdict {
  const graduating = signs.filter(({ says }) => says === 'graduate').length
  if (graduating >= signsToGraduate) return 'graduate'
  return graduating > 0 || signs.some(({ says }) => says === 'prepare') ? 'prepare' : 'stay'
}

function sign(name: SignName, value: number | null, why: string = ''): Sign {
  const threshold = thresholds[name]
  const says =
    value === null ? 'unknown' : value >= threshold.graduate ? 'graduate' : value >= threshold.prepare ? 'prepare' : 'stay'
  return {
    sign: name,
    value,
    says,
    threshold,
    cheaper: says === 'prepare' || says === 'graduate' ? cheaper[name] : null,
    why: value === null ? why : null,
  }
}

function byKind<Row extends { readonly kind: string }>(rows: readonly Row[]): ReadonlyMap<string, Row> {
  return new Map(rows.map((row) => [row.kind, row]))
}
