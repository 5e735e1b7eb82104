import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testDatabase, type TestDatabase } from '@postrider/test/postgres'
import { migrate } from '../src/index.ts'
import { type Client, emit } from './emit.ts'
import { definers, functions, relations } from './grants.ts'

const roles = ['writer', 'relay', 'viewer'] as const
const letters = { SELECT: 'r', INSERT: 'a', UPDATE: 'w', DELETE: 'd', TRUNCATE: 'D', REFERENCES: 'x', TRIGGER: 't', USAGE: 'U' }
const canary = 'canary-3b9f60'

interface Relation {
  readonly name: string
  readonly kind: string
  readonly partition: boolean
}

interface Routine {
  readonly signature: string
  readonly call: string
  readonly definer: boolean
  readonly config: readonly string[] | null
}

let db: TestDatabase
let owner: Client
let client: Client
let found: readonly Relation[]
let routines: readonly Routine[]

beforeAll(async () => {
  db = await testDatabase()
  owner = await db.client()
  await migrate(owner, { roles: true })
  client = await db.client()
  await owner.query(`
    select postrider.put_sink('hooks', 'webhook', 1::smallint, null, 'key', 'block', 'all', 'now', 8, null, true);
    select postrider.add_endpoint('hooks', 'acme', 'https://hooks.test/${canary}-path?t=${canary}-token',
      '{"current": ["env:${canary.replaceAll('-', '_')}_SECRET"]}', headers => '{"authorization": "${canary}-header"}');
    create schema business; create table business.orders (id int); create table public.customers (name text)`)
  await emit(owner, [{ type: 'a', key: 'k' }])
  found = (
    await owner.query<Relation>(
      `select relname as name, relkind::text as kind, relispartition as partition from pg_class
       where relnamespace = 'postrider'::regnamespace and relkind not in ('i', 'I', 'c', 't') order by 1`,
    )
  ).rows
  routines = (
    await owner.query<Routine>(
      `select replace(p.oid::regprocedure::text, 'postrider.', '') as signature, p.prosecdef as definer, p.proconfig as config,
         -- Arguments that the planner does not know, or it would put NULL in the place of a strict function and ask for no right.
         case p.prokind when 'p' then format('call postrider.%I(%s)', p.proname, nulls) else
           format('select postrider.%I(%s) from (select %s offset 0) as x', p.proname, names, coalesce(named, '1')) end as call
       from pg_proc as p cross join lateral (
         select string_agg(format('null::%s', format_type(t, null)), ', ' order by n) as nulls, string_agg(format('x.a%s', n), ', ' order by n) as names,
           string_agg(format('null::%s as a%s', format_type(t, null), n), ', ' order by n) as named
         from unnest(p.proargtypes) with ordinality as a (t, n)) as given
       where p.pronamespace = 'postrider'::regnamespace order by 1`,
    )
  ).rows
})
afterAll(() => db[Symbol.asyncDispose]())

/** What a role may do with each table, view and sequence, as letters. */
async function mayOf(role: string): Promise<Readonly<Record<string, string>>> {
  const { rows } = await owner.query<{ name: string; may: string }>(
    `select c.relname as name, coalesce(string_agg(case
         when c.relkind = 'S' then case when has_sequence_privilege($1, c.oid, p.name) then $2::jsonb ->> p.name end
         when has_table_privilege($1, c.oid, p.name) or has_any_column_privilege($1, c.oid, p.name) then $2::jsonb ->> p.name end, '' order by p.nth), '') as may
     from pg_class as c
     cross join unnest(case when c.relkind = 'S' then '{SELECT,USAGE,UPDATE}' else '{SELECT,INSERT,UPDATE,REFERENCES}' end::text[]) with ordinality as p (name, nth)
     where c.relnamespace = 'postrider'::regnamespace and c.relkind not in ('i', 'I', 'c', 't')
     group by 1`,
    [role, JSON.stringify(letters)],
  )
  const { rows: more } = await owner.query<{ name: string; may: string }>(
    `select c.relname as name, coalesce(string_agg(case when has_table_privilege($1, c.oid, p.name) then $2::jsonb ->> p.name end, '' order by p.nth), '') as may
     from pg_class as c cross join unnest('{DELETE,TRUNCATE,TRIGGER}'::text[]) with ordinality as p (name, nth)
     where c.relnamespace = 'postrider'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
     group by 1`,
    [role, JSON.stringify(letters)],
  )
  const rest = new Map(more.map(({ name, may }) => [name, may]))
  return Object.fromEntries(rows.map(({ name, may }) => [name, may + (rest.get(name) ?? '')]))
}

