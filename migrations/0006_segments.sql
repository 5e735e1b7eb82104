-- Retention: the ring of segments, and how one is emptied. Producers write into one segment at a time and never wait for
-- what is done here; a segment that cannot be emptied only grows.

create table postrider.ring (
  only_one     boolean  primary key default true check (only_one),
  slots        smallint not null default 8 constraint ring_slots check (slots between 3 and 64),
  width        interval not null default '1 day' constraint ring_width check (width between '1 second' and '31 days'),
  keep         interval not null default '6 days',
  keep_dead    interval not null default '90 days' constraint ring_keep_dead check (keep_dead > '0'),
  hold         interval not null default '14 days' constraint ring_hold check (hold >= '0'),
  pass_lagging boolean  not null default false,
  -- Between the end of `keep` and the time when a segment comes round again there is one width to empty it.
  constraint ring_keep check (keep > '0' and keep <= (slots - 2) * width)
);
insert into postrider.ring default values;
comment on table postrider.ring is 'How the log is cut, and how long things are kept. Changed by `call postrider.set_segments(…)`, which keeps the partitions in step.';
comment on column postrider.ring.slots is 'Segments of the ring.';
comment on column postrider.ring.width is 'For how long one segment is written, before the next one is.';
comment on column postrider.ring.keep is 'Events and attempts are kept for so long at least.';
comment on column postrider.ring.keep_dead is 'Dead letters that are older are discarded.';
comment on column postrider.ring.hold is 'A sink that is not active holds the log back for so long; then segments are emptied that it has not passed.';
comment on column postrider.ring.pass_lagging is 'Segments are emptied though an active sink has not passed them. Normally it holds the log back for as long as it takes.';

-- How far events have gone with their segments.
create table postrider.recycled (
  only_one boolean primary key default true check (only_one),
  position bigint  not null default 0
);
insert into postrider.recycled default values;
comment on table postrider.recycled is 'The highest position of an event that has gone with its segment.';

-- Whoever waits for an event of a segment is found by it.
create index deliveries_slot on postrider.deliveries (slot, position);

-- What is done for the whole cluster now and then, and when it was begun last. Each time one relay takes it.
create table postrider.chores (
  name  text        primary key,
  at    timestamptz not null default clock_timestamp(),
  relay uuid        not null
) with (fillfactor = 50);
comment on table postrider.chores is 'What relays do for all of them now and then: when it was begun last, and by whom.';

-- The lanes that still have to carry something out of a segment: the events that are for the lane and that its cursor has not
-- passed, counted up to `enough` (null: all). What a cursor has not passed is found by the index on transactions, and
-- `budget` such events are looked at over all lanes; a lane for which that was not enough to tell counts as one that has
-- something to carry, and `counted_all` is false.
create function postrider.lanes_behind(slot int, enough bigint default 1, budget bigint default 200000)
  returns table (sink text, lane smallint, events bigint, first_position bigint, last_position bigint, counted_all boolean)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as
$$
declare
  look constant bigint := greatest(100, budget / greatest(1, (select count(*) from postrider.lanes)));
  highest bigint;
