-- What people ask. Every state of every event can be read here, in plain SQL.

-- Attempts are asked for by their time, and written in its order or nearly so: this finds them, and costs next to nothing.
create index attempts_started on postrider.attempts using brin (started_at) with (pages_per_range = 16, autosummarize = on);
-- What was left out of a stream.
create index actions_left_out on postrider.actions (sink, id) where action = 'left_out';

-- The cursor of every lane: its newest checkpoint. Everything visible in `seen` is finished or within the open window.
create view postrider.cursors as
select s.name as sink, l.lane, s.lanes, s.types, s.filter, s.tenant, l.anchor, l.relay, l.leased_until, l.careful, l.suspect, l.strikes,
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

-- The log from where the cursor of each lane of a sink (or of one lane) stands, with what the lane will carry marked as
-- `wanted`. There are three places to look: transactions that began after the cursor, those that were open then, and the
-- rest of an open window. Each is looked up by an index, in at most `look` rows (null: in all). In a restored database old
-- events may carry ids of transactions that are still to come here: those are not looked at. (The lower bound is a row,
-- because the planner takes two plain bounds for a narrow range, and would sort what it finds there.)
create function postrider.look_ahead(sink text, look bigint, only_lane smallint default null)
  returns table (lane smallint, wanted boolean, event_id uuid, "position" bigint, type text, key text, created_at timestamptz, xid xid8)
  language sql stable
  begin atomic
    select c.lane,
      e.unseen and postrider.lane_of(e.bucket, c.lanes) = c.lane and e.position > c.anchor
        and (c.filter is null or e.type ~ c.filter) and (c.tenant is null or coalesce(e.tenant = c.tenant, false))
        and postrider.cutover_of(c.sink, e.type, e.xid) is null,
      e.id, e.position, e.type, e.key, e.created_at, e.xid
    from postrider.cursors as c
    cross join lateral (
      (select l.*, true as unseen from postrider.events as l where (l.xid, l.position) >= (pg_snapshot_xmax(c.seen), 0) and l.xid < pg_snapshot_xmax(pg_current_snapshot()) order by l.xid, l.position limit look)
      union all
      (select l.*, true from pg_snapshot_xip(c.seen) as open (xid)
       cross join lateral (select e.* from postrider.events as e where e.xid = open.xid order by e.xid, e.position) as l limit look)
      union all
      (select l.*, pg_visible_in_snapshot(l.xid, c.target) and not pg_visible_in_snapshot(l.xid, c.done)
       from postrider.events as l where c.target is not null and l.position > c.position order by l.position limit look)
    ) as e
    where c.sink = look_ahead.sink and (only_lane is null or c.lane = only_lane);
  end;

-- Committed events that a sink has not reached yet. Ask with a limit: a backlog may be long.
create view postrider.pending as
select s.name as sink, a.lane, a.position, a.event_id, a.type, a.key, a.created_at, clock_timestamp() - a.created_at as age
from postrider.sinks as s
cross join lateral postrider.look_ahead(s.name, null) as a
where a.wanted;

-- Events that wait at a sink, and why.
create view postrider.trouble as
select d.sink, d.lane, d.position, d.event_id, e.type, d.key, d.state, d.attempts, d.available_at, d.error_code, d.error, d.since, e.created_at,
  d.status, d.parked, d.fingerprint, d.operation_id, e.expires_at
from postrider.deliveries as d
left join postrider.events as e on e.position = d.position and e.slot = d.slot;

-- Events that will not be tried again by themselves. The others of its key wait behind one, unless it is parked.
create view postrider.dead_letters as
select sink, position, event_id, type, key, attempts, error_code, error, since as dead_since, created_at, status, parked, fingerprint
from postrider.trouble
where state = 'dead';

-- Dead letters by cause, each with one of them as a sample. Counts stop at 10,001. What was seen first and last is so in the
-- order of the log.
create view postrider.dead_groups as
with recursive causes as (
  (select d.fingerprint from postrider.deliveries as d where d.state = 'dead' order by d.fingerprint limit 1)
  union all
  select (select d.fingerprint from postrider.deliveries as d where d.state = 'dead' and d.fingerprint > c.fingerprint order by d.fingerprint limit 1)
  from causes as c where c.fingerprint is not null
)
select c.fingerprint, oldest.sink, oldest.error_code, oldest.status, oldest.error as sample, oldest.event_id as sample_event_id,
  (select count(*) from (
    select from postrider.deliveries as d where d.state = 'dead' and d.fingerprint = c.fingerprint limit 10001
  ) as bounded) as count,
  oldest.since as first_seen, newest.since as last_seen
