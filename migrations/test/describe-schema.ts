import type { Session } from './emit.ts'

/** All that the catalogue says of a schema, as text without object ids, to be compared. */
export async function describeSchema(session: Session, schema: string): Promise<string[]> {
  const { rows } = await session.query(
    `with relations as (select * from pg_class where relnamespace = $1::regnamespace)
     select 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') as line from pg_namespace where oid = $1::regnamespace
     union all select format('relation %s %s %s %s %s', relname, relkind, reloptions, relacl, pg_get_expr(relpartbound, oid)) from relations
     union all select format('column %s.%s %s %s %s %s %s %s', c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
         a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
       from pg_attribute as a join relations as c on c.oid = a.attrelid left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
       where a.attnum > 0
     union all select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
       where connamespace = $1::regnamespace
     union all select format('index %s', pg_get_indexdef(indexrelid)) from pg_index join relations as c on c.oid = indexrelid
     union all select format('view %s %s', relname, pg_get_viewdef(oid)) from relations where relkind = 'v'
     union all select format('sequence %s %s', seqrelid::regclass, seqcache) from pg_sequence join relations as c on c.oid = seqrelid
     union all select format('function %s %s', pg_get_functiondef(oid), proacl) from pg_proc where pronamespace = $1::regnamespace
     union all select format('comment %s %s %s', objoid::regclass, objsubid, description) from pg_description join relations as c on c.oid = objoid
     union all select format('migration %s', to_jsonb(m) - 'applied_at') from ${schema}.migrations as m
     order by 1`,
    [schema],
  )
  return rows.map(({ line }) => String(line))
}
