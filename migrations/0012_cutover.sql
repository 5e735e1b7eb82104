-- How a consumer moves from one sink to another, and back. The tables stand in 0009_graduation.sql.

-- Whether some event type is taken by both filters.
create function postrider.filters_overlap(a text, b text) returns boolean
  language plpgsql immutable strict set search_path = pg_catalog, pg_temp as
$$
declare
  of_a constant text[] := string_to_array(a, '.');
  of_b constant text[] := string_to_array(b, '.');
begin
  for nth in 1 .. greatest(cardinality(of_a), cardinality(of_b)) loop
    if of_a[nth] is null or of_b[nth] is null then
      return false;
    elsif of_a[nth] = '**' or of_b[nth] = '**' then
      return true;
    elsif of_a[nth] <> of_b[nth] and of_a[nth] <> '*' and of_b[nth] <> '*' then
      return false;
    end if;
  end loop;
  return true;
end
$$;

create function postrider.refuse_cutover(message text, hint text default '') returns void
  language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
begin
  raise exception using errcode = 'PR006', message = refuse_cutover.message, hint = refuse_cutover.hint;
end
$$;

-- Begins a cutover: what is not committed yet belongs to the consumer's log from here on; what is, the sink still delivers.
-- Raises PR006 when there is no such way.
create function postrider.begin_cutover(sink text, types text[], to_sink text, consumer text, reason text default null, actor text default current_user)
  returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  source postrider.sinks;
  target postrider.sinks;
  other postrider.cutovers;
  begun postrider.cutovers;
begin
  if not coalesce(postrider.are_type_filters(types), false) then
    perform postrider.refuse_cutover('types: give filters on event types, such as order.*');
  end if;
  -- One at a time for a sink.
  select * into source from postrider.sinks as s where s.name = begin_cutover.sink for update;
  select * into target from postrider.sinks as s where s.name = begin_cutover.to_sink;
  if source.name is null or source.fans_out then
    perform postrider.refuse_cutover(format('there is no sink %s', coalesce(sink, 'null')), 'select name from postrider.sinks;');
  elsif target.name is null or target.name = source.name then
    perform postrider.refuse_cutover(format('there is no sink %s to move to', coalesce(to_sink, 'null')), 'Configure it and start a relay first.');
  end if;
  select c.* into other from postrider.cutovers as c
  where c.sink = begin_cutover.sink and c.until is null
    and exists (select from unnest(c.types) as a cross join unnest(begin_cutover.types) as b where postrider.filters_overlap(a, b)) limit 1;
  if found then
    perform postrider.refuse_cutover(
      format('%s of %s has moved to %s already (cutover %s)', other.types, other.sink, other.to_sink, other.id), 'Roll that one back first, or name other types.');
  end if;
  insert into postrider.cutovers (sink, types, to_sink, consumer, after, after_position)
  values (begin_cutover.sink, begin_cutover.types, begin_cutover.to_sink, begin_cutover.consumer, pg_current_snapshot(),
    coalesce((select max(e.position) from postrider.events as e), 0))
  returning * into begun;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (begin_cutover.actor, 'cutover_begun', begin_cutover.sink, begin_cutover.reason,
    jsonb_build_object('cutover', begun.id, 'types', begun.types, 'to_sink', begun.to_sink, 'consumer', begun.consumer, 'after_position', begun.after_position));
  perform postrider.tell_relays();
  return begun;
end
$$;

-- What a sink has still to do of all that was visible in a snapshot (and, if given, of these types): events that its cursors
-- have not passed, at most `look` of them, and rows of deliveries. Transactions that were open then count as well, until they end.
create function postrider.undone_before(sink text, seen pg_snapshot, filter text default null, look bigint default 1000)
  returns table (pending bigint, waiting bigint, dead bigint)
  language sql stable
  begin atomic
    select
      (select count(*) from postrider.look_ahead(undone_before.sink, look) as a
       where a.wanted and pg_visible_in_snapshot(a.xid, seen) and (undone_before.filter is null or a.type ~ undone_before.filter)),
      count(d.position) filter (where d.state <> 'dead'), count(d.position) filter (where d.state = 'dead')
    from postrider.deliveries as d
    join postrider.events as e on e.position = d.position and e.slot = d.slot
    where d.sink = undone_before.sink and d.state <> 'scheduled' and pg_visible_in_snapshot(e.xid, seen)
      and (undone_before.filter is null or e.type ~ undone_before.filter);
  end;