begin
  execute format('select e.position from postrider.events_%s as e order by e.position desc limit 1', slot) into highest;
  return query execute format($query$
    select c.sink, c.lane, w.events, w.first_position, w.last_position, w.counted_all
    from (
      select c.*, ((c.lane * 256 + c.lanes - 1) / c.lanes)::smallint as first_bucket,
        (((c.lane + 1) * 256 + c.lanes - 1) / c.lanes - 1)::smallint as last_bucket, greatest(c.anchor, c.position) as reached
      from postrider.cursors as c
      where c.anchor < $3
    ) as c
    cross join lateral (
      select count(*) filter (where found.wanted) as events, min(found.position) filter (where found.wanted) as first_position,
        max(found.position) filter (where found.wanted) as last_position, coalesce(bool_and(found.nth < $2), true) as counted_all
      from (
        select e.position, e.nth, e.wanted
        from (
          select l.position, row_number() over () as nth,
            (c.filter is null or l.type ~ c.filter) and (c.tenant is null or coalesce(l.tenant = c.tenant, false)) as wanted
          from (
            (select e.position, e.type, e.tenant from postrider.events_%1$s as e
             where e.xid >= pg_snapshot_xmax(c.seen) and e.position > c.anchor and e.bucket between c.first_bucket and c.last_bucket)
            union all
            (select e.position, e.type, e.tenant from postrider.events_%1$s as e
             where e.xid = any(array(select pg_snapshot_xip(c.seen))) and e.position > c.anchor and e.bucket between c.first_bucket and c.last_bucket)
            union all
            -- The rest of an open window.
            (select e.position, e.type, e.tenant from postrider.events_%1$s as e
             where c.target is not null and c.position < $3
               and e.xid >= pg_snapshot_xmax(c.done) and e.xid < pg_snapshot_xmax(c.target) and e.position > c.reached
               and e.bucket between c.first_bucket and c.last_bucket and pg_visible_in_snapshot(e.xid, c.target))
            union all
            (select e.position, e.type, e.tenant from postrider.events_%1$s as e
             where c.target is not null and c.position < $3
               and e.xid = any(array(select pg_snapshot_xip(c.done))) and e.position > c.reached
               and e.bucket between c.first_bucket and c.last_bucket and pg_visible_in_snapshot(e.xid, c.target))
          ) as l
          limit $2
        ) as e
        where e.wanted or e.nth = $2
        limit $1
      ) as found
    ) as w
    where w.events > 0 or not w.counted_all
    order by c.sink, c.lane
  $query$, slot) using enough, look, highest;
end
$$;

create type postrider.segment as (slot int, state text, why text, oldest timestamptz, newest timestamptz, leaves text[]);

-- How a segment stands:
--   writing     producers write into it now
--   empty
--   young       its newest event is to be kept still
--   waiting     somebody has not passed it; `why` says who
--   recyclable  it can be emptied; `leaves` are the sinks that have not passed it, and are not waited for
--   kept        not one of the ring: what was still needed when its segment was emptied
create function postrider.segment_state(slot int) returns postrider.segment
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  ring constant postrider.ring := (select r from postrider.ring as r);
  segment postrider.segment;
begin
  segment.slot := slot;
  execute format(
    'select coalesce((select e.created_at from postrider.events_%1$s as e order by e.position limit 1), (select a.started_at from postrider.attempts_%1$s as a order by a.position limit 1)),
       coalesce((select e.created_at from postrider.events_%1$s as e order by e.position desc limit 1), (select a.started_at from postrider.attempts_%1$s as a order by a.position desc limit 1))',
    case slot when -1 then 'kept' else slot::text end)
  into segment.oldest, segment.newest;

  if slot = -1 then
    segment.state := 'kept';
  elsif slot = postrider.current_slot() then
    segment.state := 'writing';
  elsif segment.newest is null then
    segment.state := 'empty';
    segment.why := case when slot >= ring.slots then 'the ring has fewer segments now: this one will be dropped' end;
  elsif segment.newest > clock_timestamp() - ring.keep then
    segment.state := 'young';
    segment.why := format('it is kept until %s', date_trunc('second', segment.newest + ring.keep));
  elsif postrider.is_moved() then
    segment.state := 'waiting';
    segment.why := 'this database was restored from elsewhere, and its cursors have not been anchored yet';
  else
    with behind as (
      select b.sink, s.state <> 'active' as resting, s.state, s.state_since + ring.hold as held_until, array_agg(b.lane order by b.lane) as lanes,
        bool_or(c.relay is null or c.leased_until < clock_timestamp()) as idle
      from postrider.lanes_behind(segment_state.slot) as b
      join postrider.sinks as s on s.name = b.sink
      join postrider.lanes as c on c.sink = b.sink and c.lane = b.lane
      group by b.sink, s.state, s.state_since
    ), judged as (
      select b.*, case when b.resting then b.held_until <= clock_timestamp() else ring.pass_lagging end as leave from behind as b
    ), named as (
      select row_number() over (order by j.resting, j.sink) as nth, count(*) over () as all_of_them,
        case
          when cardinality(j.lanes) = 1 then format('lane %s of %s has not passed it', j.lanes[1], j.sink)
          when cardinality(j.lanes) <= 4 then format('lanes %s of %s have not passed it', array_to_string(j.lanes, ', '), j.sink)
          else format('%s lanes of %s have not passed it', cardinality(j.lanes), j.sink)
        end
        || case
          when j.resting then format(': the sink is %s, and is left behind at %s', j.state, date_trunc('second', j.held_until))
          when j.idle then ', and no relay carries ' || case cardinality(j.lanes) when 1 then 'it' else 'all of them' end
          else '' end as words
      from judged as j where not j.leave
    )
    select string_agg(n.words, '; ' order by n.nth) filter (where n.nth <= 3)
        || case when max(n.all_of_them) > 3 then format('; and %s more sinks', max(n.all_of_them) - 3) else '' end,
      (select array_agg(j.sink order by j.sink) from judged as j where j.leave)
    into segment.why, segment.leaves
    from named as n;
    segment.state := case when segment.why is null then 'recyclable' else 'waiting' end;
  end if;
  return segment;