from causes as c
cross join lateral (
  select d.* from postrider.deliveries as d where d.state = 'dead' and d.fingerprint = c.fingerprint order by d.position limit 1
) as oldest
cross join lateral (
  select d.since from postrider.deliveries as d where d.state = 'dead' and d.fingerprint = c.fingerprint order by d.position desc limit 1
) as newest;

-- Keys with events that wait, and the head behind which they do; a key without a head goes on with the next settle of its
-- lane. Counts stop at 1,001.
create view postrider.blocked_keys as
select s.name as sink, k.key, head.event_id as head_event_id, head.position as head_position, head.state as head_state,
  head.attempts as head_attempts, head.available_at as head_available_at, head.error_code, head.error, head.since,
  (select count(*) from (
    select from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' and d.key = k.key limit 1001
  ) as bounded) as blocked
from postrider.sinks as s
-- From key to key by the index, so that it costs nothing how many wait behind each.
cross join lateral (
  with recursive keys as (
    (select d.key from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' order by d.key limit 1)
    union all
    select (select d.key from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' and d.key > w.key order by d.key limit 1)
    from keys as w where w.key is not null
  )
  select w.key from keys as w where w.key is not null
) as k
left join lateral (
  select h.* from postrider.deliveries as h
  where h.sink = s.name and h.key = k.key and h.state in ('retrying', 'dead') and not h.parked
  order by h.position limit 1
) as head on true;

-- One row per sink that is carried. It answers at once whatever the backlog: counts stop at 10,001, and at most 100,000 rows
-- of the log are looked at in each place. When that was not enough to see all that is pending, `counted_all` is false.
create view postrider.backlog as
select s.name as sink,
  case when s.state = 'active' and c.state in ('open', 'half_open') then 'degraded' else s.state end as state,
  least(ahead.wanted, 10001) as pending,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'scheduled' limit 10001) as bounded) as scheduled,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'retrying' limit 10001) as bounded) as retrying,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'blocked' limit 10001) as bounded) as blocked,
  (select count(*) from (select from postrider.deliveries as d where d.sink = s.name and d.state = 'dead' limit 10001) as bounded) as dead,
  ahead.oldest_pending_at,
  ahead.looked < 100000 / s.lanes as counted_all,
  s.family, s.tenant,
  coalesce(c.state, 'closed') as circuit, c.until as circuit_until
from postrider.sinks as s
left join postrider.circuits as c on c.sink = s.name
cross join lateral (
  select coalesce(sum(by_lane.wanted), 0)::bigint as wanted, coalesce(max(by_lane.looked), 0) as looked, min(by_lane.oldest) as oldest_pending_at
  from (
    select count(*) as looked, count(*) filter (where a.wanted) as wanted, min(a.created_at) filter (where a.wanted) as oldest
    from postrider.look_ahead(s.name, 100000 / s.lanes) as a
    group by a.lane
  ) as by_lane
) as ahead
where not s.fans_out;

-- The backlog, and all that steers a sink: its state with since when, by whom, why and until when (degraded: active, and its
-- circuit is not closed), the limits in force (no rate: unlimited), and how many of its lanes are carried.
create view postrider.sink_status as
select b.sink, s.kind, b.family, b.tenant, b.state,
  case b.state when 'degraded' then c.opened_at else s.state_since end as since,
  case b.state when 'degraded' then 'postrider' else s.state_by end as by,
  case b.state when 'degraded' then concat_ws(': ', c.error_code, c.error) else s.state_reason end as reason,
  case b.state when 'degraded' then c.until else s.state_until end as until,
  b.circuit, b.circuit_until, c.trips, c.failing_since, c.failures,
  case when c.quiet_until > clock_timestamp() then c.quiet_until end as quiet_until,
  coalesce(s.live_concurrency, s.concurrency) as concurrency,
  nullif(coalesce(s.live_rate, s.rate), 'infinity') as rate,
  s.live_concurrency is not null or s.live_rate is not null as limits_are_live,
  s.lanes, carriers.lanes as lanes_carried, carriers.careful as lanes_careful,
  b.pending, b.counted_all, b.scheduled, b.retrying, b.blocked, b.dead, b.oldest_pending_at,
  clock_timestamp() - b.oldest_pending_at as oldest_pending_age
