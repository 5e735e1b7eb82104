-- Bytes of the log on disk (events, attempts and where events stand elsewhere, with their indexes), and of the whole database.
select coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::float8 as log_bytes, pg_database_size(current_database())::float8 as database_bytes
from pg_inherits as i
where i.inhparent in ('postrider.events'::regclass, 'postrider.attempts'::regclass, 'postrider.appends'::regclass)