exception when undefined_table then
  return null; -- it was dropped just now
end
$$;

-- The segments of the log. `rows` is an estimate; `bytes` are those of events, attempts and appends with their indexes.
create view postrider.segments as
select s.slot, s.state, s.why, s.oldest, s.newest, r.width,
  pg_stat_get_live_tuples(e.oid) as rows, pg_total_relation_size(e.oid) + pg_total_relation_size(a.oid) + pg_total_relation_size(p.oid) as bytes
from pg_inherits as i
join pg_class as e on e.oid = i.inhrelid
join pg_class as a on a.relnamespace = e.relnamespace and a.relname = 'attempts' || substring(e.relname from '_[^_]+$')
join pg_class as p on p.relnamespace = e.relnamespace and p.relname = 'appends' || substring(e.relname from '_[^_]+$')
cross join postrider.ring as r
cross join lateral postrider.segment_state(case e.relname when 'events_kept' then -1 else substring(e.relname from '\d+$')::int end) as s
where i.inhparent = 'postrider.events'::regclass and s.state is not null;

-- Moves the events of a segment that rows of deliveries still need, with their attempts, to where no segment is emptied:
-- `at_most` of them, the earliest first. Returns how many. All rows of an event go with it, so that an event and its
-- deliveries are never seen apart.
create function postrider.keep_needed(slot int, at_most int) returns int
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as
$$
declare
  needed bigint[];
  relation text;
  copied text;
begin
  select array_agg(n.position) into needed
  from (
    select distinct d.position from postrider.deliveries as d where d.slot = keep_needed.slot order by d.position limit at_most
  ) as n;
  if needed is null then
    return 0;
  end if;
  update postrider.deliveries as d set slot = -1 where d.slot = keep_needed.slot and d.position = any(needed);
  foreach relation in array array['events', 'attempts'] loop
    -- Whatever columns there are.
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into copied
    from pg_attribute as a
    where a.attrelid = ('postrider.' || relation)::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attname <> 'slot';
    execute format(
      'with moved as (delete from postrider.%1$s_%2$s where position = any($1) returning *)
       insert into postrider.%1$s_kept (slot, %3$s) overriding system value select -1, %3$s from moved',
      relation, slot, copied) using needed;
  end loop;
  return cardinality(needed);
end
$$;

-- result: recycled; dropped (an empty segment that the ring has no longer); kept (many events had to be kept: so many were
-- moved now, call again); or the state of a segment that cannot be emptied, with the reason in `why`.
create type postrider.recycling as (slot int, result text, why text, kept int, left_behind jsonb);

