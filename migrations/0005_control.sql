-- How a sink is steered: by operators (pause, resume, limits), and by what its destination shows (the circuit).
-- Relays read this with every beat, and at once when they are told.

create table postrider.circuits (
  sink          text        primary key references postrider.sinks on delete cascade,
  state         text        not null default 'closed' constraint circuits_state check (state in ('closed', 'open', 'half_open')),
  trips         int         not null default 0,
  opened_at     timestamptz,
  until         timestamptz,
  prober        uuid,
  error_code    text,
  error         text,
  quiet_until   timestamptz,
  failing_since timestamptz,
  failures      int         not null default 0,
  gone_at       timestamptz,
  told          int         not null default 0,
  changed_at    timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
comment on table postrider.circuits is 'One row for each sink whose destination was ever in trouble; shared by all relays. Written when something changes, never per event.';
comment on column postrider.circuits.state is 'closed: events flow. open: nothing is sent until the time in until. half_open: one relay sends one real event to see.';
comment on column postrider.circuits.trips is 'Times it has opened since it was last closed; each doubles the time it stays open.';
comment on column postrider.circuits.until is 'open: when it may be probed; half_open: when the right of the probing relay ends.';
comment on column postrider.circuits.quiet_until is 'The destination asked for a pause until then.';
comment on column postrider.circuits.failing_since is 'No success since then, and failures instead.';
comment on column postrider.circuits.gone_at is 'The destination has said once that it is gone; when it says so again, the sink is.';
comment on column postrider.circuits.told is 'Notices about this failing that have gone out.';

-- Tells every relay to look at once.
create function postrider.tell_relays() returns void
  language plpgsql volatile as
$$
begin
  notify postrider, 'sinks';
end
$$;

-- One door for every change of state, with its record. Returns the new state; null for a sink that is not there.
create function postrider.set_state(sink text, state text, reason text, actor text, until timestamptz default null) returns text
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  was text;
begin
  select s.state into was from postrider.sinks as s where s.name = set_state.sink for update;
  if not found then
    return null;
  end if;
  update postrider.sinks as s
  set state = set_state.state, state_since = case when s.state = set_state.state then s.state_since else clock_timestamp() end,
    state_until = set_state.until, state_by = actor, state_reason = reason, changed_at = clock_timestamp()
  where s.name = set_state.sink;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (set_state.actor, case set_state.state when 'active' then 'resumed' else set_state.state end, set_state.sink, set_state.reason,
    jsonb_strip_nulls(jsonb_build_object('from', was, 'until', set_state.until)));
  if set_state.state in ('disabled', 'gone') and set_state.state <> was then
    perform postrider.tell_endpoint(sink, state, reason, actor);
  end if;
  perform postrider.tell_relays();
  return set_state.state;
end
$$;

-- Opens the circuit, or keeps it open after a probe that failed: for base_ms, twice as long each time, up to most_ms, and
-- up to a fifth longer at random. One that another relay has opened meanwhile stays as it is. Returns the circuit.
create function postrider.open_circuit(sink text, relay uuid, base_ms float8, most_ms float8, error_code text, error text, failures int)
  returns postrider.circuits
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  now constant timestamptz := clock_timestamp();
  circuit postrider.circuits;
begin
  insert into postrider.circuits (sink) values (open_circuit.sink) on conflict do nothing;
  select * into circuit from postrider.circuits as c where c.sink = open_circuit.sink for update;
  if circuit.state = 'closed' or (circuit.state = 'half_open' and (circuit.prober = relay or circuit.until < now)) then
    update postrider.circuits as c
    set state = 'open', trips = least(c.trips + 1, 1000), opened_at = case c.state when 'closed' then now else c.opened_at end,
      until = now + least(base_ms * power(2, least(c.trips, 30)), most_ms) * (1 + random() / 5) * interval '1 millisecond',
      prober = null, error_code = open_circuit.error_code, error = open_circuit.error,
      failing_since = coalesce(c.failing_since, now), failures = c.failures + open_circuit.failures, changed_at = now
    where c.sink = open_circuit.sink returning * into circuit;
    perform postrider.tell_relays();
  end if;
  return circuit;
end
$$;

-- Whether this relay may send one real event to see; for others the circuit stays as it is until that right ends.
create function postrider.half_open_circuit(sink text, relay uuid, ms float8) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  update postrider.circuits as c
  set state = 'half_open', prober = relay, until = clock_timestamp() + ms * interval '1 millisecond', changed_at = clock_timestamp()
  where c.sink = half_open_circuit.sink and c.state in ('open', 'half_open') and c.until <= clock_timestamp();
  return found;
end
$$;

-- The destination has taken an event.
create function postrider.close_circuit(sink text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  was postrider.circuits;
begin
  select * into was from postrider.circuits as c
  where c.sink = close_circuit.sink and (c.state <> 'closed' or c.failing_since is not null or c.gone_at is not null)
  for update;
  if not found then
    return;
  end if;
  if was.told > 0 then
    perform postrider.tell_endpoint(sink, 'recovered');
  end if;
  update postrider.circuits as c
  set state = 'closed', trips = 0, opened_at = null, until = null, prober = null, error_code = null, error = null,
    failing_since = null, failures = 0, gone_at = null, told = 0, changed_at = clock_timestamp()
  where c.sink = close_circuit.sink;
  perform postrider.tell_relays();
end
$$;

-- The destination asked for a pause.
create function postrider.quiet_sink(sink text, ms float8) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  insert into postrider.circuits as c (sink, quiet_until)
  values (quiet_sink.sink, clock_timestamp() + ms * interval '1 millisecond')
  on conflict on constraint circuits_pkey do update set quiet_until = excluded.quiet_until, changed_at = clock_timestamp()
  where c.quiet_until is null or c.quiet_until < excluded.quiet_until - interval '500 milliseconds';
  if found then
    perform postrider.tell_relays();
  end if;
end
$$;

-- The destination says that it is gone. It may be the mistake of a proxy, so the circuit opens for recheck_ms, and when the
-- probe hears the same the sink is gone: an operator has to resume it. Returns the state of the sink.
create function postrider.gone_sink(sink text, relay uuid, recheck_ms float8, error text) returns text
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  circuit postrider.circuits;
begin
  insert into postrider.circuits (sink) values (gone_sink.sink) on conflict do nothing;
  select * into circuit from postrider.circuits as c where c.sink = gone_sink.sink for update;
  if circuit.gone_at is null then
    update postrider.circuits as c
    set state = 'open', trips = least(c.trips + 1, 1000), opened_at = coalesce(c.opened_at, clock_timestamp()), prober = null,
      until = clock_timestamp() + recheck_ms * interval '1 millisecond', error_code = 'gone', error = gone_sink.error,
      failing_since = coalesce(c.failing_since, clock_timestamp()), failures = c.failures + 1,
      gone_at = clock_timestamp(), changed_at = clock_timestamp()
    where c.sink = gone_sink.sink;
    perform postrider.tell_relays();
    return 'active';
  end if;
  if circuit.state = 'open' then
    return 'active'; -- it was in flight already when the first was heard
  end if;
  return postrider.set_state(sink, 'gone', 'the destination says that it is gone: ' || gone_sink.error, 'postrider');
end
$$;

-- Nothing more is sent to a sink until it is resumed, or for a time. Its cursor stands still: nothing is lost or written.
-- For a sink that fans out, all its endpoints that are active. Returns how many were paused.
create function postrider.pause(sink text, reason text, "for" interval default null, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  return (
    select count(postrider.set_state(s.name, 'paused', pause.reason, pause.actor, clock_timestamp() + pause."for"))
    from postrider.sinks as s
    where (s.name = pause.sink and not s.fans_out and s.state in ('active', 'paused')) or (s.family = pause.sink and s.state = 'active'));
end
$$;

-- A sink that is paused, disabled or gone goes on: with all that has come meanwhile, with what was written at or after
-- `since`, or with `since => 'infinity'` from now on. What is left out was not delivered, and the record says how far that
-- reaches; a replay can still send it. For a sink that fans out, all its paused endpoints. Returns how many were resumed.
create function postrider.resume(sink text, reason text default null, since timestamptz default '-infinity', actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  one postrider.sinks;
  resumed int := 0;
begin
  for one in
    select * from postrider.sinks as s
    where (s.name = resume.sink and not s.fans_out and s.state <> 'active') or (s.family = resume.sink and s.state = 'paused')
    order by s.name
  loop
    -- In the order in which they are locked everywhere.
    perform from postrider.circuits as c where c.sink = one.name for update;
    perform from postrider.sinks as s where s.name = one.name for update;
    if since > '-infinity' then
      perform postrider.leave_out(one.name, since, resume.reason, resume.actor);
    end if;
    -- Nobody has seen that it works again, so nobody is told so.
    update postrider.circuits as c set told = 0 where c.sink = one.name;
    perform postrider.close_circuit(one.name);
    perform postrider.set_state(one.name, 'active', resume.reason, resume.actor);
    resumed := resumed + 1;
  end loop;
  return resumed;
end
$$;

-- Takes the lanes of a sink from whoever has them: the next settle by an old cursor collides, and nothing of it is written.
create function postrider.fence_off(sink text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  nr smallint;
begin
  update postrider.lanes as l set relay = null, leased_until = '-infinity', doubt_until = (select max(e.position) from postrider.events as e)
  where l.sink = fence_off.sink;
  for nr in select l.lane from postrider.lanes as l where l.sink = fence_off.sink order by l.lane loop
    for try in 1 .. 20 loop
      begin
        insert into postrider.checkpoints (sink, lane, fence, done, target, position, horizon)
        select k.sink, k.lane, k.fence + 1, k.done, k.target, k.position, k.horizon
        from postrider.checkpoints as k where k.sink = fence_off.sink and k.lane = nr order by k.fence desc limit 1;
        exit;
      exception when unique_violation then
        -- A settle that was under way has come first, and counts.
        if try = 20 then
          raise;
        end if;
      end;
    end loop;
  end loop;
end
$$;

-- The cursor of a sink passes what was written before a time ('infinity': all there is). Deliveries in trouble stay.
create function postrider.leave_out(sink text, before timestamptz, reason text, actor text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  first_kept constant bigint := case when before < 'infinity' then postrider.position_at(before) end;
  up_to constant bigint := coalesce(first_kept - 1, (select max(e.position) from postrider.events as e), 0);
begin
  perform postrider.fence_off(sink);
  -- With where each lane stood, so that of every event it can be told whether it was left out or delivered before.
  insert into postrider.actions (actor, action, sink, reason, detail)
  select leave_out.actor, 'left_out', leave_out.sink, leave_out.reason, jsonb_build_object(
    'before', leave_out.before, 'up_to_position', up_to,
    'cursors', jsonb_object_agg(l.lane, jsonb_build_object('done', c.done, 'target', c.target, 'position', c.position, 'anchor', l.anchor)))
  from postrider.lanes as l
  cross join lateral (
    select * from postrider.checkpoints as k where k.sink = l.sink and k.lane = l.lane order by k.fence desc limit 1
  ) as c
  where l.sink = leave_out.sink;
  update postrider.lanes as l set anchor = greatest(l.anchor, up_to) where l.sink = leave_out.sink;
end
$$;

-- Limits that hold at once, in place of those configured; null is as configured, rate => 'infinity' no limit at all.
create function postrider.set_limits(sink text, concurrency int, rate real, reason text default null, actor text default current_user) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  update postrider.sinks as s
  set live_concurrency = set_limits.concurrency, live_rate = set_limits.rate, changed_at = clock_timestamp()
  where s.name = set_limits.sink and not s.fans_out;
  if not found then
    return false;
  end if;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (set_limits.actor, 'limited', set_limits.sink, set_limits.reason,
    jsonb_build_object('concurrency', set_limits.concurrency, 'rate', set_limits.rate::text));
  perform postrider.tell_relays();
  return true;
end
$$;

-- Pauses whose time is over end. Relays ask for this now and then.
create function postrider.end_pauses() returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  -- Locked first: an operator may prolong the pause at this moment, and another relay may ask too.
  perform postrider.set_state(over.name, 'active', 'the time of the pause is over', 'postrider')
  from (
    select s.name from postrider.sinks as s
    where s.state = 'paused' and s.state_until <= clock_timestamp()
    for update skip locked
  ) as over;
end
$$;

-- Nobody changes what waits at a sink until this transaction ends: to be called first by whoever removes it.
create function postrider.lock_for_removal(sink text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  -- One that fans out has no lane, and is to be removed in READ COMMITTED too.
  perform postrider.lock_trouble(sink, 0::smallint);
  perform postrider.lock_trouble(l.sink, l.lane) from (select * from postrider.lanes as l where l.sink = lock_for_removal.sink order by l.lane) as l;
  perform from postrider.circuits as c where c.sink = lock_for_removal.sink for update;
end
$$;

-- A sink goes, with its cursor and with all that waits there; attempts and the record of what was done stay. It is locked already. Returns how many deliveries were waiting as rows (what lay between its cursor and the end of the log
-- never was one).
create function postrider.drop_sink(sink text, reason text, actor text, detail jsonb default '{}') returns bigint
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  dropped bigint;
begin
  -- The newest checkpoints stay for a while: at them a relay that still carries a lane fails with all that it would write.
  perform postrider.fence_off(sink);
  delete from postrider.checkpoints as c
  where c.sink = drop_sink.sink
    and exists (select from postrider.checkpoints as newer where newer.sink = c.sink and newer.lane = c.lane and newer.fence > c.fence);
  delete from postrider.checkpoints as c
  where c.at < clock_timestamp() - interval '1 day' and not exists (select from postrider.lanes as l where l.sink = c.sink and l.lane = c.lane);
  delete from postrider.deliveries as d where d.sink = drop_sink.sink;
  get diagnostics dropped = row_count;
  delete from postrider.sinks as s where s.name = drop_sink.sink;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (drop_sink.actor, 'removed', drop_sink.sink, drop_sink.reason, drop_sink.detail || jsonb_build_object('deliveries', dropped));
  perform postrider.tell_relays();
  return dropped;
end
$$;

create function postrider.refuse_removal(message text, hint text) returns void
  language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
begin
  raise exception using errcode = 'PR007', message = refuse_removal.message, hint = refuse_removal.hint;
end
$$;

-- A sink that no configuration names any more goes, so that it holds nothing back. Returns what drop_sink does; null when there
-- is no such sink (endpoints have remove_endpoint). Raises PR007 while a relay has it, while it has endpoints, and while a cutover
-- needs it: one that is not finished, or one that keeps events from another sink because they go here. With the rights of the owner, so that nobody else has to be able to delete sinks.
create function postrider.remove_sink(sink text, reason text, actor text default current_user) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  of text;
begin
  perform postrider.lock_for_removal(sink);
  perform from postrider.sinks as s where s.name = remove_sink.sink and s.family is null for update;
  if not found then
    return null;
  end if;
  select r.name into of from postrider.relays as r where r.sinks @> array[sink] and r.seen_at > clock_timestamp() - interval '1 minute' limit 1;
  if found then
    perform postrider.refuse_removal(
      format('relay %s has %s in its configuration', of, sink), 'Take it out of there, start the relay again, and ask once more in a minute.');
  end if;
  perform from postrider.lanes as l where l.sink = remove_sink.sink and l.leased_until > clock_timestamp();
  if found then
    perform postrider.refuse_removal(format('%s is carried still', sink), 'Stop the relay that has its lanes, and ask once more.');
  end if;
  select s.name into of from postrider.sinks as s where s.family = remove_sink.sink order by s.name limit 1;
  if found then
    perform postrider.refuse_removal(format('%s has endpoints, such as %s', sink, of), 'Remove them first: postrider endpoints remove.');
  end if;
  select c.id::text into of from postrider.cutovers as c where c.sink = remove_sink.sink and c.state in ('switching', 'switched') limit 1;
  if found then
    perform postrider.refuse_removal(format('cutover %s from %s is not finished', of, sink), 'Finish it, or roll it back: postrider graduate status.');
  end if;
  select c.id::text into of from postrider.cutovers as c where c.to_sink = remove_sink.sink and c.until is null limit 1;
  if found then
    perform postrider.refuse_removal(
      format('cutover %s keeps events from another sink because they go to %s', of, sink), 'Pause it instead, or remove that other sink first.');
  end if;
  return postrider.drop_sink(sink, reason, actor);
end
$$;
