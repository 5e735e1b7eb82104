-- Replays of the last 30 days, the events that they sent once more, and the positions that the log has drawn since: by the
-- oldest event that is kept when that is younger. Of at most 10,000 operations.
with replayed as (
  select o.done from postrider.operations as o
  where o.kind = 'replay' and o.created_at > clock_timestamp() - interval '30 days' order by o.id desc limit 10000
)
select (select count(*)::float8 from replayed) as replays, (select coalesce(sum(r.done), 0)::float8 from replayed as r) as replayed_events,
  (select max(e.position) - coalesce(postrider.position_at(clock_timestamp() - interval '30 days'), max(e.position)) + 1 from postrider.events as e)::float8 as events
