import { PostriderError } from '@postrider/schema'
import { runOn, type QueryHandle } from './query.ts'
import { tableName, type InboxTableOptions } from './table.ts'
import { wholeNumber } from './verify.ts'

export interface PruneOptions extends InboxTableOptions {
  /**
   * What was seen longer ago is forgotten; an event that comes again after that takes effect again. Days, from 1. Longer than
   * the longest way an event can take: the retries of the sink (`patient`: 7 days), a sink that stands still (14 days), the
   * retention of the topic in Kafka, and as far back as operators replay or retry dead letters (kept for 90 days).
   */
  readonly olderThanDays: number
  /** Rows of one statement, 1 to 100,000; default 1,000. */
  readonly batch?: number
  /** Statements of one call at most, 1 to 100,000; default 1,000. */
  readonly maxBatches?: number
}

/**
 * Forgets what was seen long ago, the oldest first, and answers how many. Each batch is a statement that commits on its own
 * when `client` is no transaction. When it answers `batch × maxBatches`, there may be more. Any number may prune at once.
 *
 * @throws PostriderError `invalid_options`
 */
export async function prune(client: QueryHandle, options: PruneOptions): Promise<number> {
  const { olderThanDays, batch = 1_000, maxBatches = 1_000 } = options
  const problems = [...wholeNumber('batch', batch, 1, 100_000), ...wholeNumber('maxBatches', maxBatches, 1, 100_000)]
  if (!(olderThanDays >= 1 && olderThanDays <= 36_500)) {
    problems.push(`olderThanDays: expected a number from 1 to 36500, got ${String(olderThanDays)}`)
  }
  if (problems.length > 0) throw new PostriderError('invalid_options', `prune: ${problems.join('; ')}`, { problems })
  const table = tableName(options)
  const statement = `with old as materialized (
  select consumer, event_id from ${table}
  where seen_at < now() - $1::float8 * interval '1 day'
  order by seen_at limit $2::bigint for update skip locked
), gone as (
  delete from ${table} using old where ${table}.consumer = old.consumer and ${table}.event_id = old.event_id returning 1
)
select count(*)::int as gone from gone`
  let total = 0
  for (let done = 0; done < maxBatches; done++) {
    const rows = await runOn(client, statement, [String(olderThanDays), String(batch)], 'postrider.prune')
    const gone = Number(rows[0]?.['gone'] ?? 0)
    total += gone
    if (gone < batch) break
  }
  return total
}