-- Empties a segment that every lane has passed. Sinks that are not waited for any longer are left behind, with a record of
-- what they lose. Nobody waits for a lock of this function for more than a tenth of a second.
create function postrider.recycle_segment(slot int) returns postrider.recycling
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as
$$
declare
  ring constant postrider.ring := (select r from postrider.ring as r);
  -- So many are moved in a transaction, and in the moment in which readers wait.
  at_most constant int := 500;
  segment postrider.segment;
  answer postrider.recycling;
  moved int;
  resting text;
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'invalid_transaction_state',
      message = 'a segment can be recycled in READ COMMITTED transactions only, this one is ' || upper(current_setting('transaction_isolation')),
      hint = 'begin isolation level read committed';
  end if;
  answer.slot := slot;
  answer.kept := 0;
  segment := postrider.segment_state(slot);
  if segment.state = 'empty' and slot >= ring.slots then
    return postrider.drop_segment(slot);
  end if;
  if segment.state <> 'recyclable' then
    answer.result := segment.state;
    answer.why := segment.why;
    return answer;
  end if;

  begin
    -- Whoever has written here and has not ended yet is found out; whoever comes later waits for the end of this, and then
    -- writes into an empty segment. Readers go on. So from here on what is in the segment stays the same, and cursors only
    -- move forward: what is true now stays true.
    execute format('lock table postrider.events_%s in share row exclusive mode', slot);
    segment := postrider.segment_state(slot);
    if segment.leaves is not null then
      -- None of them can be resumed in this moment, nor settle anything more by its old cursor.
      perform from postrider.sinks as s where s.name = any(segment.leaves) order by s.name for share nowait;
      foreach resting in array segment.leaves loop
        perform postrider.fence_off(resting);
      end loop;
      segment := postrider.segment_state(slot);
    end if;
    if segment.state <> 'recyclable' then
      answer.result := segment.state;
      answer.why := segment.why;
      return answer;
    end if;

    moved := postrider.keep_needed(slot, at_most);
    answer.kept := moved;
    if moved < at_most then
      if segment.leaves is not null then
        answer.left_behind := postrider.leave_behind(slot, segment);
      end if;
      -- Now readers wait too.
      execute format('lock table postrider.events_%1$s, postrider.attempts_%1$s, postrider.appends_%1$s in access exclusive mode', slot);
      moved := postrider.keep_needed(slot, at_most); -- what has come to be needed meanwhile
      answer.kept := answer.kept + moved;
    end if;
    if moved = at_most then
      -- With what was recorded of sinks left behind: when the rest follows, that is counted again.
      if answer.left_behind is not null then
        raise lock_not_available;
      end if;
      answer.result := 'kept';
      return answer;
    end if;
    execute format(
      'update postrider.recycled set position = greatest(position, (select e.position from postrider.events_%1$s as e order by e.position desc limit 1))', slot);
    execute format('truncate postrider.events_%1$s, postrider.attempts_%1$s, postrider.appends_%1$s', slot);
    answer.result := 'recycled';
    return answer;
  exception when lock_not_available or deadlock_detected then
    answer.result := 'waiting';
    answer.why := 'a lock was not free';
    answer.kept := 0;
    answer.left_behind := null;
    return answer;
  end;
end
$$;

-- Records what sinks lose with a segment that they have not passed; null when it turns out to be nothing.
create function postrider.leave_behind(slot int, segment postrider.segment) returns jsonb
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  losses jsonb;
begin
  with lost as (
    select b.sink, s.state, s.state_since, array_agg(b.lane order by b.lane) as lanes, sum(b.events)::bigint as events,
      min(b.first_position) as first_position, max(b.last_position) as last_position, bool_and(b.counted_all) as counted_all
    from postrider.lanes_behind(leave_behind.slot, null, 4000000) as b
    join postrider.sinks as s on s.name = b.sink
    where b.sink = any(segment.leaves)
    group by b.sink, s.state, s.state_since
  ), recorded as (
    insert into postrider.actions (actor, action, sink, reason, detail)
    select 'postrider', 'left_behind', l.sink,
      case l.state when 'active' then 'it lags, and pass_lagging is set' else format('it is %s since %s', l.state, date_trunc('second', l.state_since)) end,
      jsonb_build_object('slot', leave_behind.slot, 'lanes', l.lanes, 'events', l.events, 'counted_all', l.counted_all,
        'first_position', l.first_position, 'last_position', l.last_position, 'oldest', segment.oldest, 'newest', segment.newest)
    from lost as l
    order by l.sink
    returning sink, detail
  )
  select jsonb_agg(jsonb_build_object('sink', r.sink) || r.detail order by r.sink) into losses from recorded as r;
  return losses;
