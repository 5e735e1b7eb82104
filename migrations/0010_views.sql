-- What people ask. Every state of every event can be read here, in plain SQL.

-- The cursor of every lane: its newest checkpoint. Everything visible in `seen` is finished or within the open window.
create view postrider.cursors as
select s.name as sink, l.lane, s.lanes, s.types, s.filter, s.tenant, l.anchor, l.relay, l.leased_until,
  c.fence, c.done, c.target, coalesce(c.target, c.done) as seen, c.position, c.at
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

-- The log from where the cursor of each lane of a sink stands, with what the lane will carry marked as `wanted`.
-- There are three places to look: transactions that began after the cursor, those that were open then, and the rest of
-- an open window. Each is looked up by an index, in at most `look` rows (null: in all).
create function postrider.look_ahead(sink text, look bigint)
  returns table (lane smallint, wanted boolean, event_id uuid, "position" bigint, type text, key text, created_at timestamptz)
  language sql stable
  begin atomic
    select c.lane,
      e.unseen and postrider.lane_of(e.bucket, c.lanes) = c.lane and e.position > c.anchor
        and (c.filter is null or e.type ~ c.filter) and (c.tenant is null or e.tenant = c.tenant),
      e.id, e.position, e.type, e.key, e.created_at
    from postrider.cursors as c
    cross join lateral (
      (select l.*, true as unseen from postrider.events as l where l.xid >= pg_snapshot_xmax(c.seen) and l.xid < pg_snapshot_xmax(pg_current_snapshot()) order by l.xid, l.position limit look)
      union all
      (select l.*, true from postrider.events as l where l.xid = any(array(select pg_snapshot_xip(c.seen))) limit look)
      union all
      (select l.*, pg_visible_in_snapshot(l.xid, c.target) and not pg_visible_in_snapshot(l.xid, c.done)
       from postrider.events as l where c.target is not null and l.position > c.position order by l.position limit look)
    ) as e
    where c.sink = look_ahead.sink;
  end;

-- Committed events that a sink has not reached yet. Ask with a limit: a backlog may be long.
create view postrider.pending as
select s.name as sink, a.lane, a.position, a.event_id, a.type, a.key, a.created_at, clock_timestamp() - a.created_at as age
from postrider.sinks as s
cross join lateral postrider.look_ahead(s.name, null) as a
where a.wanted;

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

-- One row per sink. It answers at once whatever the backlog: counts stop at 10,001, and at most 100,000 rows of the log are
-- looked at in each place. When that was not enough to see all that is pending, `counted_all` is false.
create view postrider.backlog as
select s.name as sink, s.state,
  least(ahead.wanted, 10001) as pending,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'scheduled' limit 10001) as bounded) as scheduled,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'retrying' limit 10001) as bounded) as retrying,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' limit 10001) as bounded) as blocked,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'dead' limit 10001) as bounded) as dead,
  ahead.oldest_pending_at,
  ahead.looked < 100000 / s.lanes as counted_all
from postrider.sinks as s
cross join lateral (
  select coalesce(sum(by_lane.wanted), 0)::bigint as wanted, coalesce(max(by_lane.looked), 0) as looked, min(by_lane.oldest) as oldest_pending_at
  from (
    select count(*) as looked, count(*) filter (where a.wanted) as wanted, min(a.created_at) filter (where a.wanted) as oldest
    from postrider.look_ahead(s.name, 100000 / s.lanes) as a
    group by a.lane
  ) as by_lane
) as ahead
where not s.fans_out;

