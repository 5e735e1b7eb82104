import type { Simulation } from '@postrider/kafka'
import { sql } from 'kysely'
import type { Database } from '../connect.ts'
import type { KafkaTarget } from './target.ts'
import { topicNames } from './topics.ts'

/** Of a longer time only the newest are looked at. */
export const mostEvents = 500_000

export interface TopicSimulation {
  readonly topic: string
  readonly events: number
  readonly simulations: readonly Simulation[]
}

export interface Simulated {
  readonly topics: readonly TopicSimulation[]
  readonly events: number
  /** False: there were more than {@link mostEvents}. */
  readonly all: boolean
}

interface KeyUse {
  readonly key: string
  readonly records: number
  readonly bytes: number
}

interface Used extends KeyUse {
  readonly type: string
  readonly tenant: string | null
  readonly source: string
}

/** Where the real keys of the log since a time would go with each number of partitions. */
export async function simulateLog(
  database: Database,
  schema: string,
  target: KafkaTarget,
  since: string,
  partitionCounts: readonly number[],
): Promise<Simulated> {
  const { simulate } = await import('@postrider/kafka')
  const types = target.config.types ?? null
  const rows = await database.transaction(async (trx) => {
    const { rows } = await sql<Used>`
      select e.type, e.tenant, e.source, coalesce(e.key, e.id::text) as key, count(*)::int as records,
        coalesce(sum(coalesce(octet_length(e.payload_bytes), octet_length(e.payload::text))), 0)::float8 as bytes
      from (
        select * from ${sql.ref(`${schema}.events`)}
        where position >= ${sql.ref(`${schema}.position_at`)}(${since}::timestamptz) order by position desc limit ${mostEvents}
      ) as e
      where coalesce(e.type ~ ${sql.ref(`${schema}.type_filter`)}(${types}::text[]), true)
      group by 1, 2, 3, 4`.execute(trx)
    return rows
  })
  const topicOf = await topicNames(target)
  const used = new Map<string, Map<string, KeyUse>>()
  for (const row of rows) {
    const topic = topicOf(row)
    if (topic === null) continue
    const keys = used.get(topic) ?? new Map<string, KeyUse>()
    used.set(topic, keys)
    const before = keys.get(row.key)
    keys.set(row.key, { key: row.key, records: row.records + (before?.records ?? 0), bytes: row.bytes + (before?.bytes ?? 0) })
  }
  const topics = [...used].map(([topic, keys]) => ({
    topic,
    events: [...keys.values()].reduce((sum, { records }) => sum + records, 0),
    simulations: simulate(keys.values(), partitionCounts),
  }))
  const events = rows.reduce((sum, { records }) => sum + records, 0)
  return { topics: topics.toSorted((a, b) => b.events - a.events), events, all: events < mostEvents }
}
