-- Deliveries for each event, and the share of attempts that were asked to wait (429, 503), by the audit trail: over the
-- attempts at the newest events, 100,000 of them. Kafka sinks are not counted.
with recent as materialized (
  select a.position, a.slot, a.sink, a.outcome from postrider.attempts as a order by a.position desc limit 100000
), placed as (
  select split_part(e.type, '.', 1) as kind, r.position, r.outcome
  from recent as r
  join postrider.events as e on e.position = r.position and e.slot = r.slot
  join postrider.sinks as s on s.name = r.sink and s.kind not in ('kafka', 'kafka-shadow')
)
select coalesce(p.kind, '*') as kind,
  count(*) filter (where p.outcome = 'delivered')::float8 / nullif(count(distinct p.position), 0)::float8 as deliveries_per_event,
  count(*) filter (where p.outcome = 'throttled')::float8 / nullif(count(*), 0)::float8 as throttled_share
from placed as p
group by grouping sets ((p.kind), ())