-- Attempts at the newest events first. Ask with a limit.
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
      verdict.state,
      case verdict.state
        when 'scheduled' then format('scheduled for %s', d.available_at)
        when 'retrying' then
          case
            when d.error_code = 'slow' then format('slow: an attempt is still under way; if nothing is heard of it, the next is at %s', d.available_at)
            when d.error_code = 'interrupted' then format('interrupted, due since %s', d.available_at)
            when d.attempts = 0 then format('let go, due since %s', d.available_at)
            when d.attempts = d.forgiven then format('sent again by an operator at %s', d.since)
            else format('attempt %s failed (%s: %s), next at %s', d.attempts, d.error_code, d.error, d.available_at)
          end || case when d.available_at <= clock_timestamp() then '; ' || carrier.words else '' end
        when 'blocked' then
          case
            when head.event_id is null then 'nothing of its key is in the way any more: it goes on with the next settle of its lane; ' || carrier.words
            else format('behind event %s of the same key, which is %s', head.event_id, head.state)
          end
        when 'dead' then format('dead since %s after %s attempts (%s: %s); postrider.retry(event_id) sends it again', d.since, d.attempts, d.error_code, d.error)
        when 'delivered' then
          case
            when a.outcome = 'delivered'
              then format('delivered at %s by attempt %s%s', a.started_at + a.duration_ms * interval '1 millisecond', a.attempt, ', status ' || a.status)
            else format('passed by the cursor, and waits nowhere; the audit of the sink (%s) keeps no record of it', s.audit)
          end
        when 'discarded' then format('discarded at %s by %s: %s', a.started_at, a.detail ->> 'actor', a.detail ->> 'reason')
        when 'expired' then format('expired at %s, before it could be delivered', e.expires_at)
        when 'skipped' then 'written before the sink began, which started from then on'
        when 'filtered' then
          case when e.type !~ c.filter then format('type %s is not in the filter %s', e.type, c.types)
            else format('it is for tenant %s, and the sink takes those of %s', coalesce(e.tenant, 'nobody'), c.tenant) end
        when 'passed' then 'passed by the cursor, and no attempt is on record: the filter or the audit of the sink was another then, or retention has removed it'
        else 'behind the cursor; ' || carrier.words
      end,
      coalesce(d.attempts, a.attempt, 0),
      case when d.state in ('scheduled', 'retrying') then d.available_at end,
      e.position
    from postrider.events as e
    join postrider.cursors as c on c.lane = postrider.lane_of(e.bucket, c.lanes)
    join postrider.sinks as s on s.name = c.sink
    left join postrider.deliveries as d on d.sink = c.sink and d.position = e.position
    left join postrider.relays as r on r.id = c.relay
    -- The last word on the event: what ended it, or else its newest attempt.
    left join lateral (
      select t.* from postrider.attempts as t
      where t.position = e.position and t.slot = e.slot and t.sink = c.sink
      order by t.attempt desc, t.outcome in ('discarded', 'expired') desc, t.outcome = 'delivered' desc, t.started_at desc limit 1
    ) as a on true
    -- Of the heads in the way the nearest, before it if there is one: a late commit may stand behind a later event.
    left join lateral (
      select h.event_id, h.state from postrider.deliveries as h
      where d.state = 'blocked' and h.sink = d.sink and h.key = d.key
        and h.state in ('retrying', 'dead') and not h.parked
      order by h.position < d.position desc, abs(h.position - d.position) limit 1
    ) as head on true
    cross join lateral (
      select case
        when d.state is not null then d.state
        when a.outcome in ('delivered', 'discarded', 'expired') then a.outcome
        when pg_visible_in_snapshot(e.xid, s.origin) then 'skipped'
        when e.type !~ c.filter or (c.tenant is not null and e.tenant is distinct from c.tenant) then 'filtered'
        when not postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor) then 'pending'
        when s.audit = 'all' then 'passed'
        else 'delivered'
      end as state
    ) as verdict
    cross join lateral (
      select case
        when s.state = 'paused' then 'the sink is paused'
        when c.relay is null or c.leased_until < clock_timestamp() then format('no relay carries lane %s', c.lane)
        else format('lane %s is carried by relay %s (%s) until %s', c.lane, coalesce(r.name, '?'), c.relay, c.leased_until)
      end as words
    ) as carrier
    where e.id = explain.event_id
    union all
    select null, 'unknown', 'no committed event has this id: its transaction is still open or was rolled back, or retention has removed it', 0, null, null
    where not exists (select from postrider.events as e where e.id = explain.event_id)
    order by 1, 6;
  end;

-- Nothing of the schema is for everybody: roles.sql says what is for whom. A migration that adds a function repeats this.
revoke execute on all functions in schema postrider from public;
