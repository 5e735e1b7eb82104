import { PostriderError } from '@postrider/schema'
import { runOn, type QueryHandle } from './query.ts'

export interface InboxTableOptions {
  /** Schema of the table; default: where the `search_path` of the connection leads. */
  readonly schema?: string
  /** Name of the table; default `postrider_inbox`. */
  readonly table?: string
}

/** A name that needs no quoting, because it is put into statements as it is. */
const namePattern = /^[a-z_][a-z0-9_]{0,47}$/

/**
 * The SQL of the table, for a migration of your own. One table serves all consumers of a database. The primary key is what lets
 * an event in once; the index by time is what makes {@link prune} cheap. A table partitioned by time could not have that key.
 *
 * @throws PostriderError `invalid_options`
 */
export function inboxTable(options: InboxTableOptions = {}): string {
  const table = tableName(options)
  return `create table if not exists ${table} (
  consumer text        not null,
  event_id text        not null,
  seen_at  timestamptz not null default now(),
  primary key (consumer, event_id)
);
create index if not exists ${options.table ?? 'postrider_inbox'}_seen_at on ${table} (seen_at);
`
}

/**
 * Creates the table when it is not there. Many may do it at once.
 *
 * @throws PostriderError `invalid_options`
 */
export async function createInbox(client: QueryHandle, options: InboxTableOptions = {}): Promise<void> {
  // `if not exists` alone is a race that ends in a unique violation of the catalogue.
  const statement = `do $postrider$ begin
perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('postrider.inbox', 0));
${inboxTable(options)}end $postrider$`
  await runOn(client, statement, [], 'postrider.create_inbox')
}

/** @throws PostriderError `invalid_options` */
export function tableName({ schema, table = 'postrider_inbox' }: InboxTableOptions): string {
  for (const name of [schema ?? table, table]) {
    if (namePattern.test(name)) continue
    const problem = `${JSON.stringify(name)} is not a plain lower-case name of at most 48 letters, digits and _`
    throw new PostriderError('invalid_options', problem, { problems: [problem] })
  }
  return schema === undefined ? table : `${schema}.${table}`
}
