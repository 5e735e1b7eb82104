-- Rows that this database wrote since its statistics began, and how many of them into the tables of Postrider.
select sum(t.n_tup_ins + t.n_tup_upd + t.n_tup_del)::float8 as all_rows,
  coalesce(sum(t.n_tup_ins + t.n_tup_upd + t.n_tup_del) filter (where t.relid in (
    select c.oid from pg_class as c where c.relnamespace = (select e.relnamespace from pg_class as e where e.oid = 'postrider.events'::regclass)
  )), 0)::float8 as own_rows
from pg_stat_user_tables as t
