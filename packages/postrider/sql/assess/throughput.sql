-- Events a second in the busiest minute, over the newest 1,000,000 events.
with recent as materialized (
  select split_part(e.type, '.', 1) as kind, date_trunc('minute', e.created_at) as minute
  from (select type, created_at from postrider.events order by position desc limit 1000000) as e
), minutes as (
  select r.kind, r.minute, count(*) as events from recent as r group by grouping sets ((r.kind, r.minute), (r.minute))
)
select coalesce(m.kind, '*') as kind, max(m.events)::float8 / 60 as peak_per_second
from minutes as m
group by m.kind
