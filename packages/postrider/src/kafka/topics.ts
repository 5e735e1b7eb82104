import type { LogEvent } from '@postrider/schema'
import { sql } from 'kysely'
import type { Database } from '../connect.ts'
import type { KafkaTarget } from './target.ts'

/** So many of the newest events tell which kinds there are. */
export const looked = 100_000

/** A topic that a sink appends to, or will. */
export interface NeededTopic {
  readonly name: string
  /** Types of the log that go there; empty when only the configuration names it. */
  readonly types: readonly string[]
  /** Events among the newest {@link looked}. */
  readonly events: number
}

/** What the log holds for a sink. */
export interface LogFacts {
  readonly topics: readonly NeededTopic[]
  /** Types of which no legal name of a topic comes. */
  readonly unnamed: readonly string[]
  readonly largestBytes: number | null
  readonly nullKeys: boolean
  /** Of what the sink has still to append. */
  readonly oldest: Date | null
}

interface Kind {
  readonly type: string
  readonly tenant: string | null
  readonly source: string
  readonly events: number
  readonly largest: number | null
  readonly null_keys: boolean
}

/** Reads the newest events that the sink takes, and what is left for it; its name need not be known to the database yet. */
export async function readFacts(database: Database, schema: string, target: KafkaTarget): Promise<LogFacts> {
  const { config, name } = target
  const types = config.types ?? null
  const { kinds, oldest } = await database.transaction(async (trx) => {
    const { rows: kinds } = await sql<Kind>`
      select e.type, e.tenant, e.source, count(*)::int as events,
        max(coalesce(octet_length(e.payload_bytes), octet_length(e.payload::text))) as largest, bool_or(e.key is null) as null_keys
      from (select * from ${sql.ref(`${schema}.events`)} order by position desc limit ${looked}) as e
      where coalesce(e.type ~ ${sql.ref(`${schema}.type_filter`)}(${types}::text[]), true)
      group by e.type, e.tenant, e.source order by count(*) desc limit 10000`.execute(trx)
    const { rows } = await sql<{ oldest: Date | null }>`
      select case
        when exists (select from ${sql.ref(`${schema}.sinks`)} where name = ${name})
          then (select b.oldest_pending_at from ${sql.ref(`${schema}.backlog`)} as b where b.sink = ${name})
        when ${config.startFrom ?? 'beginning'} = 'beginning'
          then (select e.created_at from ${sql.ref(`${schema}.events`)} as e where e.slot >= 0 order by e.position limit 1)
      end as oldest`.execute(trx)
    return { kinds, oldest: rows[0]?.oldest ?? null }
  })
  const topicOf = await topicNames(target)
  const needed = new Map<string, { types: Set<string>; events: number }>()
  const need = (topic: string): { types: Set<string>; events: number } => {
    const found = needed.get(topic) ?? { types: new Set<string>(), events: 0 }
    needed.set(topic, found)
    return found
  }
  for (const type of (types ?? []).map(sampleOf)) {
    const topic = topicOf({ type, tenant: null, source: '' })
    if (topic !== null) need(topic)
  }
  const unnamed = new Set<string>()
  for (const kind of kinds) {
    const topic = topicOf(kind)
    if (topic === null) {
      unnamed.add(kind.type)
      continue
    }
    const found = need(topic)
    found.types.add(kind.type)
    found.events += kind.events
  }
  const sizes = kinds.flatMap(({ largest }) => largest ?? [])
  return {
    topics: [...needed].map(([topic, { types, events }]) => ({ name: topic, types: [...types].toSorted(), events })),
    unnamed: [...unnamed],
    largestBytes: sizes.length === 0 ? null : Math.max(...sizes),
    nullKeys: kinds.some(({ null_keys }) => null_keys),
    oldest,
  }
}

/** The topic of an event by the template of the sink; null when no legal name comes of it. */
export async function topicNames({
  config,
  profile,
}: KafkaTarget): Promise<(event: Pick<LogEvent, 'type' | 'tenant' | 'source'>) => string | null> {
  const { compileTemplate } = await import('@postrider/kafka')
  const { topic = '{type.0}', prefix = profile === 'debezium' ? 'outbox.event' : '' } = config
  const make = compileTemplate(`${prefix === '' ? '' : `${prefix}.`}${topic}`)
  return (event) => make(event as LogEvent)
}

/** A type that a filter takes. What stands for any word is no legal part of a topic, so only names come of it that do not need it. */
function sampleOf(filter: string): string {
  return filter.replaceAll(/\*+/g, '*')
}