from postrider.backlog as b
join postrider.sinks as s on s.name = b.sink
left join postrider.circuits as c on c.sink = b.sink
cross join lateral (
  select count(*) filter (where l.relay is not null and l.leased_until > clock_timestamp())::int as lanes,
    count(*) filter (where l.careful > 0)::int as careful
  from postrider.lanes as l where l.sink = b.sink
) as carriers;

-- Attempts at the newest events first. Ask with a limit.
create view postrider.recent_attempts as
select a.started_at, a.sink, a.event_id, e.type, e.key, a.attempt, a.outcome, a.status, a.error_code, a.error, a.duration_ms, a.relay, a.position
from postrider.attempts as a
left join postrider.events as e on e.position = a.position and e.slot = a.slot
order by a.position desc, a.started_at desc;

-- What has come of attempts a second, over the last minute, by the 10,000 attempts at the newest events: when these reach
-- less far back, over the time that they do.
create view postrider.recent_rates as
select a.sink,
  count(*) filter (where a.outcome = 'delivered') / a.seconds as delivered,
  count(*) filter (where a.outcome in ('retry', 'throttled', 'reject', 'gone')) / a.seconds as failed
from (
  select newest.sink, newest.outcome, newest.started_at,
    case when count(*) over () < 10000 then 60
      else greatest(1, least(60, extract(epoch from statement_timestamp() - min(newest.started_at) over ()))) end::float8 as seconds
  from (select t.sink, t.outcome, t.started_at from postrider.attempts as t order by t.position desc limit 10000) as newest
) as a
where a.started_at > statement_timestamp() - interval '1 minute'
group by a.sink, a.seconds;

-- Why nothing is sent to a sink now, whoever carries it; null when nothing keeps it.
create function postrider.why_still(sink postrider.sinks, circuit postrider.circuits) returns text
  language sql stable
  return case
    when sink.state <> 'active' then
      format('the sink is %s since %s', sink.state, sink.state_since) || coalesce(' by ' || sink.state_by, '')
      || coalesce(' until ' || sink.state_until, '') || coalesce(': ' || sink.state_reason, '')
    when circuit.state = 'open' then
      case when circuit.until > statement_timestamp() then format('the circuit is open until %s', circuit.until)
        else format('the circuit is open, and a probe is due since %s', circuit.until) end
      || format(', after %s failures since %s (%s: %s)', circuit.failures, circuit.failing_since, circuit.error_code, circuit.error)
    when circuit.state = 'half_open' then
      format('the circuit is half open: relay %s sends one event to see, until %s', circuit.prober, circuit.until)
    when circuit.quiet_until > statement_timestamp() then
      format('the destination asked for a pause until %s', circuit.quiet_until)
  end;

-- Who carries a lane, and within which limits.
create function postrider.who_carries("cursor" postrider.cursors, relay text, sink postrider.sinks, "position" bigint) returns text
  language sql stable
  return case
    when "cursor".relay is null or "cursor".leased_until < statement_timestamp() then format('no relay carries lane %s', "cursor".lane)
    else format('lane %s is carried by relay %s (%s) until %s', "cursor".lane, coalesce(relay, '?'), "cursor".relay, "cursor".leased_until)
  end
  || case
    when "cursor".suspect = "position" then format('; this event is carried alone: relays died while they carried just it (%s so far)', "cursor".strikes)
    when "cursor".suspect is not null then format('; before it the event at position %s is carried alone, because relays died here', "cursor".suspect)
    when "cursor".careful > 0 then format('; %s events at once, because a relay died with this lane in hand', "cursor".careful)
    else ''
  end
  || case
    when coalesce(sink.live_rate, sink.rate) < 'infinity' then format('; at most %s a second', coalesce(sink.live_rate, sink.rate))
    else ''
  end
  || case when sink.live_concurrency is not null then format('; at most %s in flight', sink.live_concurrency) else '' end;

