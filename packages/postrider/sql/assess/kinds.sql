-- The kinds of events (first segments of their types) among the newest 100,000, with their share, their bytes and the share
-- of the busiest key of each. The kind * is all of them.
with recent as materialized (
  select split_part(e.type, '.', 1) as kind, e.key, coalesce(octet_length(e.payload_bytes), octet_length(e.payload::text), 0) as bytes
  from (select * from postrider.events order by position desc limit 100000) as e
), by_key as (
  select r.kind, r.key, count(*) as events, sum(r.bytes) as bytes from recent as r group by grouping sets ((r.kind, r.key), (r.key))
)
select coalesce(k.kind, '*') as kind, sum(k.events)::float8 as events, sum(k.bytes)::float8 / sum(k.events)::float8 as average_bytes,
  sum(k.events)::float8 / (select count(*) from recent)::float8 as share,
  max(k.events) filter (where k.key is not null)::float8 / sum(k.events)::float8 as busiest_key_share
from by_key as k
group by k.kind
order by sum(k.events) desc
limit 1000
