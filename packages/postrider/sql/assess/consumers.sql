-- Who gets each kind of event: sinks and endpoints by their filters, those of one tenant counted as one owner; Kafka sinks are
-- not counted. Over the newest 100,000 events.
with types as materialized (
  select distinct e.type from (select type from postrider.events order by position desc limit 100000) as e
), takers as (
  select split_part(t.type, '.', 1) as kind, s.name, coalesce('tenant ' || s.tenant, s.name) as owner
  from types as t
  join postrider.sinks as s on not s.fans_out and s.state in ('active', 'paused') and s.kind not in ('kafka', 'kafka-shadow')
    and (s.filter is null or t.type ~ s.filter)
)
select coalesce(t.kind, '*') as kind, count(distinct t.owner)::float8 as owners, count(distinct t.name)::float8 as sinks
from takers as t
group by grouping sets ((t.kind), ())
