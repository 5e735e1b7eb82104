import type { TopicDescription } from '@postrider/kafka'
import { sql } from 'kysely'
import { readFacts } from '../kafka/topics.ts'
import type { KafkaTarget } from '../kafka/target.ts'
import type { Database } from '../connect.ts'

/** A longer log is measured by a sample. */
const countedUpTo = 1_000_000
const dayMs = 86_400_000

export interface PlannedTopic {
  readonly name: string
  readonly exists: boolean
  readonly partitions: number | null
  /** Null: for ever, or it may not be asked. */
  readonly retentionMs: number | null
  /** Records whose event is older than the retention are deleted soon after they are appended. */
  readonly losesOldest: boolean
}

export interface Plan {
  readonly toSink: string
  /** The database knows the sink: a relay carries it. */
  readonly running: boolean
  readonly events: number
  readonly bytes: number
  /** False: events and bytes are estimated from a sample. */
  readonly counted: boolean
  readonly oldest: Date | null
  readonly rate: number
  readonly backfillDays: number
  /** Null: the cluster could not be asked; `unreachable` says why. */
  readonly topics: readonly PlannedTopic[] | null
  readonly unreachable: string | null
  /** Sinks whose consumers may move. */
  readonly candidates: readonly string[]
}

/** What it takes to carry the log into a Kafka sink. Changes nothing. */
export async function planGraduation(
  target: KafkaTarget,
  rate: number,
  database: Database,
  schema: string,
  describe: (topic: string) => Promise<TopicDescription | null>,
): Promise<Plan> {
  const types = target.config.types ?? null
  const size = await sizeOf(types, database, schema)
  const { running, candidates } = await database.transaction(async (trx) => {
    const { rows } = await sql<{ running: boolean; candidates: string[] | null }>`
      select exists (select from ${sql.ref(`${schema}.sinks`)} where name = ${target.name}) as running,
        (select array_agg(s.name order by s.name) from ${sql.ref(`${schema}.sinks`)} as s
         where not s.fans_out and s.kind not in ('kafka', 'kafka-shadow') and s.state <> 'gone'
           and (s.types is null or ${types}::text[] is null or exists (
             select from unnest(s.types) as a cross join unnest(${types}::text[]) as b where ${sql.ref(`${schema}.filters_overlap`)}(a, b)))
        ) as candidates`.execute(trx)
    return { running: rows[0]?.running ?? false, candidates: rows[0]?.candidates ?? [] }
  })
  const facts = await readFacts(database, schema, target)
  const oldest = running ? facts.oldest : size.oldest
  let topics: PlannedTopic[] | null = []
  let unreachable: string | null = null
  try {
    for (const { name } of facts.topics) topics.push(planTopic(name, await describe(name), oldest))
  } catch (error) {
    topics = null
    unreachable = error instanceof Error ? error.message : String(error)
  }
  return {
    toSink: target.name,
    running,
    events: size.events,
    bytes: size.bytes,
    counted: size.counted,
    oldest,
    rate,
    backfillDays: size.events / rate / 86_400,
    topics,
    unreachable,
    candidates,
  }
}

function planTopic(name: string, found: TopicDescription | null, oldest: Date | null): PlannedTopic {
  if (found === null) return { name, exists: false, partitions: null, retentionMs: null, losesOldest: false }
  const given = found.configs.get('retention.ms')
  const retentionMs = given === undefined || given === null || Number(given) < 0 ? null : Number(given)
  const byAppend = found.configs.get('message.timestamp.type') === 'LogAppendTime'
  const losesOldest = retentionMs !== null && oldest !== null && !byAppend && Date.now() - oldest.getTime() > retentionMs
  return { name, exists: true, partitions: found.partitions.length, retentionMs, losesOldest }
}

interface Size {
  readonly events: number
  readonly bytes: number
  readonly counted: boolean
  readonly oldest: Date | null
}

async function sizeOf(types: readonly string[] | null, database: Database, schema: string): Promise<Size> {
  return await database.transaction(async (trx) => {
    const { rows } = await sql<{ span: string | null; looked: string; events: string; bytes: number; oldest: Date | null }>`
      select (select max(e.position) - min(e.position) + 1 from ${sql.ref(`${schema}.events`)} as e where e.slot >= 0)::text as span,
        count(*)::text as looked, count(*) filter (where l.wanted)::text as events,
        coalesce(sum(l.bytes) filter (where l.wanted), 0)::float8 as bytes,
        (select e.created_at from ${sql.ref(`${schema}.events`)} as e where e.slot >= 0 order by e.position limit 1) as oldest
      from (
        select coalesce(octet_length(e.payload_bytes), octet_length(e.payload::text), 0) as bytes,
          coalesce(e.type ~ ${sql.ref(`${schema}.type_filter`)}(${types}::text[]), true) as wanted
        from ${sql.ref(`${schema}.events`)} as e order by e.position desc limit ${countedUpTo}
      ) as l`.execute(trx)
    const row = rows[0]
    const [looked, events, span] = [Number(row?.looked ?? 0), Number(row?.events ?? 0), Number(row?.span ?? 0)]
    const counted = looked < countedUpTo
    // Positions of transactions that were rolled back are missing in the log, so this is rather too much than too little.
    const factor = counted || looked === 0 ? 1 : span / looked
    return {
      events: Math.round(events * factor),
      bytes: Math.round((row?.bytes ?? 0) * factor),
      counted,
      oldest: row?.oldest ?? null,
    }
  })
}

/** `3.4 d`. */
export function wordDays(ms: number): string {
  return `${(ms / dayMs).toFixed(1)} d`
}