const kindsOfColumns = { r: 'table', p: 'table', v: 'view', S: 'sequence' }

describe('every object of the schema has a line of its own', () => {
  test('tables, views and sequences, and no other kind', () => {
    expect([...new Set(found.map(({ kind }) => kind))].filter((kind) => !(kind in kindsOfColumns))).toEqual([])
    const whole = found.filter(({ partition }) => !partition).map(({ name }) => name)
    expect(whole.toSorted()).toEqual(Object.keys(relations).toSorted())
  })

  test('functions', () => {
    expect(routines.map(({ signature }) => signature).toSorted()).toEqual(Object.keys(functions).toSorted())
  })
})

describe.each(roles)('the role of a %s', (role) => {
  test('may do with tables, views and sequences what its line says', async () => {
    const may = await mayOf(`postrider_${role}`)
    const expected = found.map(({ name, partition }) => {
      const line = partition ? { relay: 'r', viewer: 'r' } : relations[name]
      return [name, role === 'writer' ? '' : line?.[role]]
    })
    expect(may).toEqual(Object.fromEntries(expected))
  })

  test('may call what its line says', async () => {
    const { rows } = await owner.query<{ signature: string }>(
      `select replace(oid::regprocedure::text, 'postrider.', '') as signature from pg_proc
       where pronamespace = 'postrider'::regnamespace and has_function_privilege($1, oid, 'EXECUTE')`,
      [`postrider_${role}`],
    )
    const expected = Object.entries(functions).flatMap(([signature, who]) => (who.split(' ').includes(role) ? [signature] : []))
    expect(rows.map(({ signature }) => signature).toSorted()).toEqual(expected.toSorted())
  })

  test('may do nothing outside: no business table, no role, no file, no other schema', async () => {
    const { rows } = await owner.query(
      `select c.oid::regclass::text as name from pg_class as c
       where c.relnamespace not in ('postrider'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace)
         and c.relkind in ('r', 'p', 'v', 'S') and has_table_privilege($1, c.oid, 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE')
       union all
       select nspname from pg_namespace where has_schema_privilege($1, oid, 'CREATE') and nspname !~ '^pg_(toast_)?temp' and nspname <> 'public'
       union all
       select nspname from pg_namespace where nspname = 'business' and has_schema_privilege($1, oid, 'USAGE')`,
      [`postrider_${role}`],
    )
    expect(rows).toEqual([])
    const { rows: attributes } = await owner.query(
      `select rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
         (select count(*)::int from pg_auth_members as m where m.member = r.oid) as member_of
       from pg_roles as r where rolname = $1`,
      [`postrider_${role}`],
    )
    const not = { rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolcanlogin: false, rolreplication: false }
    expect(attributes).toEqual([{ ...not, rolbypassrls: false, member_of: 0 }])
  })
})

/** What a statement of a role comes to: the SQLSTATE, or `done`; and nothing stays. */
async function attempt(role: string, statement: string): Promise<string> {
  await client.query('begin')
  try {
    await client.query(`set local role ${role}; set local statement_timeout = '5s'`)
    await client.query(statement)
    return 'done'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  } finally {
    await client.query('rollback')
  }
}

/** Every way to read or change a relation that SQL has, on no row at all: rights are asked for nevertheless. */
function statementsOf({ name, kind }: Relation): readonly string[] {
  const it = `postrider.${name}`
  if (kind === 'S') return [`select nextval('${it}')`, `select setval('${it}', 1)`, `select last_value from ${it}`]
  const writes = [`insert into ${it} default values`, `delete from ${it} where false`, `truncate ${it}`]
  const ddl = [
    `alter table ${it} add mine int`,
    `drop table ${it} cascade`,
    `create trigger mine before insert on ${it} execute function pg_catalog.suppress_redundant_updates_trigger()`,
  ]
  return [
    `select count(*) from (select from ${it} limit 0) as none`,
    ...writes,
    ...(kind === 'v' ? [] : ddl),
    `copy ${it} to stdout`,
  ]
}

const denied = '42501'
/** A view cannot be truncated or written, whoever tries. */
const refused = /^(?:42501|42809|55000)$/

