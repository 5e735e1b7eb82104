import { isPostriderError } from '@postrider/schema'
import { sql } from 'kysely'
import type { Graduation } from './cutover.ts'
import { readGroupGates, readLogGates, type Gate, type GateOptions } from './gates.ts'
import type { Offsets, Stream } from './stream.ts'

/**
 * How far a consumer has come: `webhook` (nothing else carries its events), `shadow` (a Kafka sink carries them too), `proven`
 * (and was compared, with no difference), `switching` (it is being moved), `kafka` (it reads there).
 */
export type Stage = 'webhook' | 'shadow' | 'proven' | 'switching' | 'kafka'

export interface Step {
  readonly stage: Stage
  readonly sink: string
  /** Null: all. */
  readonly types: readonly string[] | null
  readonly toSink: string | null
  readonly consumer: string | null
  /** Number of the cutover. */
  readonly cutover: string | null
  /** There is no way back any more. */
  readonly finished: boolean
  readonly since: Date | null
  /** Of a cutover that is done: records that the group has not read yet; null when it cannot be told. */
  readonly behind: string | null
  readonly gates: readonly Gate[]
}

interface Row {
  readonly sink: string
  readonly types: string[] | null
  readonly to_sink: string | null
  readonly id: string | null
  readonly state: 'switching' | 'switched' | 'finished' | null
  readonly consumer: string | null
  readonly since: Date | null
  readonly offsets: Offsets | null
}

/**
 * Every sink that may move, by the Kafka sinks that carry the same types, and what has moved.
 * @param streams clusters that can be asked, by the name of their sink
 * @param only a sink, with its endpoints; null: all
 */
export async function readSteps(
  { database, schema }: Pick<Graduation, 'database' | 'schema'>,
  streams: ReadonlyMap<string, Stream>,
  only: string | null = null,
): Promise<readonly Step[]> {
  const table = (name: string): ReturnType<typeof sql.ref> => sql.ref(`${schema}.${name}`)
  const { rows } = await database.transaction((trx) =>
    sql<Row>`
      select c.sink, c.types, c.to_sink, c.id::text as id, c.state, c.consumer, coalesce(c.ended_at, c.switched_at, c.begun_at) as since, c.offsets, c.id as nr
      from ${table('cutovers')} as c 
      where c.until is null and (${only}::text is null or ${only} in (c.sink, split_part(c.sink, '/', 1)))
      union all
      select s.name, s.types, k.name, null, null, null, null, null, null
      from ${table('sinks')} as s
      left join ${table('sinks')} as k on k.kind in ('kafka', 'kafka-shadow') and (
        s.types is null or k.types is null
        or exists (select from unnest(s.types) as a cross join unnest(k.types) as b where ${table('filters_overlap')}(a, b)))
      where not s.fans_out and s.kind not in ('kafka', 'kafka-shadow') and s.state <> 'gone'
        and (${only}::text is null or ${only} in (s.name, s.family))
        -- One of which every filter has moved has nothing left.
        and not coalesce(s.types <@ array(
          select moved.type from ${table('cutovers')} as c cross join unnest(c.types) as moved (type) where c.sink = s.name and c.until is null), false)
      order by sink, nr nulls first, to_sink`.execute(trx),
  )
  const steps: Step[] = []
  for (const row of rows) {
    const { sink, types, to_sink: toSink, consumer, since } = row
    const stream = toSink === null ? undefined : streams.get(toSink)
    const options = { sink, types: types ?? ['**'], toSink: toSink ?? '', consumer, newGroup: true }
    const isOpen = row.state === null || row.state === 'switching'
    const gates = toSink === null || !isOpen ? [] : await readLogGates(options, { database, schema })
    const asked =
      stream === undefined || consumer === null ? { behind: null, gates: [] } : await ask(row, { ...options, consumer }, stream)
    steps.push({
      stage: stageOf(row, gates),
      sink,
      types,
      toSink,
      consumer,
      cutover: row.id,
      finished: row.state === 'finished',
      since,
      behind: asked.behind,
      gates: [...gates, ...asked.gates],
    })
  }
  return steps
}

function stageOf({ state, to_sink: toSink }: Row, gates: readonly Gate[]): Stage {
  if (state !== null) return state === 'switching' ? 'switching' : 'kafka'
  if (toSink === null) return 'webhook'
  return gates.some(({ gate, open }) => gate === 'verified' && open) ? 'proven' : 'shadow'
}

/** What the cluster knows of a group. One that cannot be reached says so as a gate: all else can still be told. */
async function ask(
  { state, offsets }: Row,
  options: GateOptions & { readonly consumer: string },
  stream: Stream,
): Promise<Pick<Step, 'behind' | 'gates'>> {
  try {
    if (state === 'switching') return { behind: null, gates: await readGroupGates(options, { stream }) }
    return { behind: String(await behind(options.consumer, offsets ?? {}, stream)), gates: [] }
  } catch (error) {
    if (!isPostriderError(error)) throw error
    const detail = `the cluster cannot be asked: ${error.message}`
    return { behind: null, gates: [{ gate: 'group', open: false, detail, next: error.next }] }
  }
}

/** Records between what a group has committed and the ends of its partitions. */
async function behind(consumer: string, began: Offsets, stream: Stream): Promise<bigint> {
  const committed = await stream.committed(consumer, Object.keys(began))
  let records = 0n
  for (const topic of Object.keys(began)) {
    for (const [partition, { first, next }] of (await stream.bounds(topic)) ?? []) {
      const reached = BigInt(committed[topic]?.[String(partition)] ?? began[topic]?.[String(partition)] ?? first)
      if (next > reached) records += next - reached
    }
  }
  return records
}
