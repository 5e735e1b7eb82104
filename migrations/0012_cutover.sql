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

-- Whether every event type that the inner filter takes is taken by the outer one.
create function postrider.filter_contains(outer_filter text, inner_filter text) returns boolean
  language plpgsql immutable strict set search_path = pg_catalog, pg_temp as
$$
declare
  o constant text[] := string_to_array(outer_filter, '.');
  i constant text[] := string_to_array(inner_filter, '.');
begin
  for nth in 1 .. greatest(cardinality(o), cardinality(i)) loop
    if o[nth] is null or i[nth] is null then
      return false;
    elsif o[nth] = '**' then
      return true;
    elsif i[nth] = '**' or (o[nth] <> '*' and o[nth] <> i[nth]) then
      return false;
    end if;
  end loop;
  return true;
end
$$;

create function postrider.refuse_cutover(message text, hint text default '', path text default null) returns void
  language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
begin
  raise exception using errcode = 'PR006', message = refuse_cutover.message, hint = refuse_cutover.hint,
    detail = jsonb_strip_nulls(jsonb_build_object('path', refuse_cutover.path));
end
$$;

-- Begins a cutover: what is not committed yet belongs to the consumer's log from here on; what is, the sink still delivers.
-- Raises PR006 when there is no such way: among others when the sink that is moved to does not carry all of that.
create function postrider.begin_cutover(sink text, types text[], to_sink text, consumer text, reason text default null, actor text default current_user)
  returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  source postrider.sinks;
  target postrider.sinks;
  other postrider.cutovers;
  missed text;
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
  if target.fans_out or (target.tenant is not null and target.tenant is distinct from source.tenant) then
    perform postrider.refuse_cutover(format('%s does not carry what %s does: it is for others', to_sink, sink));
  end if;
  select m.filter into missed from unnest(types) as m (filter)
  where target.types is not null and not exists (select from unnest(target.types) as t where postrider.filter_contains(t, m.filter)) limit 1;
  if found then
    perform postrider.refuse_cutover(format('%s carries %s, and not all of %s', to_sink, target.types, missed), 'Name types that it carries, or let it carry more, from the beginning.');
  end if;
  select c.* into other from postrider.cutovers as c
  where c.sink = begin_cutover.sink and c.until is null
    and exists (select from unnest(c.types) as a cross join unnest(begin_cutover.types) as b where postrider.filters_overlap(a, b)) limit 1;
  if found then
    perform postrider.refuse_cutover(
      format('%s of %s has moved to %s already (cutover %s)', other.types, other.sink, other.to_sink, other.id), 'Roll that one back first, or name other types.');
  end if;
  insert into postrider.cutovers (sink, types, to_sink, consumer, after, after_position)
  values (begin_cutover.sink, begin_cutover.types, begin_cutover.to_sink, begin_cutover.consumer, postrider.snapshot_without_own(),
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
-- have not passed, and rows of deliveries. Transactions that were open then count as well, until they end.
create function postrider.undone_before(sink text, seen pg_snapshot, filter text default null, look bigint default null)
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
    ), unread as (
      -- Where it is not known how far it has read, it has read nothing.
      select q.position
      from postrider.appends as a
      left join read_to as r on r.topic = a.topic and r.partition = a.partition
      cross join lateral unnest(a.positions) with ordinality as q (position, nth)
      where a.sink = cutover.to_sink and a.first_offset + cardinality(a.positions) > coalesce(r.next_offset, 0)
        and a.first_offset + q.nth - 1 >= coalesce(r.next_offset, 0)
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

-- Of what was restored nobody can tell any more on which side of the cutover it lay.
create function postrider.refuse_restored(cutover postrider.cutovers) returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
  if exists (select from postrider.meta as m where m.restored_position > 0 and m.restored_position >= cutover.after_position) then
    perform postrider.refuse_cutover(
      format('the database was restored since cutover %s', cutover.id),
      'Finish it, replay to the sink what its consumer has not read, and move the consumer by hand.');
  end if;
end
$$;

-- Whether every living relay that carries the sink knows of a cutover. Rows that one of them has made meanwhile of events that
-- are not the sink's any more go, under the lock of their lanes: the other sink has those events.
create function postrider.is_known_cutover(id bigint) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers := postrider.open_cutover(id);
  begun_by constant xid8 := (select c.begun_by from postrider.cutovers as c where c.id = is_known_cutover.id);
  keys text[];
begin
  perform postrider.refuse_restored(cutover);
  if exists (
    select from postrider.relays as r join postrider.sinks as s on s.name = cutover.sink
    where r.sinks @> array[coalesce(s.family, s.name)] and r.seen_at > clock_timestamp() - interval '1 minute'
      and not pg_visible_in_snapshot(begun_by, r.saw)
  ) then
    return false;
  end if;
  perform postrider.lock_trouble(l.sink, l.lane) from (select * from postrider.lanes as l where l.sink = cutover.sink order by l.lane) as l;
  with moved as (
    delete from postrider.deliveries as d using postrider.events as e
    where d.sink = cutover.sink and e.position = d.position and e.slot = d.slot and d.operation_id is null
      and postrider.cutover_of(cutover.sink, e.type, e.xid) = cutover.id
    returning d.key
  )
  select array_agg(distinct m.key) filter (where m.key is not null) into keys from moved as m;
  if keys is not null then
    perform postrider.release_heads(cutover.sink, keys);
  end if;
  return true;
end
$$;

-- The consumer reads from these offsets on.
create function postrider.complete_cutover(id bigint, offsets jsonb, actor text default current_user) returns postrider.cutovers
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  cutover postrider.cutovers := postrider.open_cutover(id);
begin
  perform postrider.refuse_restored(cutover);
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
  perform postrider.refuse_restored(cutover);
  perform postrider.lock_trouble(l.sink, l.lane) from (select * from postrider.lanes as l where l.sink = cutover.sink order by l.lane) as l;
  -- No page that was read before this is settled after it: what it left to the consumer would be passed by both.
  perform postrider.fence_off(cutover.sink);
  seen := postrider.snapshot_without_own();
  select * into undone from postrider.undone_before(cutover.sink, cutover.after, cutover.filter);
  if undone.pending > 0 or undone.waiting > 0 then
    perform postrider.refuse_cutover(
      format('%s has not delivered what was its own before the cutover: %s events pending, %s in trouble', cutover.sink, undone.pending, undone.waiting),
      'Wait until it has, or give those up; what moved would overtake them.', 'wait');
  end if;
  back := postrider.unread_of(cutover, coalesce(cutover.offsets, '{}') || coalesce(consumed, '{}'), seen);
  -- Other types of the same keys, which the sink has not come to yet.
  if exists (
    select from postrider.look_ahead(cutover.sink, null) as l
    where l.wanted and l.key is not null and pg_visible_in_snapshot(l.xid, seen) and exists (
      select from unnest(back) as b (position) cross join lateral (select e.key from postrider.events as e where e.position = b.position limit 1) as e
      where e.key = l.key and b.position > l.position)
  ) then
    perform postrider.refuse_cutover(
      format('%s has not come up with what is committed: events of other types would be overtaken', cutover.sink), 'Wait until it has.', 'wait');
  end if;
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
