import { wordDuration } from '../table.ts'
import { ok, warn, wordList, type Check } from './check.ts'

/** Whoever holds a snapshot keeps dead rows from being removed, in every table of the cluster. */
export const horizon: Check = {
  name: 'horizon',
  needsSchema: false,
  async look({ ask, thresholds }) {
    const held = await ask<{ what: string; seconds: number; fix: string }>(
      `select * from (
         select format('session %s%s', pid, coalesce(' (' || nullif(application_name, '') || ')', '')) as what,
           extract(epoch from clock_timestamp() - xact_start)::float8 as seconds, format('select pg_terminate_backend(%s);', pid) as fix
         from pg_stat_activity where xact_start is not null and (backend_xmin is not null or backend_xid is not null)
           and pid <> pg_backend_pid() and backend_type = 'client backend'
         union all
         select format('prepared transaction %L', gid), extract(epoch from clock_timestamp() - prepared)::float8, format('rollback prepared %L;', gid)
         from pg_prepared_xacts where database = current_database()
         union all
         select format('replication slot %s, which nobody reads', slot_name), null, format('select pg_drop_replication_slot(%L);', slot_name)
         from pg_replication_slots where not active and (xmin is not null or catalog_xmin is not null or restart_lsn is not null)
       ) as held where seconds is null or seconds > $1 order by seconds desc nulls first`,
      [thresholds.horizonSeconds],
    )
    if (held.length === 0) return ok('nothing holds cleaning up back')
    const words = held.map(({ what, seconds }) => (seconds === null ? what : `${what} for ${wordDuration(seconds * 1_000)}`))
    return warn(
      `dead rows and WAL are kept by ${wordList(words, 10)}`,
      `What is forgotten of that: ${held
        .slice(0, 10)
        .map(({ fix }) => fix)
        .join(' ')}`,
    )
  },
}

export const vacuum: Check = {
  name: 'vacuum',
  needsSchema: true,
  async look({ ask, schema, thresholds }) {
    const tables = await ask<{ name: string; dead: string; live: string; off: boolean }>(
      `select s.relname as name, s.n_dead_tup as dead, s.n_live_tup as live,
         coalesce('autovacuum_enabled=false' = any(c.reloptions) or 'autovacuum_enabled=off' = any(c.reloptions), false) as off
       from pg_stat_user_tables as s join pg_class as c on c.oid = s.relid
       where c.relnamespace = (select relnamespace from pg_class where oid = 'postrider.events'::regclass)
         and ('autovacuum_enabled=false' = any(c.reloptions) or 'autovacuum_enabled=off' = any(c.reloptions)
           or (s.n_dead_tup > $1 and s.n_dead_tup > s.n_live_tup))
       order by s.n_dead_tup desc`,
      [thresholds.deadRows],
    )
    const [autovacuum] = await ask<{ on: boolean }>(`select current_setting('autovacuum')::boolean as on`)
    if (autovacuum?.on === false) return warn('autovacuum is off', 'alter system set autovacuum = on; select pg_reload_conf();')
    const off = tables.find((table) => table.off)
    if (off !== undefined)
      return warn(`autovacuum is off for ${off.name}`, `alter table ${schema}.${off.name} reset (autovacuum_enabled);`)
    const [worst] = tables
    if (worst === undefined) return ok('dead rows are cleaned up')
    return warn(
      `${worst.name} has ${Number(worst.dead).toLocaleString('en')} dead rows and ${Number(worst.live).toLocaleString('en')} live ones`,
      `vacuum ${schema}.${worst.name}; when that does not help, something holds the horizon.`,
    )
  },
}