end
$$;

-- Drops a segment that the ring has no longer and that is empty. This alone needs the whole log for a moment: it is
-- tried for 20 ms, while producers wait, and given up.
create function postrider.drop_segment(slot int) returns postrider.recycling
  language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '20ms' as
$$
declare
  answer postrider.recycling;
begin
  answer.slot := slot;
  answer.kept := 0;
  -- Nobody may cut the ring at this moment, so that it has it again, nor have the log in hand and still write by an old cut.
  if not pg_try_advisory_xact_lock(postrider.ring_lock()) or slot < (select r.slots from postrider.ring as r) then
    answer.result := 'waiting';
    answer.why := 'the ring is being changed';
    return answer;
  end if;
  lock table only postrider.events, only postrider.attempts, only postrider.appends in access exclusive mode;
  answer.result := (postrider.segment_state(slot)).state;
  if answer.result = 'empty' then
    execute format('drop table postrider.events_%1$s, postrider.attempts_%1$s, postrider.appends_%1$s', slot);
    answer.result := 'dropped';
  end if;
  return answer;
exception when lock_not_available or deadlock_detected then
  answer.result := 'waiting';
  answer.why := 'a lock was not free';
  return answer;
end
$$;

-- Recycles the segment that has been due for the longest time; null when none is. To be called again after `kept`.
create function postrider.recycle_next() returns postrider.recycling
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  due int;
begin
  select s.slot into due from postrider.segments as s
  where s.state = 'recyclable' or (s.state = 'empty' and s.why is not null)
  order by s.newest limit 1;
  return case when due is not null then postrider.recycle_segment(due) end;
end
$$;

-- Kept events go when no delivery needs them, and their last attempt is old enough. Looks at `look` of them, from a
-- position on; returns where to go on (0: from the start again) and how many have gone.
create function postrider.forget_kept(after bigint default 0, look int default 5000, out reached bigint, out forgotten int)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off set lock_timeout = '100ms' as
$$
declare
  kept_since constant timestamptz := clock_timestamp() - (select r.keep from postrider.ring as r);
  looked_at int;
  needless bigint[];
begin
  forgotten := 0;
  select count(*), max(l.position), array_agg(l.position) filter (where not l.needed) into looked_at, reached, needless
  from (
    select e.position, postrider.is_needed(e.position, kept_since) as needed
    from postrider.events_kept as e where e.position > forget_kept.after order by e.position limit look
  ) as l;
  if looked_at < look then
    reached := 0;
  end if;
  if needless is null then
    return;
  end if;
  -- Somebody may be about to send one of them again: who reads here has ended, and who comes now finds it gone.
  lock table postrider.events_kept, postrider.attempts_kept, postrider.appends_kept in access exclusive mode;
  needless := array(select p from unnest(needless) as p where not postrider.is_needed(p, kept_since));
  delete from postrider.events_kept as e where e.position = any(needless);
  get diagnostics forgotten = row_count;
  delete from postrider.attempts_kept as a where a.position = any(needless);
  delete from postrider.appends_kept as a where not exists (select from postrider.events_kept as e where e.position = any(a.positions));
end
$$;

create function postrider.is_needed("position" bigint, kept_since timestamptz) returns boolean
  language sql stable
  return exists (select from postrider.deliveries as d where d.slot = -1 and d.position = is_needed.position)
    or exists (select from postrider.attempts_kept as a where a.position = is_needed.position and a.started_at > kept_since);