describe('what is not granted is refused when it is tried', () => {
  test('a writer can read and change no table, view or sequence, and call nothing but emit', async () => {
    for (const relation of found) {
      for (const statement of statementsOf(relation)) {
        expect([statement, await attempt('postrider_writer', statement)]).toEqual([statement, expect.stringMatching(refused)])
      }
    }
    for (const { signature, call } of routines) {
      if (signature === 'emit(jsonb)') continue
      expect([signature, await attempt('postrider_writer', call)]).toEqual([signature, denied])
    }
    expect(await attempt('postrider_writer', `select postrider.emit('{"type": "a", "source": "s"}')`)).toBe('done')
  })

  test('a viewer can change nothing: no table, no view, no sequence; and call only what its lines say', async () => {
    for (const relation of found) {
      // The first of them reads, and so does the last; of a sequence all are refused.
      const statements = statementsOf(relation)
      const read = relation.kind === 'S' ? undefined : statements[0]
      const changes = relation.kind === 'S' ? statements : statements.slice(1, -1)
      if (read !== undefined)
        expect([read, await attempt('postrider_viewer', read)]).toEqual([read, relation.name === 'endpoints' ? denied : 'done'])
      for (const statement of changes)
        expect([statement, await attempt('postrider_viewer', statement)]).toEqual([statement, expect.stringMatching(refused)])
    }
    for (const { signature, call } of routines) {
      if (functions[signature]?.includes('viewer')) continue
      expect([signature, await attempt('postrider_viewer', call)]).toEqual([signature, denied])
    }
  })

  test('everybody else can do nothing at all, not even see what is there', async () => {
    await owner.query('drop role if exists postrider_test_public; create role postrider_test_public')
    try {
      for (const relation of found) {
        for (const statement of statementsOf(relation))
          expect([statement, await attempt('postrider_test_public', statement)]).toEqual([
            statement,
            expect.stringMatching(refused),
          ])
      }
      for (const { signature, call } of routines)
        expect([signature, await attempt('postrider_test_public', call)]).toEqual([signature, denied])
      // And where somebody opens the schema by mistake, its functions stay shut.
      await owner.query('grant usage on schema postrider to postrider_test_public')
      for (const { signature, call } of routines)
        expect([signature, await attempt('postrider_test_public', call)]).toEqual([signature, denied])
    } finally {
      await owner.query('drop owned by postrider_test_public; drop role postrider_test_public')
    }
  })

  test('a relay can neither rewrite the log nor its own record, nor empty or drop anything', async () => {
    for (const relation of found) {
      if (relation.kind === 'S') continue
      const ddl = statementsOf(relation).filter((statement) => /^(truncate|alter|drop|create)/.test(statement))
      for (const statement of ddl)
        expect([statement, await attempt('postrider_relay', statement)]).toEqual([statement, expect.stringMatching(refused)])
    }
    for (const table of [
      'events',
      'attempts',
      'appends',
      'actions',
      'verifications',
      'checkpoints',
      'meta',
      'migrations',
      'ring',
    ])
      expect([
        table,
        await attempt('postrider_relay', `update postrider.${table} set ${await firstColumn(table)} = default where false`),
      ]).toEqual([table, denied])
    for (const table of ['events', 'events_0', 'attempts', 'attempts_0', 'actions', 'meta'])
      expect([table, await attempt('postrider_relay', `delete from postrider.${table} where false`)]).toEqual([table, denied])
  })
})

async function firstColumn(table: string): Promise<string> {
  const { rows } = await owner.query<{ name: string }>(
    `select quote_ident(attname) as name from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum limit 1`,
    [`postrider.${table}`],
  )
  return rows.at(0)!.name
}

test('what runs with the rights of the owner is a short list, and each has a search path that nobody can put anything into', () => {
  const owners = routines.filter(({ definer }) => definer)
  expect(owners.map(({ signature }) => signature).toSorted()).toEqual(definers.toSorted())
  for (const { signature, config } of owners)
    expect([signature, config?.[0]]).toEqual([signature, 'search_path=pg_catalog, pg_temp'])
})

test('nothing that a viewer can see shows where an endpoint sends, or what it sends along', async () => {
  await client.query('set role postrider_viewer')
  let seen = 0
  for (const { name, kind } of found) {
    if (kind === 'S' || name === 'endpoints') continue
    const { rows } = await client.query<{ text: string }>(`select t::text as text from postrider.${name} as t`)
    seen += rows.length
    expect([name, rows.filter(({ text }) => text.includes(canary) || text.includes(canary.replaceAll('-', '_')))]).toEqual([
      name,
      [],
    ])
  }
  await client.query('reset role')
  expect(seen).toBeGreaterThan(10)
  const { rows } = await owner.query<{ text: string }>('select t::text as text from postrider.endpoints as t')
  expect(rows.at(0)?.text, 'the canary is where it was put').toContain(`${canary}-path`)
})
