import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { checkedName } from './files.ts'
import type { Session } from './migrate.ts'

/** Something of the schema that is not as the migrations make it. */
export interface Drift {
  /** `index events_id`, `column deliveries.parked`, … */
  readonly object: string
  /** How the migrations make it. */
  readonly expected: string
  /** How it is; null when it is missing. */
  readonly found: string | null
}

/**
 * Compares the schema with what the migrations of this release make, on every supported version of PostgreSQL. What is there
 * besides (an index of one's own) is no drift; partitions, whose number an operator chooses, are not compared. Reads the
 * catalogue only. Makes no sense while migrations are pending.
 */
export async function schemaDrift(session: Session, options: { readonly schema?: string } = {}): Promise<Drift[]> {
  const found = new Map(split(await describeSchema(session, options)))
  return expected()
    .filter(([object, definition]) => found.get(object) !== definition)
    .map(([object, definition]) => ({ object, expected: definition, found: found.get(object) ?? null }))
}

/** Whether the migrations make an object, named as in {@link Drift}. */
export function isMade(object: string): boolean {
  return expected().some(([made]) => made === object)
}

function expected(): [object: string, definition: string][] {
  const text = readFileSync(new URL('../schema.txt', import.meta.url), 'utf8')
  return split(text.split('\n').filter((line) => line !== ''))
}

const separator = ' = '

function split(lines: readonly string[]): [object: string, definition: string][] {
  return lines.map((line) => {
    const at = line.indexOf(separator)
    return [line.slice(0, at), line.slice(at + separator.length)]
  })
}

/**
 * What the catalogue says of a schema, a line for each object, sorted: the same on every version of PostgreSQL and under
 * every name of the schema. A body of a function is there as a hash; how a view is written differs between versions, so of
 * views and of functions with an SQL body only their columns and arguments are there.
 */
export async function describeSchema(session: Session, options: { readonly schema?: string } = {}): Promise<string[]> {
  const schema = checkedName(options.schema ?? 'postrider')
  const { rows } = await session.query(description, [schema])
  // As the migrator puts the name in.
  const named = new RegExp(`\\b${schema}\\b(?!-)`, 'g')
  return rows
    .map(({ object, definition, body }) => {
      const text = `${String(object)}${separator}${String(definition)}`.replace(named, 'postrider')
      return typeof body === 'string' && body !== '' ? `${text} ${hash(body.replace(named, 'postrider'))}` : text
    })
    .toSorted()
}

function hash(text: string): string {
  return createHash('sha256').update(text.replaceAll('\r\n', '\n')).digest('hex').slice(0, 12)
}

const description = `
with relations as (
  select c.* from pg_class as c where c.relnamespace = $1::text::regnamespace and not c.relispartition and c.relname <> 'migrations'
)
select format('table %s', relname) as object, case relkind when 'p' then 'partitioned' else 'plain' end as definition, null as body
from relations where relkind in ('r', 'p')
union all
select format('view %s', relname), 'view', null from relations where relkind = 'v'
union all
select format('column %s.%s', c.relname, a.attname),
  concat_ws(' ', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
    case when a.attidentity <> '' then 'identity' end, case when a.attgenerated <> '' then 'generated' end,
    -- Parentheses and casts of expressions differ between versions; what matters is whether there is one.
    case when d.oid is not null and a.attgenerated = '' then 'default' end), null
from pg_attribute as a
join relations as c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'v')
left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped
union all
select format('constraint %s.%s', c.relname, k.conname),
  pg_get_constraintdef(k.oid) || case when k.convalidated then '' else ' (not validated)' end, null
from pg_constraint as k join relations as c on c.oid = k.conrelid where k.contype in ('c', 'p', 'u', 'f')
union all
select format('index %s', i.relname), pg_get_indexdef(x.indexrelid) || case when x.indisvalid then '' else ' (invalid)' end, null
from pg_index as x join relations as c on c.oid = x.indrelid join pg_class as i on i.oid = x.indexrelid
where c.relkind in ('r', 'p')
union all
select format('function %s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
  concat_ws(' ', 'returns', pg_get_function_result(p.oid), p.provolatile, case when p.prosecdef then 'security definer' end),
  -- This one is rewritten when the ring is cut anew.
  case when p.proname <> 'current_slot' then p.prosrc end
from pg_proc as p where p.pronamespace = $1::text::regnamespace`