-- Discards dead letters that are older than the ring keeps them: those of one lane at a time. Returns how many.
create function postrider.discard_old(at_most int default 500) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as
$$
declare
  keep_dead constant interval := (select r.keep_dead from postrider.ring as r);
  old_before constant timestamptz := clock_timestamp() - keep_dead;
  why constant text := format('dead for more than %s', keep_dead);
  oldest record;
  discarded int;
  keys text[];
begin
  select d.sink, d.lane into oldest from postrider.deliveries as d
  where d.state = 'dead' and d.since < old_before order by d.since, d.position limit 1;
  if not found then
    return 0;
  end if;
  perform postrider.lock_trouble(oldest.sink, oldest.lane);
  with gone as (
    delete from postrider.deliveries as d
    using (
      select o.sink, o.position from postrider.deliveries as o
      where o.sink = oldest.sink and o.lane = oldest.lane and o.state = 'dead' and o.since < old_before
      order by o.since limit at_most
    ) as o
    where d.sink = o.sink and d.position = o.position
    returning d.*
  ), audit as (
    insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
    select g.sink, g.position, g.slot, g.event_id, g.attempts, 'discarded', clock_timestamp(), 0, jsonb_build_object('actor', 'postrider', 'reason', why)
    from gone as g
  )
  select count(*), array_agg(distinct g.key) filter (where g.key is not null) into discarded, keys from gone as g;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values ('postrider', 'discarded', oldest.sink, why, jsonb_build_object('lane', oldest.lane, 'events', discarded));
  if keys is not null then
    perform postrider.release_heads(oldest.sink, keys);
    notify postrider, 'due';
  end if;
  return discarded;
end
$$;

-- Records of actions are kept for a year. Returns how many have gone.
create function postrider.forget_actions(at_most int default 5000) returns int
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  forgotten int;
begin
  delete from postrider.actions as a
  using (
    select o.id from (select * from postrider.actions order by id limit at_most) as o where o.at < clock_timestamp() - interval '1 year'
  ) as o
  where a.id = o.id;
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- Held by whoever adds or drops segments.
create function postrider.ring_lock() returns bigint
  language sql immutable
  return hashtextextended('postrider.ring', 0);

-- The statements that cut the ring anew; none when it is so already. What is null stays as it is. No statement makes a
-- producer wait: partitions are made beside the log and attached to it, and a function is replaced. This second step must
-- follow in a transaction of its own, or a session might hear of the new cut before it hears of its partitions.
create function postrider.plan_segments(
  slots int default null, width interval default null, keep interval default null, keep_dead interval default null,
  hold interval default null, pass_lagging boolean default null
) returns table (step int, statement text)
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  was constant postrider.ring := (select r from postrider.ring as r);
  will postrider.ring := was;
  parent record;
  partition text;