-- Where an event is at every sink, why it is not delivered, and what would help.
create function postrider.explain(event_id uuid)
  returns table (sink text, state text, reason text, attempts int, next_at timestamptz, "position" bigint, since timestamptz, hint text)
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
          end
        when 'blocked' then
          case
            when head.event_id is null then 'nothing of its key is in the way any more: it goes on with the next settle of its lane'
            else format('behind event %s of the same key, which is %s', head.event_id, head.state)
              || coalesce(' (' || nullif(concat_ws(': ', head.error_code, head.error), '') || ')', '')
          end
        when 'dead' then
          format('dead since %s after %s attempts (%s: %s)', d.since, d.attempts, d.error_code, d.error)
          || case
            when d.key is null then ''
            when d.parked then '; parked: later events of its key pass'
            else '; later events of its key wait behind it'
          end
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
          case when e.type !~ c.filter then
              case when c.types is null then format('type %s is for those endpoints alone that ask for it', e.type)
                else format('type %s is not in the filter %s', e.type, c.types) end
            else format('it is for tenant %s, and the sink takes those of %s', coalesce(e.tenant, 'nobody'), c.tenant) end
        when 'moved' then format('moved to %s for consumer %s by cutover %s at %s', moved.to_sink, moved.consumer, moved.id, moved.begun_at)
        when 'left_out' then format('left out when the sink was resumed at %s by %s', left_out.at, left_out.actor) || coalesce(': ' || left_out.reason, '')
        when 'passed' then 'passed by the cursor, and no attempt is on record: the filter or the audit of the sink was another then, or retention has removed it'
        else 'behind the cursor, '
          || case when ahead.capped then 'at least ' else '' end
          || case ahead.events when 0 then 'the next of its lane' when 1 then '1 event of its lane before it' else format('%s events of its lane before it', ahead.events) end
      end
      || case
        when verdict.state in ('pending', 'blocked', 'scheduled', 'retrying') and postrider.why_still(s, circuit) is not null
          then '; ' || postrider.why_still(s, circuit)
        when verdict.state = 'pending' or (d.state in ('scheduled', 'retrying') and d.available_at <= statement_timestamp()) or (d.state = 'blocked' and head.event_id is null)
          then '; ' || postrider.who_carries(c, r.name, s, e.position)
        else ''
      end
      || case when d.operation_id is not null then format('; operation %s (%s by %s) sends it once more', d.operation_id, operation.kind, operation.actor) else '' end
      || case when verdict.state in ('pending', 'scheduled', 'retrying', 'blocked') then coalesce('; it expires at ' || e.expires_at, '') else '' end,
      coalesce(d.attempts, a.attempt, 0),
      case when d.state in ('scheduled', 'retrying') then d.available_at end,
      e.position,
      case
        when d.state is not null then d.since
        when a.outcome in ('delivered', 'discarded', 'expired') then a.started_at
        when verdict.state = 'left_out' then left_out.at
        when verdict.state = 'pending' then e.created_at
      end,
      case
        when verdict.state = 'dead' then format('select postrider.retry(%L, %L);', e.id, c.sink)
        when verdict.state = 'blocked' and head.state = 'dead' then format('select postrider.retry(%L, %L);', head.event_id, c.sink)
        when verdict.state in ('pending', 'scheduled', 'retrying', 'blocked') and s.state in ('paused', 'disabled', 'gone')
          then format('select postrider.resume(%L);', c.sink)
        when verdict.state = 'pending' and s.state = 'active' and c.leased_until < statement_timestamp() then 'postrider start'
      end
    from postrider.events as e
    join postrider.cursors as c on c.lane = postrider.lane_of(e.bucket, c.lanes)
    join postrider.sinks as s on s.name = c.sink
    left join postrider.circuits as circuit on circuit.sink = c.sink
    left join postrider.deliveries as d on d.sink = c.sink and d.position = e.position
    left join postrider.operations as operation on operation.id = d.operation_id
    left join postrider.relays as r on r.id = c.relay
    -- The last word on the event: what ended it, or else its newest attempt.
    left join lateral (
      select t.* from postrider.attempts as t
      where t.position = e.position and t.slot = e.slot and t.sink = c.sink
      order by t.attempt desc, t.outcome in ('discarded', 'expired') desc, t.outcome = 'delivered' desc, t.started_at desc limit 1
    ) as a on true
    -- Of the heads in the way the nearest, before it if there is one: a late commit may stand behind a later event.
    left join lateral (
      select h.event_id, h.state, h.error_code, h.error from postrider.deliveries as h
      where d.state = 'blocked' and h.sink = d.sink and h.key = d.key
        and h.state in ('retrying', 'dead') and not h.parked
      order by h.position < d.position desc, abs(h.position - d.position) limit 1
    ) as head on true
    -- An operator who resumed the sink left it out: it lay between where its lane stood and where it went on.
    left join lateral (
      select x.at, x.actor, x.reason from postrider.actions as x
      cross join lateral (select x.detail -> 'cursors' -> c.lane::text as lane) as stood
      where x.action = 'left_out' and x.sink = c.sink and d.state is null and e.position <= (x.detail ->> 'up_to_position')::bigint
        and not postrider.has_passed(e.xid, e.position, (stood.lane ->> 'done')::pg_snapshot, (stood.lane ->> 'target')::pg_snapshot,
          (stood.lane ->> 'position')::bigint, (stood.lane ->> 'anchor')::bigint)
      order by x.id limit 1
    ) as left_out on true
    left join postrider.cutovers as moved on moved.id = postrider.cutover_of(c.sink, e.type, e.xid)
    cross join lateral (
      select case
        when d.state is not null then d.state
        when a.outcome in ('delivered', 'discarded', 'expired') then a.outcome
        when postrider.is_before(s, e.xid, e.position) then 'skipped'
        when e.type !~ c.filter or (c.tenant is not null and e.tenant is distinct from c.tenant) then 'filtered'
        when moved.id is not null then 'moved'
        when not postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor) then 'pending'
        when left_out.at is not null then 'left_out'
        when s.audit = 'all' then 'passed'
        else 'delivered'
      end as state
    ) as verdict
    -- How far the cursor has to go, as far as a thousand rows tell.
    cross join lateral (
      select count(*) filter (where l.wanted and l.position < e.position) as events, count(*) >= 1000 as capped
      from postrider.look_ahead(c.sink, 1000, c.lane) as l
      where verdict.state = 'pending'
    ) as ahead
    where e.id = explain.event_id
    union all
    select s.name, 'skipped', 'it has endpoints, and none of them is there yet', 0, null, e.position, null, null
    from postrider.events as e
    cross join postrider.sinks as s
    where e.id = explain.event_id and s.fans_out and not exists (select from postrider.sinks as x where x.family = s.name)
    union all
    -- Whoever has written to the log and not ended yet holds a lock on it, and everybody may see that.
    select null, 'unknown',
      case when writers.count = 0
        then 'no committed event has this id, and no open transaction has written one: its transaction was rolled back, or retention has removed it'
        else format('no committed event has this id: its transaction is still open or was rolled back, or retention has removed it; open and with events are %s, the oldest %s',
          writers.count, writers.oldest)
      end, 0, null, null, null,
      case when writers.count > 0 then 'select * from pg_stat_activity where backend_xid is not null order by xact_start;' end
    from (
      select count(*), (array_agg(
        case when held.pid is null then 'a prepared transaction'
          else format('of pid %s', held.pid) || coalesce(' (' || nullif(activity.application_name, '') || ')', '') || coalesce(' since ' || activity.xact_start, '') end
        order by held.pid is null desc, activity.xact_start, held.pid))[1] as oldest
      from (
        select distinct l.pid, l.virtualtransaction from pg_locks as l
        where l.locktype = 'relation' and l.relation = 'postrider.events'::regclass and l.mode = 'RowExclusiveLock' and l.granted
          and l.database = (select db.oid from pg_database as db where db.datname = current_database())
          and l.pid is distinct from pg_backend_pid()
      ) as held
      left join pg_stat_activity as activity on activity.pid = held.pid
    ) as writers
    where not exists (select from postrider.events as e where e.id = explain.event_id)
    order by 1, 6;
  end;

-- Nothing of the schema is for everybody: roles.sql says what is for whom. A migration that adds a function repeats this.
revoke execute on all functions in schema postrider from public;