-- What a rollback gives back to a sink: events that were its own no more, and that the consumer has not read where it went.
-- Those stand there from its offsets on, wait there in trouble, or have not got there yet. Positions.
create function postrider.unread_of(cutover postrider.cutovers, consumed jsonb, seen pg_snapshot) returns bigint[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as
$$
begin
  return array(
    with read_to as (
      select t.key as topic, p.key::int as partition, p.value::bigint as next_offset
      from jsonb_each(consumed) as t cross join lateral jsonb_each_text(t.value) as p
    ), partitions as (
      -- With one row before the first that begins beyond: it may reach over it.
      select r.*, coalesce((
        select a.first_offset from postrider.appends as a
        where a.sink = cutover.to_sink and a.topic = r.topic and a.partition = r.partition and a.first_offset <= r.next_offset
        order by a.first_offset desc limit 1), 0) as from_offset
      from read_to as r
    ), unread as (
      select q.position
      from partitions as r
      join postrider.appends as a on a.sink = cutover.to_sink and a.topic = r.topic and a.partition = r.partition and a.first_offset >= r.from_offset
      cross join lateral unnest(a.positions) with ordinality as q (position, nth)
      where a.first_offset + q.nth - 1 >= r.next_offset
      union
      select l.position from postrider.look_ahead(cutover.to_sink, null) as l where l.wanted
      union
      select d.position from postrider.deliveries as d where d.sink = cutover.to_sink
    )
    select u.position
    from unread as u
    cross join lateral (select * from postrider.events as e where e.position = u.position limit 1) as e
    join postrider.sinks as s on s.name = cutover.sink
    where e.type ~ cutover.filter and (s.filter is null or e.type ~ s.filter) and (s.tenant is null or e.tenant = s.tenant)
      and not pg_visible_in_snapshot(e.xid, cutover.after) and pg_visible_in_snapshot(e.xid, seen)
    order by u.position);
end
$$;

create function postrider.open_cutover(id bigint) returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers;
begin
  select * into cutover from postrider.cutovers as c where c.id = open_cutover.id for update;
  if not found then
    perform postrider.refuse_cutover(format('there is no cutover %s', id), 'select * from postrider.cutovers;');
  elsif cutover.state not in ('switching', 'switched') then
    perform postrider.refuse_cutover(format('cutover %s is %s', id, replace(cutover.state, '_', ' ')));
  end if;
  return cutover;
end
$$;

-- The consumer reads from these offsets on.
create function postrider.complete_cutover(id bigint, offsets jsonb, actor text default current_user) returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers := postrider.open_cutover(id);
begin
  update postrider.cutovers as c set state = 'switched', switched_at = clock_timestamp(), offsets = complete_cutover.offsets
  where c.id = cutover.id returning * into cutover;
  insert into postrider.actions (actor, action, sink, detail)
  values (complete_cutover.actor, 'cutover_done', cutover.sink, jsonb_build_object('cutover', cutover.id, 'offsets', cutover.offsets));
  return cutover;
end
$$;

-- Gives a sink back what had moved: what the consumer has not read by the offsets that it has reached (`consumed`, {topic:
-- {partition: offset}}; those it began with where they are missing) becomes rows of deliveries, in order, and what is
-- committed from now on is carried as before. The consumer must have stopped, and the sink must have done all that was its
-- own, or that would be overtaken. Returns the cutover; how many events came back stands in actions.
create function postrider.roll_back_cutover(id bigint, consumed jsonb, reason text default null, actor text default current_user) returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers := postrider.open_cutover(id);
  seen pg_snapshot;
  undone record;
  back bigint[];
  added bigint;
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform postrider.refuse_cutover('a cutover can be rolled back in READ COMMITTED transactions only', 'begin isolation level read committed');
  end if;
  -- Of what was restored nobody can tell any more on which side of the cutover it lay.
  if exists (select from postrider.meta as m where m.restored_position >= cutover.after_position) then
    perform postrider.refuse_cutover(
      format('the database was restored since cutover %s', id),
      'Finish it, replay to the sink what its consumer has not read, and move the consumer by hand.');
  end if;
  perform postrider.lock_trouble(l.sink, l.lane) from (select * from postrider.lanes as l where l.sink = cutover.sink order by l.lane) as l;
  -- No page that was read before this is settled after it: what it left to the consumer would be passed by both.
  perform postrider.fence_off(cutover.sink);
  seen := pg_current_snapshot();
  select * into undone from postrider.undone_before(cutover.sink, cutover.after, cutover.filter);
  if undone.pending > 0 or undone.waiting > 0 then
    perform postrider.refuse_cutover(
      format('%s has not delivered what was its own before the cutover: %s events pending, %s in trouble', cutover.sink, undone.pending, undone.waiting),
      'Wait until it has, or give those up; what moved would overtake them.');
  end if;
  back := postrider.unread_of(cutover, coalesce(cutover.offsets, '{}') || coalesce(consumed, '{}'), seen);
  update postrider.cutovers as c
  set state = 'rolled_back', ended_at = clock_timestamp(), until = seen,
    until_position = coalesce((select max(e.position) from postrider.events as e), 0)
  where c.id = cutover.id returning * into cutover;
  added := postrider.put_aside(cutover.sink, back);
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (roll_back_cutover.actor, 'cutover_rolled_back', cutover.sink, roll_back_cutover.reason,
    jsonb_build_object('cutover', cutover.id, 'consumed', roll_back_cutover.consumed, 'given_back', added));
  perform postrider.tell_relays();
  return cutover;
end
$$;

-- The consumer stays where it went; there is no way back any more.
create function postrider.finish_cutover(id bigint, reason text default null, actor text default current_user) returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers := postrider.open_cutover(id);
begin
  if cutover.state <> 'switched' then
    perform postrider.refuse_cutover(format('cutover %s is not done yet', id));
  end if;
  update postrider.cutovers as c set state = 'finished', ended_at = clock_timestamp() where c.id = cutover.id returning * into cutover;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (finish_cutover.actor, 'cutover_finished', cutover.sink, finish_cutover.reason, jsonb_build_object('cutover', cutover.id));
  return cutover;
end
$$;

revoke execute on all functions in schema postrider from public;