begin
  will.slots := coalesce(plan_segments.slots, was.slots);
  will.width := coalesce(plan_segments.width, was.width);
  will.keep := coalesce(plan_segments.keep, was.keep);
  will.keep_dead := coalesce(plan_segments.keep_dead, was.keep_dead);
  will.hold := coalesce(plan_segments.hold, was.hold);
  will.pass_lagging := coalesce(plan_segments.pass_lagging, was.pass_lagging);
  if will = was then
    return;
  end if;
  step := 1;
  for slot in 0 .. will.slots - 1 loop
    for parent in
      select c.relname as name, c.relowner as owner from pg_class as c
      where c.oid in ('postrider.events'::regclass, 'postrider.attempts'::regclass, 'postrider.appends'::regclass) order by c.relname desc
    loop
      partition := format('postrider.%s_%s', parent.name, slot);
      continue when to_regclass(partition) is not null;
      statement := format('create table %s (like postrider.%s including all excluding identity excluding comments)', partition, parent.name);
      return next;
      if parent.owner::regrole <> current_user::regrole then
        statement := format('alter table %s owner to %s', partition, parent.owner::regrole);
        return next;
      end if;
      return query
        select 1, format('grant %s on %s to %s', string_agg(a.privilege_type, ', ' order by a.privilege_type), partition,
          case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
        from pg_class as c cross join aclexplode(c.relacl) as a
        where c.oid = format('postrider.%s_0', parent.name)::regclass and a.grantee <> c.relowner
        group by a.grantee
        order by a.grantee;
      statement := format('alter table postrider.%s attach partition %s for values in (%s)', parent.name, partition, slot);
      return next;
    end loop;
  end loop;
  step := 2;
  if (will.slots, will.width) <> (was.slots, was.width) then
    statement := format(
      'create or replace function postrider.current_slot() returns smallint language sql volatile parallel safe '
      'return ((extract(epoch from clock_timestamp())::bigint / %s) %% %s)::smallint',
      extract(epoch from will.width)::bigint, will.slots);
    return next;
  end if;
  statement := format('update postrider.ring set slots = %s, width = %L, keep = %L, keep_dead = %L, hold = %L, pass_lagging = %L',
    will.slots, will.width, will.keep, will.keep_dead, will.hold, will.pass_lagging);
  return next;
end
$$;

-- Raises 22023 for a ring that makes no sense. What is null stays as it is.
create function postrider.check_segments(
  slots int default null, width interval default null, keep interval default null, keep_dead interval default null, hold interval default null
) returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  was constant postrider.ring := (select r from postrider.ring as r);
  new_slots constant int := coalesce(slots, was.slots);
  new_width constant interval := coalesce(width, was.width);
  new_keep constant interval := coalesce(keep, was.keep);
  fault constant text[] := case
    when new_slots not between 3 and 64 then array[format('%s segments: give 3 to 64', new_slots), 'One is written, one is emptied, the others are kept.']
    when new_width not between '10 seconds' and '31 days' or extract(epoch from new_width) % 1 <> 0
      then array[format('a width of %s: give whole seconds, from 10 seconds to 31 days', new_width), 'A segment is written for so long.']
    when new_keep <= '0' or new_keep > (new_slots - 2) * new_width
      then array[format('events cannot be kept for %s in %s segments of %s: give more than nothing, and %s at most', new_keep, new_slots, new_width, (new_slots - 2) * new_width),
        'Of the others one is being written, and one is time to empty the oldest.']
    when keep_dead <= '0' then array[format('dead letters are kept for %s: give more than nothing', keep_dead), '']
    when hold < '0' then array[format('the log is held back for %s: give 0 or more', hold), '']
  end;
begin
  if fault is not null then
    raise exception using errcode = 'invalid_parameter_value', message = fault[1], hint = fault[2];
  end if;
end
$$;

-- Cuts the ring anew while everything runs. Segments that are too many are emptied as any other, and dropped when they are
-- empty. To be called by the owner of the tables, as migrations are, and outside of a transaction, because it takes two.
create procedure postrider.set_segments(
  slots int default null, width interval default null, keep interval default null, keep_dead interval default null,
  hold interval default null, pass_lagging boolean default null, reason text default null, actor text default current_user
)
  language plpgsql as
$$
declare
  was postrider.ring;
  planned record;
  last_step int;
begin
  for try in 1 .. 5 loop
    perform set_config('lock_timeout', '5s', true);
    perform pg_advisory_xact_lock(postrider.ring_lock());
    perform postrider.check_segments(set_segments.slots, set_segments.width, set_segments.keep, set_segments.keep_dead, set_segments.hold);
    select * into strict was from postrider.ring;
    last_step := null;
    for planned in
      select * from postrider.plan_segments(set_segments.slots, set_segments.width, set_segments.keep, set_segments.keep_dead, set_segments.hold, set_segments.pass_lagging)
    loop
      exit when planned.step > last_step;
      execute planned.statement;
      last_step := planned.step;
    end loop;
    if last_step = 2 then
      insert into postrider.actions (actor, action, reason, detail)
      select set_segments.actor, 'ring_changed', set_segments.reason, jsonb_build_object('from', to_jsonb(was) - 'only_one', 'to', to_jsonb(r) - 'only_one')
      from postrider.ring as r;
    end if;
    commit;
    exit when last_step is distinct from 1;
  end loop;
end
$$;
-- 0011_views.sql revokes functions only.
revoke execute on procedure postrider.set_segments from public;
