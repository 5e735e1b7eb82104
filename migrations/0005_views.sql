-- What people ask. Every state of every event can be read here, in plain SQL.

-- The cursor of every lane: its newest checkpoint.
create view postrider.cursors as
select s.name as sink, l.lane, s.lanes, s.types, l.anchor, l.relay, l.leased_until, c.fence, c.done, c.target, c.position, c.at
from postrider.sinks as s
join postrider.lanes as l on l.sink = s.name
cross join lateral (
  select * from postrider.checkpoints as k where k.sink = l.sink and k.lane = l.lane order by k.fence desc limit 1
) as c;

-- True when a cursor has passed an event: it is finished there, or has a row in deliveries.
create function postrider.has_passed(xid xid8, "position" bigint, done pg_snapshot, target pg_snapshot, reached bigint, anchor bigint) returns boolean
  language sql immutable parallel safe
  return "position" <= anchor
    or pg_visible_in_snapshot(xid, done)
    or (target is not null and "position" <= reached and pg_visible_in_snapshot(xid, target));

-- Committed events that a sink has not reached yet, oldest first when ordered by position. Ask with a limit: a backlog may be long.
create view postrider.pending as
select c.sink, c.lane, e.position, e.id as event_id, e.type, e.key, e.created_at, clock_timestamp() - e.created_at as age
from postrider.cursors as c
join postrider.events as e on e.xid >= pg_snapshot_xmin(c.done)
where postrider.lane_of(e.bucket, c.lanes) = c.lane
  and not postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor)
  and (c.types is null or e.type ~ postrider.type_filter(c.types));

-- Events that wait at a sink, and why.
create view postrider.trouble as
select d.sink, d.lane, d.position, d.event_id, e.type, d.key, d.state, d.attempts, d.available_at, d.error_code, d.error, d.since, e.created_at
from postrider.deliveries as d
left join postrider.events as e on e.position = d.position and e.slot = d.slot;

-- Events that will not be tried again by themselves.
create view postrider.dead_letters as
select sink, position, event_id, type, key, attempts, error_code, error, since as dead_since, created_at
from postrider.trouble
where state = 'dead';

-- One row per sink. Counts stop at 10,001, so that this answers at once whatever the backlog.
create view postrider.backlog as
select s.name as sink, s.state,
  (select count(*) from (select from postrider.pending as p where p.sink = s.name limit 10001) as bounded) as pending,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'scheduled' limit 10001) as bounded) as scheduled,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'retrying' limit 10001) as bounded) as retrying,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' limit 10001) as bounded) as blocked,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'held' limit 10001) as bounded) as held,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'dead' limit 10001) as bounded) as dead,
  (select min(bounded.created_at) from (select p.created_at from postrider.pending as p where p.sink = s.name limit 10001) as bounded) as oldest_pending_at
from postrider.sinks as s;

create view postrider.recent_attempts as
select a.started_at, a.sink, a.event_id, e.type, e.key, a.attempt, a.outcome, a.status, a.error_code, a.error, a.duration_ms, a.relay, a.position
from postrider.attempts as a
left join postrider.events as e on e.position = a.position and e.slot = a.slot
order by a.position desc, a.started_at desc;

-- Where an event is at every sink, and why it is not delivered.
create function postrider.explain(event_id uuid)
  returns table (sink text, state text, reason text, attempts int, next_at timestamptz, "position" bigint)
  language sql stable
  begin atomic
    select
      c.sink,
      case
        when d.state is not null then d.state
        when a.outcome in ('delivered', 'discarded') then a.outcome
        when c.types is not null and e.type !~ postrider.type_filter(c.types) then 'filtered'
        when postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor) then 'delivered'
        else 'pending'
      end,
      case
        when d.state = 'scheduled' then format('scheduled for %s', d.available_at)
        when d.state = 'retrying' and d.error_code in ('slow', 'interrupted') then format('being carried or due at %s: %s', d.available_at, d.error_code)
        when d.state = 'retrying' and d.attempts = 0 then format('released, due since %s', d.available_at)
        when d.state = 'retrying' then format('attempt %s failed (%s: %s), next at %s', d.attempts, d.error_code, d.error, d.available_at)
        when d.state = 'blocked' then format('behind event %s of the same key (%s)', head.event_id, head.state)
        when d.state = 'held' then format('held since %s: %s', d.since, d.error)
        when d.state = 'dead' then format('dead since %s after %s attempts (%s: %s); postrider.retry(event_id) sends it again', d.since, d.attempts, d.error_code, d.error)
        when a.outcome = 'delivered' then format('delivered at %s by attempt %s%s', a.started_at + a.duration_ms * interval '1 millisecond', a.attempt, ', status ' || a.status)
        when a.outcome = 'discarded' then format('discarded at %s by %s: %s', a.started_at, a.detail ->> 'actor', a.detail ->> 'reason')
        when c.types is not null and e.type !~ postrider.type_filter(c.types) then format('type %s is not in the filter %s', e.type, c.types)
        when postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor) then 'passed by the cursor; no attempt is on record (audit is off, or the sink began later)'
        when s.state = 'paused' then 'behind the cursor; the sink is paused'
        when c.relay is null or c.leased_until < clock_timestamp() then format('behind the cursor; no relay carries lane %s', c.lane)
        else format('behind the cursor; lane %s is carried by relay %s (%s) until %s', c.lane, coalesce(r.name, '?'), c.relay, c.leased_until)
      end,
      coalesce(d.attempts, a.attempt, 0),
      case when d.state in ('scheduled', 'retrying') then d.available_at end,
      e.position
    from postrider.events as e
    join postrider.cursors as c on c.lane = postrider.lane_of(e.bucket, c.lanes)
    join postrider.sinks as s on s.name = c.sink
    left join postrider.deliveries as d on d.sink = c.sink and d.position = e.position
    left join postrider.relays as r on r.id = c.relay
    left join lateral (
      select * from postrider.attempts as t where t.position = e.position and t.sink = c.sink order by t.started_at desc limit 1
    ) as a on true
    left join lateral (
      select h.event_id, h.state from postrider.deliveries as h
      where h.sink = d.sink and h.key = d.key and h.position < d.position and d.state = 'blocked' and h.state in ('retrying', 'held', 'dead')
      order by h.position desc limit 1
    ) as head on true
    where e.id = explain.event_id
    union all
    select null, 'unknown', 'no committed event has this id: its transaction is still open or was rolled back, or retention has removed it', 0, null, null
    where not exists (select from postrider.events as e where e.id = explain.event_id)
    order by 1;
  end;
