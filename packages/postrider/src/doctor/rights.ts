import { fail, ok, wordList, type Check } from './check.ts'

/** What a relay does, as privilege and table, or as a function; a sample of each kind of statement. */
const tables: readonly (readonly [privilege: string, table: string])[] = [
  ['SELECT', 'events'],
  ['SELECT', 'sinks'],
  ['INSERT', 'sinks'],
  ['UPDATE', 'sinks'],
  ['UPDATE', 'lanes'],
  ['INSERT', 'checkpoints'],
  ['DELETE', 'checkpoints'],
  ['INSERT', 'attempts'],
  ['INSERT', 'deliveries'],
  ['UPDATE', 'deliveries'],
  ['DELETE', 'deliveries'],
  ['INSERT', 'relays'],
  ['DELETE', 'relays'],
  ['UPDATE', 'circuits'],
  ['INSERT', 'actions'],
]

export const rights: Check = {
  name: 'rights',
  needsSchema: true,
  async look({ ask }) {
    const missing = await ask<{ role: string; name: string }>(
      `select current_user as role, name from (
         select privilege || ' on ' || relation as name, has_table_privilege(current_user, 'postrider.' || relation, privilege) as has
         from unnest($1::text[], $2::text[]) as wanted (privilege, relation)
         union all
         select 'EXECUTE on ' || p.proname, has_function_privilege(current_user, p.oid, 'EXECUTE')
         from pg_proc as p
         where p.pronamespace = (select relnamespace from pg_class where oid = 'postrider.events'::regclass)
           and p.proname in ('put_sink', 'lock_trouble', 'release_heads', 'open_circuit', 'set_state', 'emit')
       ) as rights where not has order by name`,
      [tables.map(([privilege]) => privilege), tables.map(([, table]) => table)],
    )
    if (missing.length === 0) return ok('the role of this connection may do all that a relay does')
    return fail(
      `role ${missing[0]?.role} may not do what a relay does: ${wordList(missing.map(({ name }) => name))}`,
      `postrider migrate up --roles, then: grant postrider_relay to ${missing[0]?.role};`,
    )
  },
}
