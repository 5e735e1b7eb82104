import { isMade, migrationPlan, migrationStatus, schemaDrift } from '@postrider/migrations'
import { isPostriderError } from '@postrider/schema'
import { fail, ok, warn, wordList, type Check, type Patient } from './check.ts'

/** A session as the migrations take it. */
function sessionOf({ ask }: Patient): Parameters<typeof migrationStatus>[0] {
  return { query: async (text, values) => ({ rows: await ask<Record<string, unknown>>(text, values) }) }
}

export const migrations: Check = {
  name: 'migrations',
  needsSchema: false,
  async look(patient) {
    const { schema, ask } = patient
    const session = sessionOf(patient)
    const known = await migrationStatus(session, { schema })
    const pending = known.filter(({ appliedAt }) => appliedAt === null).map(({ name }) => name)
    if (pending.length > 0) return fail(`not applied yet: ${wordList(pending)}`, 'postrider migrate up')
    try {
      await migrationPlan(session, { schema })
    } catch (error) {
      if (!isPostriderError(error) || error.code !== 'schema_changed') throw error
      return fail(error.message, error.next)
    }
    const names = new Set(known.map(({ name }) => name))
    const newer = (await ask<{ name: string }>('select name from postrider.migrations order by name')).filter(
      ({ name }) => !names.has(name),
    )
    if (newer.length > 0) {
      return warn(
        `the database is newer than this program: ${wordList(newer.map(({ name }) => name))}`,
        'Bring this program up to date.',
      )
    }
    return ok(`all ${known.length} are applied`)
  },
}

export const drift: Check = {
  name: 'schema',
  needsSchema: true,
  async look(patient) {
    const { schema } = patient
    const found = await schemaDrift(sessionOf(patient), { schema })
    if (found.length === 0) return ok('tables, columns, indexes, checks, views and functions are as the migrations make them')
    const missing = found.filter((one) => one.found === null).map(({ object }) => object)
    const changed = found.filter((one) => one.found !== null).map(({ object }) => object)
    const index = found.find(({ object, found: there }) => object.startsWith('index ') && there === null)
    return fail(
      [
        ...(missing.length > 0 ? [`missing: ${wordList(missing)}`] : []),
        ...(changed.length > 0 ? [`changed: ${wordList(changed)}`] : []),
      ].join('; '),
      index === undefined
        ? 'Bring it back as it was: postrider migrate plan --sql --offline prints how.'
        : `${index.expected.replaceAll(/\bpostrider\b/g, schema)};`,
    )
  },
}

export const partitions: Check = {
  name: 'partitions',
  needsSchema: true,
  async look({ ask, schema }) {
    const missing = await ask<{ name: string }>(
      `select name from postrider.ring as r
       cross join lateral (
         select parent || '_' || slot as name from unnest(array['events', 'attempts']) as parent
         cross join (select nr::text as slot from generate_series(0, r.slots - 1) as nr union all select 'kept') as slots
       ) as wanted
       where not exists (
         select from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
         where c.relname = wanted.name and i.inhparent in ('postrider.events'::regclass, 'postrider.attempts'::regclass))
       order by name`,
    )
    if (missing.length === 0) return ok('every segment of the ring has its partitions')
    const [name = ''] = missing.map((one) => one.name)
    const [, parent = '', slot = ''] = /^(.*)_(\w+)$/.exec(name) ?? []
    return fail(
      `missing: ${wordList(missing.map((one) => one.name))}; when its turn comes, events cannot be written`,
      `create table ${schema}.${name} partition of ${schema}.${parent} for values in (${slot === 'kept' ? -1 : slot});`,
    )
  },
}

export const indexes: Check = {
  name: 'indexes',
  needsSchema: true,
  async look({ ask, schema, thresholds }) {
    const found = await ask<{ name: string; root: string; valid: boolean; mb: number }>(
      `select i.relname as name, coalesce(parent.relname, i.relname) as root, x.indisvalid as valid,
         round(pg_relation_size(x.indexrelid) / 1e6)::int as mb
       from pg_index as x
       join pg_class as i on i.oid = x.indexrelid
       join pg_class as c on c.oid = x.indrelid
       left join pg_inherits as part on part.inhrelid = x.indexrelid
       left join pg_class as parent on parent.oid = part.inhparent
       where c.relnamespace = (select relnamespace from pg_class where oid = 'postrider.events'::regclass)
         and (not x.indisvalid or (
           not x.indisunique and c.relkind = 'r' and pg_relation_size(x.indexrelid) > $1
           and (select coalesce(s.idx_scan, 0) = 0 from pg_stat_user_indexes as s where s.indexrelid = x.indexrelid)))
       order by 4 desc, 1`,
      [thresholds.unusedIndexBytes],
    )
    const invalid = found.filter(({ valid }) => !valid)
    if (invalid.length > 0) {
      return fail(
        `not valid: ${wordList(invalid.map(({ name }) => name))}`,
        `reindex index concurrently ${schema}.${invalid[0]?.name};`,
      )
    }
    // Ours are used when they are needed.
    const unused = found.filter(({ root }) => !isMade(`index ${root}`))
    if (unused.length === 0) return ok('all are valid, and none is of no use')
    return warn(
      `never used since statistics began: ${wordList(unused.map(({ name, mb }) => `${name} (${mb} MB)`))}`,
      `Every insert pays for it: drop index concurrently ${schema}.${unused[0]?.name};`,
    )
  },
}
