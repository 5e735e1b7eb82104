-- Operations: what an operator does with all that matches a filter (retry, discard, skip, replay). One is a row. Relays work
-- it off in small pieces, each with its progress in one transaction; so it survives whoever works on it, and can be watched
-- and cancelled. What it covers is fixed when it is created, by conditions and not by a list: starting costs the same for
-- one event and for a million.
--
-- A filter is a JSON object. All that it names must hold; an empty one takes everything.
--   sink          name of a sink (of one with endpoints: all of them), or a list
--   type          filter on types as sinks have it (order.*, order.**), or a list
--   key, tenant   of the event
--   state         scheduled, retrying, blocked, dead, or a list
--   since, until  when the event was written: from the one on, before the other; ISO 8601 with zone
--   min_attempts  so many attempts or more
--   error_code    of the last failure
--   fingerprint   of dead letters of one cause
--   ids           list of event ids
--
-- A filter, and whatever else cannot be done, is refused with SQLSTATE PR004 and DETAIL {"path": "since"};
-- {"path": "ids", "unknown": true} when it names what is not there.

create table postrider.operations (
  id               bigint      generated always as identity primary key,
  kind             text        not null constraint operations_kind check (kind in ('retry', 'discard', 'skip', 'replay')),
  state            text        not null default 'pending' constraint operations_state check (state in ('pending', 'running', 'done', 'cancelled', 'failed')),
  filter           jsonb       not null,
  sink             text,
  as_new           boolean     not null default false,
  rate             real        constraint operations_rate check (rate > 0),
  actor            text        not null,
  reason           text,
  frozen_at        timestamptz not null default clock_timestamp(),
  up_to_position   bigint      not null,
  total            bigint      not null default 0,
  counted_all      boolean     not null default true,
  done             bigint      not null default 0,
  skipped          bigint      not null default 0,
  reached_sink     text,
  reached_position bigint,
  waiting          boolean     not null default false,
  tokens           float8      not null default 1,
  error            text,
  created_at       timestamptz not null default clock_timestamp(),
  started_at       timestamptz,
  advanced_at      timestamptz,
  finished_at      timestamptz,
  constraint operations_sink check ((kind = 'replay') = (sink is not null)),
  constraint operations_as_new check (kind = 'replay' or not as_new)
) with (fillfactor = 50);
comment on table postrider.operations is 'What operators do with everything that matches a filter. Relays work it off; postrider.cancel_operation(id) ends it.';
comment on column postrider.operations.sink is 'Of a replay: where the events go once more.';
comment on column postrider.operations.as_new is 'Of a replay: with a new id, so that a receiver does not take them for repeats.';
comment on column postrider.operations.rate is 'Events in a second at most; null is no limit.';
comment on column postrider.operations.frozen_at is 'What has come into its state later is left alone.';
comment on column postrider.operations.up_to_position is 'Later events are left alone.';
comment on column postrider.operations.total is 'What matched at its creation; when counting took too long (counted_all is false), what was counted by then.';
comment on column postrider.operations.skipped is 'Met, and not touched: somebody else was quicker, or a replayed event is on its way to the sink anyway.';
comment on column postrider.operations.reached_position is 'How far it has come, in reached_sink if it covers several; discard and skip go from the newest event to the oldest.';
comment on column postrider.operations.waiting is 'A replay waits until more of its events have been delivered.';
comment on column postrider.operations.tokens is 'Events that the rate allows at advanced_at.';
create index operations_open on postrider.operations (id) where state in ('pending', 'running');

create function postrider.refuse(path text, message text, hint text, unknown boolean default false) returns void
  language plpgsql stable as
$$
begin
  raise exception using
    errcode = 'PR004',
    message = refuse.message,
    detail = jsonb_strip_nulls(jsonb_build_object('path', path, 'unknown', case when unknown then true end)),
    hint = coalesce(refuse.hint, '');
end
$$;

-- A word, or a list of words, as a list.
create function postrider.words_of(value jsonb) returns text[]
  language sql immutable strict
  return case when jsonb_typeof(value) = 'array' then array(select jsonb_array_elements_text(value)) else array[value #>> '{}'] end;

-- Raises PR004 for a filter that is none; with a kind of operation, also for one that it cannot work by.
create function postrider.check_filter(filter jsonb, kind text default null) returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  name text;
  value jsonb;
  form text;
  word text;
  states text[];
begin
  if jsonb_typeof(filter) is distinct from 'object' then
    perform postrider.refuse(null, format('the filter is %s: give an object', coalesce('a JSON ' || jsonb_typeof(filter), 'null')), 'For example {"sink": "billing", "type": "order.**"}; {} takes everything.');
  end if;
  for name, value in select f.key, f.value from jsonb_each(filter) as f loop
    form := jsonb_typeof(value);
    if name not in ('sink', 'type', 'key', 'tenant', 'state', 'since', 'until', 'min_attempts', 'error_code', 'fingerprint', 'ids') then
      perform postrider.refuse(left(name, 128), format('%s is not a name of the filter', left(name, 128)), 'The names are sink, type, key, tenant, state, since, until, min_attempts, error_code, fingerprint, ids.');
    elsif kind = 'replay' and name = 'sink' then
      perform postrider.refuse(name, 'the filter of a replay cannot choose by sink: it takes events of the log', 'The sink that they go to is given beside the filter.');
    elsif kind = 'replay' and name in ('state', 'min_attempts', 'error_code', 'fingerprint') then
      perform postrider.refuse(name, format('the filter of a replay cannot choose by %s: it takes events of the log, whatever has become of them', name), 'Leave it out; to send dead letters again, retry them.');
    elsif name = 'min_attempts' then
      if form <> 'number' or (value #>> '{}') !~ '^[1-9][0-9]{0,8}$' then
        perform postrider.refuse(name, format('min_attempts is %s: give a whole number from 1 on', left(value::text, 40)), 'For example {"min_attempts": 3}.');
      end if;
    elsif name in ('sink', 'type', 'state', 'ids') then
      if form not in ('string', 'array') or (form = 'string' and name = 'ids')
         or exists (select from jsonb_array_elements(case form when 'array' then value else '[]' end) as item where jsonb_typeof(item) <> 'string') then
        perform postrider.refuse(name, format('%s is not %s', name, case name when 'ids' then 'a list of event ids' else 'a string or a list of strings' end), format('For example {"%s": %s}.', name,
          case name when 'sink' then '"billing"' when 'type' then '["order.*", "refund.**"]' when 'state' then '"dead"' else '["0192b0f0-0000-7000-8000-000000000001"]' end));
      elsif value = '[]' then
        perform postrider.refuse(name, format('%s is an empty list, which nothing matches', name), 'Leave it out to take all.');
      end if;
    elsif form <> 'string' then
      perform postrider.refuse(name, format('%s is a JSON %s: give a string', name, form), 'Leave it out to take all.');
    elsif name in ('since', 'until') and not postrider.is_time(value #>> '{}') then
      perform postrider.refuse(name, format('%s is not a time: %s', name, left(value #>> '{}', 40)), 'Give ISO 8601 with its zone, such as 2026-01-31T08:30:00Z.');
    end if;
  end loop;

  foreach word in array coalesce(postrider.words_of(filter -> 'sink'), '{}') loop
    if not exists (select from postrider.sinks as s where s.name = word) then
      perform postrider.refuse('sink', format('there is no sink %s', left(word, 130)), postrider.known_sinks(), true);
    end if;
  end loop;
  foreach word in array coalesce(postrider.words_of(filter -> 'type'), '{}') loop
    if not postrider.are_type_filters(array[word]) then
      perform postrider.refuse('type', format('%s is not a filter on types', left(word, 128)), 'Segments joined by dots, where * is any one, and ** at the end one or more of the rest.');
    end if;
  end loop;

  states := postrider.words_of(filter -> 'state');
  foreach word in array coalesce(states, '{}') loop
    if word not in ('scheduled', 'retrying', 'blocked', 'dead') then
      perform postrider.refuse('state', format('%s is not a state of a delivery', left(word, 40)), 'The states are scheduled, retrying, blocked, dead.');
    elsif kind = 'retry' and word <> 'dead' then
      perform postrider.refuse('state', format('a retry is for dead letters: what is %s goes out by itself', word), 'Leave out the state, or say dead.');
    elsif kind = 'skip' and word = 'dead' then
      perform postrider.refuse('state', 'skip is for what still waits: a dead letter does not', 'Discard gives up dead letters.');
    end if;
  end loop;
  if filter ? 'fingerprint' and (kind = 'skip' or not 'dead' = any(coalesce(states, '{dead}'))) then
    perform postrider.refuse('fingerprint', 'only dead letters have a fingerprint, and this is not about them', 'Choose by error_code instead.');
  end if;
  if (filter ->> 'since')::timestamptz >= (filter ->> 'until')::timestamptz then
    perform postrider.refuse('until', 'until is not after since: no event is between', 'since is the earlier one.');
  end if;

  if jsonb_array_length(filter -> 'ids') > 10000 then
    perform postrider.refuse('ids', format('there are %s ids: give at most 10000', jsonb_array_length(filter -> 'ids')), 'Choose by something that they have in common.');
  end if;
  foreach word in array coalesce(postrider.words_of(filter -> 'ids'), '{}') loop
    if word !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
      perform postrider.refuse('ids', format('%s is not the id of an event, which is a UUID', left(word, 64)), 'For example 0192b0f0-0000-7000-8000-000000000001.');
    elsif not exists (select from postrider.events as e where e.id = word::uuid) then
      perform postrider.refuse('ids', format('there is no event %s in the log', word), 'Its transaction is still open or was rolled back, or retention has removed it.', true);
    end if;
  end loop;
end
$$;

create function postrider.known_sinks() returns text
  language sql stable
  return (
    select coalesce('The sinks are ' || string_agg(known.name, ', ' order by known.name) || case when count(*) = 20 then ', …' else '' end || '.', 'There are no sinks yet: a relay brings its own.')
    from (select s.name from postrider.sinks as s order by s.name limit 20) as known);

-- The states that an operation is about.
create function postrider.states_of(kind text, filter jsonb) returns text[]
  language sql immutable
  return coalesce(postrider.words_of(filter -> 'state'), case kind when 'skip' then array['scheduled', 'retrying', 'blocked'] else array['dead'] end);

-- A filter as conditions on deliveries d. They stand in the statement as literals, so that each filter gets the plan that
-- suits it.
create function postrider.delivery_conditions(filter jsonb, states text[]) returns text
  language sql stable
  return concat_ws(' and ',
    format('d.state in (%s)', (select string_agg(quote_literal(word), ', ') from unnest(states) as word)),
    case when delivery_conditions.filter ? 'sink' then format('d.sink in (%s)', coalesce((
      select string_agg(quote_literal(s.name), ', ' order by s.name) from postrider.sinks as s
      where (s.name = any(postrider.words_of(delivery_conditions.filter -> 'sink')) or s.family = any(postrider.words_of(delivery_conditions.filter -> 'sink'))) and not s.fans_out), 'null')) end,
    case when delivery_conditions.filter ? 'key' then format('d.key = %L', delivery_conditions.filter ->> 'key') end,
    case when delivery_conditions.filter ? 'min_attempts' then format('d.attempts >= %s', (delivery_conditions.filter ->> 'min_attempts')::int) end,
    case when delivery_conditions.filter ? 'error_code' then format('d.error_code = %L', delivery_conditions.filter ->> 'error_code') end,
    case when delivery_conditions.filter ? 'fingerprint' then format('d.fingerprint = %L', delivery_conditions.filter ->> 'fingerprint') end,
    case when delivery_conditions.filter ? 'ids' then format('d.event_id = any(%L::uuid[])', postrider.words_of(delivery_conditions.filter -> 'ids')) end);

-- What only the event e tells; null when the filter says nothing about it.
create function postrider.event_conditions(filter jsonb) returns text
  language sql immutable
  return nullif(concat_ws(' and ',
    case when filter ? 'type' then format('e.type ~ %L', postrider.type_filter(postrider.words_of(filter -> 'type'))) end,
    case when filter ? 'tenant' then format('e.tenant = %L', filter ->> 'tenant') end,
    case when filter ? 'since' then format('e.created_at >= %L::timestamptz', filter ->> 'since') end,
    case when filter ? 'until' then format('e.created_at < %L::timestamptz', filter ->> 'until') end), '');

-- A page of deliveries in the order of sinks and positions, or backwards, from one on. Those that match but for what the
-- event says are there too, so that a page is never a long search.
create function postrider.find_deliveries(
  filter jsonb, states text[], at_most int, from_sink text default null, from_position bigint default null,
  backwards boolean default false, frozen_at timestamptz default 'infinity', up_to bigint default 9223372036854775807
) returns table (sink text, lane smallint, "position" bigint, matches boolean)
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  about_event constant text := postrider.event_conditions(filter);
  direction constant text := case when backwards then 'desc' else 'asc' end;
begin
  return query execute format(
    'select f.sink, f.lane, f.position, %1$s
     from (
       select d.sink, d.lane, d.position, d.slot from postrider.deliveries as d
       where %2$s and d.since <= $1 and d.position <= $2 %3$s
       order by d.sink %4$s, d.position %4$s limit $3
     ) as f %5$s
     order by f.sink %4$s, f.position %4$s',
    case when about_event is null then 'true' else 'coalesce(' || about_event || ', false)' end,
    postrider.delivery_conditions(filter, states),
    case when from_sink is not null then format('and (d.sink, d.position) %s (%L, %L::bigint)', case when backwards then '<' else '>' end, from_sink, from_position) end,
    direction,
    case when about_event is not null then 'left join postrider.events as e on e.position = f.position and e.slot = f.slot' end)
  using frozen_at, up_to, at_most;
end
$$;

-- A page of the log in the order of positions, with those that match the filter marked; of a sink: those that it takes.
create function postrider.find_events(filter jsonb, sink postrider.sinks, at_most int, after_position bigint, up_to bigint)
  returns table ("position" bigint, matches boolean)
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
  return query execute format(
    'select e.position, coalesce(%s, false)
     from (
       select e.* from postrider.events as e
       where e.position > $1 and e.position <= $2 %s
       order by e.position limit $3
     ) as e
     order by e.position',
    concat_ws(' and ', 'true', postrider.event_conditions(filter),
      case when filter ? 'key' then format('e.key = %L', filter ->> 'key') end,
      case when sink.filter is not null then format('e.type ~ %L', sink.filter) end,
      case when sink.tenant is not null then format('e.tenant = %L', sink.tenant) end),
    case when filter ? 'ids' then format('and e.id = any(%L::uuid[])', postrider.words_of(filter -> 'ids')) end)
  using after_position, up_to, at_most;
end
$$;

-- Between which positions a replay works: above the first, up to the second. Positions and times are drawn together, but
-- not at once: hence the margin.
create function postrider.bounds_of(filter jsonb, out above bigint, out up_to bigint)
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  margin constant interval := '10 seconds';
  newest constant bigint := coalesce((select max(e.position) from postrider.events as e), 0);
begin
  above := 0;
  up_to := newest;
  if filter ? 'since' then
    above := coalesce(postrider.position_at((filter ->> 'since')::timestamptz - margin) - 1, newest);
    -- What is kept of segments that were emptied lies before all that a time can be looked up in.
    if not exists (select from postrider.events as e where e.slot >= 0 and e.position <= above) then
      above := 0;
    end if;
  end if;
  if filter ? 'until' then
    up_to := coalesce(postrider.position_at((filter ->> 'until')::timestamptz + margin) - 1, newest);
  end if;
end
$$;

-- Counts what an operation is about, for a quarter of a second at most; counted_all tells whether that was enough.
create function postrider.count_matching(kind text, filter jsonb, sink text default null, out counted bigint, out counted_all boolean)
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  page_size constant int := 10000;
  until constant timestamptz := clock_timestamp() + interval '250 milliseconds';
  states constant text[] := postrider.states_of(kind, filter);
  target postrider.sinks;
  reached_sink text;
  reached bigint;
  up_to bigint;
  examined int;
  matching int;
begin
  counted := 0;
  counted_all := true;
  if kind = 'replay' then
    select * into target from postrider.sinks as s where s.name = count_matching.sink;
    select b.above, b.up_to into reached, up_to from postrider.bounds_of(filter) as b;
  end if;
  loop
    if kind = 'replay' then
      select count(*), count(*) filter (where f.matches), coalesce(max(f.position), reached) into examined, matching, reached
      from postrider.find_events(filter, target, page_size, reached, up_to) as f;
    else
      select count(*), count(*) filter (where f.matches),
        (array_agg(f.sink order by f.sink desc, f.position desc))[1], (array_agg(f.position order by f.sink desc, f.position desc))[1]
      into examined, matching, reached_sink, reached
      from postrider.find_deliveries(filter, states, page_size, reached_sink, reached) as f;
    end if;
    counted := counted + matching;
    exit when examined < page_size;
    if clock_timestamp() > until then
      counted_all := false;
      exit;
    end if;
  end loop;
end
$$;

-- Raises PR004 when this cannot be done. Answers what it is about, so that nothing is counted twice.
create function postrider.check_operation(kind text, filter jsonb, sink text, out counted bigint, out counted_all boolean)
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  target postrider.sinks;
begin
  if kind is null or kind not in ('retry', 'discard', 'skip', 'replay') then
    perform postrider.refuse('kind', format('there is no operation %s', coalesce(kind, 'null')), 'The operations are retry, discard, skip, replay.');
  end if;
  perform postrider.check_filter(filter, kind);
  if kind in ('discard', 'skip') and filter = '{}' then
    perform postrider.refuse(null, format('an empty filter would give up everything that is %s', case kind when 'discard' then 'dead' else 'waiting' end),
      format('If that is what you mean, say {"state": %s}.', to_jsonb(case kind when 'discard' then array['dead'] else postrider.states_of(kind, filter) end)));
  end if;
  if kind <> 'replay' then
    if sink is not null then
      perform postrider.refuse('sink', 'only a replay goes to a sink', 'To choose by sink, say so in the filter.');
    end if;
  else
    select * into target from postrider.sinks as s where s.name = check_operation.sink;
    if not found then
      perform postrider.refuse('sink', case when sink is null then 'a replay needs the sink that the events go to' else format('there is no sink %s', left(sink, 130)) end, postrider.known_sinks(), sink is not null);
    elsif target.fans_out then
      perform postrider.refuse('sink', format('sink %s has endpoints: a replay goes to one of them', sink), postrider.known_sinks());
    end if;
  end if;

  select c.counted, c.counted_all into counted, counted_all from postrider.count_matching(kind, filter, sink) as c;
  if kind = 'replay' and counted = 0 and counted_all and (target.filter is not null or target.tenant is not null) then
    target.filter := null;
    target.tenant := null;
    if exists (select from postrider.bounds_of(filter) as b cross join lateral postrider.find_events(filter, target, 100000, b.above, b.up_to) as f where f.matches) then
      select * into target from postrider.sinks as s where s.name = check_operation.sink;
      perform postrider.refuse('sink', format('sink %s takes none of these events: it takes %s', sink,
          concat_ws(' ', 'types ' || array_to_string(target.types, ', '), 'of tenant ' || target.tenant)),
        'A replay sends what the sink would have got. Choose another sink, or widen what this one takes first.');
    end if;
  end if;
end
$$;

-- What an operation would do: how many it is about, and a sample of them. Changes nothing.
create function postrider.preview_operation(kind text, filter jsonb, sink text default null)
  returns table (counted bigint, counted_all boolean, sample jsonb)
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  target postrider.sinks;
begin
  select c.counted, c.counted_all into counted, counted_all from postrider.check_operation(kind, filter, sink) as c;
  if kind = 'replay' then
    select * into target from postrider.sinks as s where s.name = preview_operation.sink;
    select coalesce(jsonb_agg(to_jsonb(one) order by one.position), '[]') into sample
    from (
      select target.name as sink, e.id as event_id, e.type, e.key, e.position, e.created_at
      from postrider.bounds_of(filter) as b
      cross join lateral postrider.find_events(filter, target, 10000, b.above, b.up_to) as f
      join postrider.events as e on e.position = f.position
      where f.matches order by f.position limit 5
    ) as one;
  else
    select coalesce(jsonb_agg(to_jsonb(one) order by one.sink, one.position), '[]') into sample
    from (
      select d.sink, d.event_id, e.type, d.key, d.position, e.created_at, d.state, d.attempts, d.error_code, d.error
      from postrider.find_deliveries(filter, postrider.states_of(kind, filter), 10000) as f
      join postrider.deliveries as d on d.sink = f.sink and d.position = f.position
      left join postrider.events as e on e.position = d.position and e.slot = d.slot
      where f.matches order by f.sink, f.position limit 5
    ) as one;
  end if;
  return next;
end
$$;

-- Creates an operation on all that matches now. Relays begin with it at once.
create function postrider.start_operation(
  kind text, filter jsonb, reason text default null, sink text default null, rate real default null, as_new boolean default false,
  actor text default current_user
) returns postrider.operations
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  about record;
  bounds record;
  created postrider.operations;
begin
  select * into about from postrider.check_operation(kind, filter, sink);
  if kind in ('discard', 'skip') and coalesce(trim(reason), '') = '' then
    perform postrider.refuse('reason', format('a %s needs a reason', kind), 'It is kept in the audit trail of every event that is given up.');
  end if;
  if rate <= 0 or rate = 'NaN' then
    perform postrider.refuse('rate', format('the rate is %s: give a number above 0', rate), 'It is events in a second.');
  end if;
  if as_new and kind <> 'replay' then
    perform postrider.refuse('as_new', 'only a replay can give events a new id', 'Leave as_new out.');
  end if;

  select * into bounds from postrider.bounds_of(case kind when 'replay' then filter else '{}' end);
  insert into postrider.operations (kind, filter, sink, as_new, rate, actor, reason, up_to_position, total, counted_all, reached_position)
  values (start_operation.kind, start_operation.filter, start_operation.sink, start_operation.as_new, nullif(start_operation.rate, 'infinity'),
    start_operation.actor, start_operation.reason, bounds.up_to, about.counted, about.counted_all, case start_operation.kind when 'replay' then bounds.above end)
  returning * into created;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (start_operation.actor, 'started', start_operation.sink, start_operation.reason,
    jsonb_strip_nulls(jsonb_build_object('operation', created.id, 'kind', created.kind, 'filter', created.filter, 'rate', created.rate, 'as_new', nullif(created.as_new, false))));
  notify postrider, 'operations';
  return created;
end
$$;

-- Ends an operation: what is done stays done, what is not stays as it is. Returns it, or null when there is none;
-- one that has ended already stays as it ended.
create function postrider.cancel_operation(id bigint, actor text default current_user, reason text default null) returns postrider.operations
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  op postrider.operations;
begin
  update postrider.operations as o set state = 'cancelled', waiting = false, finished_at = clock_timestamp()
  where o.id = cancel_operation.id and o.state in ('pending', 'running')
  returning * into op;
  if found then
    insert into postrider.actions (actor, action, sink, reason, detail)
    values (cancel_operation.actor, 'cancelled', op.sink, cancel_operation.reason, jsonb_build_object('operation', op.id, 'kind', op.kind, 'done', op.done));
    notify postrider, 'operations';
  else
    select * into op from postrider.operations as o where o.id = cancel_operation.id;
  end if;
  return op;
end
$$;

-- Ends an operation that cannot go on, with the reason.
create function postrider.fail_operation(id bigint, error text) returns void
  language sql volatile
  begin atomic
    update postrider.operations as o
    set state = 'failed', waiting = false, error = fail_operation.error, finished_at = clock_timestamp()
    where o.id = fail_operation.id and o.state in ('pending', 'running');
  end;

-- How many events of a replay are not delivered yet; stops counting at 10,001.
create function postrider.under_way(operation_id bigint) returns bigint
  language sql stable
  return (select count(*) from (select from postrider.deliveries as d where d.operation_id = under_way.operation_id limit 10001) as bounded);

-- The id that an event goes out with in a replay that gives new ones: the same at every attempt. A UUID version 8 (RFC 9562).
create function postrider.replay_id(operation_id bigint, event_id uuid) returns uuid
  language sql immutable strict parallel safe
  return (
    select encode(set_byte(set_byte(hash, 6, get_byte(hash, 6) & 15 | 128), 8, get_byte(hash, 8) & 63 | 128), 'hex')::uuid
    from (select substring(sha256(convert_to(operation_id::text || ':' || event_id::text, 'UTF8')) from 1 for 16) as hash) as hashed);

-- Takes the locks that guard what is in the way of keys, in one order for all.
create function postrider.lock_lanes(sinks text[], lanes smallint[]) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  one record;
begin
  for one in select distinct l.sink, l.lane from unnest(sinks, lanes) as l (sink, lane) order by l.sink, l.lane loop
    perform postrider.lock_trouble(one.sink, one.lane);
  end loop;
end
$$;

-- One piece of a retry, discard or skip. A retry goes by position, so that of each key the earlier event is due first.
-- What gives up goes backwards: while the head of a key stands, nothing behind it is let go that would be given up next.
create function postrider.advance_deliveries(op postrider.operations, budget int) returns postrider.operations
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  gives_up constant boolean := op.kind <> 'retry';
  -- What matches but for its event is looked at in larger pages.
  page_size constant int := case when postrider.event_conditions(op.filter) is null then budget else greatest(budget, 5000) end;
  states constant text[] := postrider.states_of(op.kind, op.filter);
  found_sinks text[];
  found_lanes smallint[];
  found_positions bigint[];
  examined int;
  last_sink text;
  last_position bigint;
  trail constant jsonb := jsonb_strip_nulls(jsonb_build_object('actor', op.actor, 'reason', op.reason, 'operation', op.id));
  keys record;
  freed_sinks text[];
  freed_keys text[];
  changed int;
begin
  select array_agg(f.sink order by f.nr) filter (where f.matches), array_agg(f.lane order by f.nr) filter (where f.matches),
    array_agg(f.position order by f.nr) filter (where f.matches),
    count(*), (array_agg(f.sink order by f.nr desc))[1], (array_agg(f.position order by f.nr desc))[1]
  into found_sinks, found_lanes, found_positions, examined, last_sink, last_position
  from (
    select d.*, row_number() over () as nr
    from postrider.find_deliveries(op.filter, states, page_size, op.reached_sink, op.reached_position, gives_up, op.frozen_at, op.up_to_position) as d
  ) as f;
  if cardinality(found_positions) > budget then
    found_sinks := found_sinks[1:budget];
    found_lanes := found_lanes[1:budget];
    found_positions := found_positions[1:budget];
    last_sink := found_sinks[budget];
    last_position := found_positions[budget];
    examined := page_size; -- there is more
  end if;

  if found_positions is not null then
    perform postrider.lock_lanes(found_sinks, found_lanes);
    if gives_up then
      with gone as (
        delete from postrider.deliveries as d using unnest(found_sinks, found_positions) as f (sink, "position")
        where d.sink = f.sink and d.position = f.position and d.state = any(states) and d.since <= op.frozen_at
        returning d.*
      ), audit as (
        insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
        select g.sink, g.position, g.slot, g.event_id, g.attempts, 'discarded', clock_timestamp(), 0, trail from gone as g
      )
      select count(*), array_agg(g.sink), array_agg(g.key) into changed, freed_sinks, freed_keys from gone as g;
      for keys in
        select k.sink, array_agg(distinct k.key) as freed from unnest(freed_sinks, freed_keys) as k (sink, key)
        where k.key is not null group by k.sink
      loop
        perform postrider.release_heads(keys.sink, keys.freed);
      end loop;
    else
      with again as (
        update postrider.deliveries as d
        set state = 'retrying', parked = false, forgiven = d.attempts, first_tried_at = null,
          available_at = statement_timestamp() + f.nr * interval '1 microsecond', since = clock_timestamp()
        from unnest(found_sinks, found_positions) with ordinality as f (sink, "position", nr)
        where d.sink = f.sink and d.position = f.position and d.state = 'dead' and d.since <= op.frozen_at
        returning d.*
      )
      insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
      select a.sink, a.position, a.slot, a.event_id, a.attempts, 'retried', clock_timestamp(), 0, trail from again as a;
      get diagnostics changed = row_count;
    end if;
    if changed > 0 then
      notify postrider, 'due';
    end if;
    op.done := op.done + changed;
    op.skipped := op.skipped + cardinality(found_positions) - changed;
  end if;

  op.reached_sink := coalesce(last_sink, op.reached_sink);
  op.reached_position := coalesce(last_position, op.reached_position);
  if examined < page_size then
    op.state := 'done';
  end if;
  return op;
end
$$;

-- One piece of a replay. Of its own events at most 10,000 are in deliveries: then it waits. An event that the cursor of its
-- lane has not passed is on its way already.
create function postrider.advance_replay(op postrider.operations, budget int) returns postrider.operations
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  page_size constant int := greatest(budget, 5000);
  room constant bigint := 10000 - postrider.under_way(op.id);
  may constant int := least(budget, room);
  target postrider.sinks;
  found_positions bigint[];
  examined int;
  last_position bigint;
  lanes smallint[];
  changed int;
begin
  select * into target from postrider.sinks as s where s.name = op.sink;
  if not found then
    perform postrider.refuse('sink', format('sink %s is no longer there', op.sink), 'Start the replay again for another one.', true);
  end if;
  op.waiting := room < least(budget, 500);
  if op.waiting then
    return op;
  end if;

  select array_agg(f.position order by f.position) filter (where f.matches), count(*), max(f.position)
  into found_positions, examined, last_position
  from postrider.find_events(op.filter, target, page_size, op.reached_position, op.up_to_position) as f;
  if cardinality(found_positions) > may then
    found_positions := found_positions[1:may];
    last_position := found_positions[may];
    examined := page_size; -- there is more
  end if;

  if found_positions is not null then
    select array_agg(distinct postrider.lane_of(e.bucket, target.lanes)) into lanes
    from postrider.events as e where e.position = any(found_positions);
    perform postrider.lock_lanes(array_fill(target.name, array[cardinality(lanes)]), lanes);
    with cursors as materialized (
      select * from postrider.cursors as c where c.sink = target.name
    ), again as (
      insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, attempts, forgiven, available_at, operation_id)
      select target.name, c.lane, e.position, e.slot, e.id, e.key, 'retrying', coalesce(before.attempts, 0), coalesce(before.attempts, 0),
        statement_timestamp() + f.nr * interval '1 microsecond', op.id
      from unnest(found_positions) with ordinality as f ("position", nr)
      join postrider.events as e on e.position = f.position
      join cursors as c on c.lane = postrider.lane_of(e.bucket, target.lanes)
      left join lateral (
        select max(a.attempt) as attempts from postrider.attempts as a where a.position = e.position and a.slot = e.slot and a.sink = target.name
      ) as before on true
      where postrider.has_passed(e.xid, e.position, c.done, c.target, c.position, c.anchor)
      order by f.nr
      on conflict (sink, position) do nothing
      returning *
    )
    insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
    select a.sink, a.position, a.slot, a.event_id, a.attempts, 'retried', clock_timestamp(), 0,
      jsonb_strip_nulls(jsonb_build_object('actor', op.actor, 'reason', op.reason, 'operation', op.id))
    from again as a;
    get diagnostics changed = row_count;
    if changed > 0 then
      notify postrider, 'due';
    end if;
    op.done := op.done + changed;
    op.skipped := op.skipped + cardinality(found_positions) - changed;
  end if;

  op.reached_position := coalesce(last_position, op.reached_position);
  if examined < page_size then
    op.state := 'done';
  end if;
  return op;
end
$$;

-- Does the next piece of an operation, of `budget` events at most, with its progress in the same transaction. Returns the
-- operation as it is then, unchanged while its rate or its own events make it wait; null when it has ended, or somebody
-- else is at it. What goes wrong ends the operation, but for what may be tried again (a lock, the connection): that is raised.
create function postrider.advance_operation(id bigint, budget int default 500) returns postrider.operations
  language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as
$$
declare
  now constant timestamptz := clock_timestamp();
  was postrider.operations;
  op postrider.operations;
  may int := greatest(budget, 1);
  sqlstate_of_error text;
begin
  select * into was from postrider.operations as o
  where o.id = advance_operation.id and o.state in ('pending', 'running')
  for update skip locked;
  if not found then
    return null;
  end if;
  op := was;
  if op.rate is not null then
    -- A bucket of one second, so that a pause is not made up for.
    op.tokens := least(greatest(op.rate, 1), op.tokens + op.rate * coalesce(extract(epoch from now - op.advanced_at)::float8, 0));
    may := least(may, floor(op.tokens)::int);
    if may < 1 then
      return was;
    end if;
  end if;

  op.state := 'running';
  op.started_at := coalesce(op.started_at, now);
  op.advanced_at := now;
  begin
    op := case op.kind when 'replay' then postrider.advance_replay(op, may) else postrider.advance_deliveries(op, may) end;
  exception when others then
    get stacked diagnostics sqlstate_of_error = returned_sqlstate;
    if left(sqlstate_of_error, 2) in ('08', '25', '40', '53', '55', '57', '58') then
      raise;
    end if;
    op.state := 'failed';
    op.error := sqlerrm;
  end;
  if op.waiting and was.waiting then
    return was; -- nothing to write down
  end if;
  op.tokens := op.tokens - (op.done + op.skipped - was.done - was.skipped);
  if op.state <> 'running' then
    op.waiting := false;
    op.finished_at := clock_timestamp();
  end if;
  update postrider.operations as o
  set state = op.state, done = op.done, skipped = op.skipped, reached_sink = op.reached_sink, reached_position = op.reached_position,
    waiting = op.waiting, tokens = op.tokens, error = op.error, started_at = op.started_at, advanced_at = op.advanced_at, finished_at = op.finished_at
  where o.id = op.id;
  return op;
end
$$;

-- The same by name, for a session of psql.
create function postrider.retry_matching(filter jsonb, reason text default null, rate real default null, actor text default current_user)
  returns postrider.operations
  language sql volatile
  return postrider.start_operation('retry', filter, reason, null, rate, false, actor);

create function postrider.discard_matching(filter jsonb, reason text, rate real default null, actor text default current_user)
  returns postrider.operations
  language sql volatile
  return postrider.start_operation('discard', filter, reason, null, rate, false, actor);

create function postrider.skip_matching(filter jsonb, reason text, rate real default null, actor text default current_user)
  returns postrider.operations
  language sql volatile
  return postrider.start_operation('skip', filter, reason, null, rate, false, actor);

create function postrider.replay(
  filter jsonb, sink text, reason text default null, rate real default null, as_new boolean default false, actor text default current_user
) returns postrider.operations
  language sql volatile
  return postrider.start_operation('replay', filter, reason, sink, rate, as_new, actor);

-- A delivery with its whole event and all its attempts, as one line of JSON, for a file. Numbers are as exact as in the log.
create function postrider.letter_of(sink text, "position" bigint) returns text
  language sql stable
  return (
    select jsonb_build_object(
      'sink', d.sink,
      'delivery', jsonb_strip_nulls(jsonb_build_object(
        'state', d.state, 'attempts', d.attempts, 'forgiven', d.forgiven, 'error_code', d.error_code, 'error', d.error, 'status', d.status,
        'since', d.since, 'first_tried_at', d.first_tried_at, 'fingerprint', d.fingerprint)),
      'event', jsonb_strip_nulls(jsonb_build_object(
        'id', e.id, 'position', e.position, 'type', e.type, 'key', e.key, 'source', e.source, 'subject', e.subject, 'tenant', e.tenant,
        'time', e.time, 'deliver_at', e.deliver_at, 'expires_at', e.expires_at, 'created_at', e.created_at, 'bucket', e.bucket,
        'content_type', e.content_type, 'headers', e.headers, 'payload_base64', translate(encode(e.payload_bytes, 'base64'), E'\n', '')))
        || case when e.payload is null then '{}' else jsonb_build_object('payload', e.payload) end,
      'attempts', (
        select coalesce(jsonb_agg(
          jsonb_strip_nulls(jsonb_build_object(
            'attempt', a.attempt, 'outcome', a.outcome, 'error_code', a.error_code, 'error', a.error, 'status', a.status,
            'started_at', a.started_at, 'duration_ms', a.duration_ms, 'relay', a.relay))
          || case when a.detail is null then '{}' else jsonb_build_object('detail', a.detail) end
          order by a.started_at, a.attempt), '[]')
        from postrider.attempts as a where a.position = d.position and a.slot = d.slot and a.sink = d.sink)
    )::text
    from postrider.deliveries as d
    join postrider.events as e on e.position = d.position and e.slot = d.slot
    where d.sink = letter_of.sink and d.position = letter_of.position);

-- Puts letters that were exported back as dead ones, each given as the JSON text of one line. An event that is still in the
-- log is not written again; another is kept beside the ring, in the slot -1, where no retention empties it while somebody
-- needs it. Its transaction id 0 is below those of every cursor, so that no lane takes it for news, not even one that
-- begins at the beginning: it goes nowhere but where an operator sends it. It is dead from now on, and counts as one that
-- later events of its key may pass. Returns how many letters are there anew; those that wait at their sink already stay as they are.
-- All or none: a line that is wrong is refused with PR001 and DETAIL {"index": line from 0, "path": "event.id"}.
create function postrider.import_letters(lines text[], first_line int default 1) returns int
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  at_line int;
  letter jsonb;
  event jsonb;
  delivery jsonb;
  path text;
  fault text[];
  target postrider.sinks;
  stored record;
  imported int := 0;
begin
  for nr in 1 .. coalesce(cardinality(lines), 0) loop
    at_line := nr;
    path := null;
    letter := lines[nr]::jsonb;
    event := letter -> 'event';
    delivery := letter -> 'delivery';
    if jsonb_typeof(event) is distinct from 'object' or jsonb_typeof(delivery) is distinct from 'object' then
      perform postrider.refuse(null, 'it is not a dead letter: give lines as they were exported', null);
    end if;
    path := 'sink';
    select * into target from postrider.sinks as s where s.name = letter ->> 'sink' and not s.fans_out;
    if not found then
      perform postrider.refuse(null, format('there is no sink %s', coalesce(left(letter ->> 'sink', 130), 'null')), null);
    end if;
    path := 'event';
    fault := postrider.fault_of(event - array['created_at', 'bucket', 'position']);
    if fault is not null then
      path := concat_ws('.', 'event', fault[2]);
      perform postrider.refuse(null, fault[4], null);
    end if;
    path := 'event.id';
    select e.position, e.slot, e.id, e.key, e.bucket into stored from postrider.events as e
    where e.id = (event ->> 'id')::uuid order by e.position = (event ->> 'position')::bigint desc, e.position limit 1;
    if not found then
      if event ->> 'id' is null then
        perform postrider.refuse(null, 'the event has no id', null);
      end if;
      path := 'event.bucket';
      if (event ->> 'bucket')::numeric not between 0 and 255 then
        perform postrider.refuse(null, 'the bucket is not 0 to 255', null);
      end if;
      path := 'event.created_at';
      insert into postrider.events as written
        (xid, slot, id, bucket, created_at, type, key, source, subject, tenant, time, deliver_at, expires_at, content_type, headers, payload, payload_bytes)
      values (
        '0', -1, (event ->> 'id')::uuid,
        coalesce(postrider.bucket_of(event ->> 'key'), (event ->> 'bucket')::smallint, floor(random() * 256)::smallint),
        (event ->> 'created_at')::timestamptz, event ->> 'type', event ->> 'key', coalesce(event ->> 'source', ''),
        event ->> 'subject', event ->> 'tenant', (event ->> 'time')::timestamptz, (event ->> 'deliver_at')::timestamptz,
        (event ->> 'expires_at')::timestamptz, coalesce(event ->> 'content_type', 'application/json'),
        coalesce(event -> 'headers', '{}'), event -> 'payload', decode(event ->> 'payload_base64', 'base64'))
      returning written.position, written.slot, written.id, written.key, written.bucket into stored;
      path := 'attempts';
      insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, error_code, error, status, started_at, duration_ms, relay, detail)
      select target.name, stored.position, stored.slot, stored.id, a.attempt, a.outcome, a.error_code, a.error, a.status, a.started_at, a.duration_ms, a.relay, a.detail
      from jsonb_to_recordset(coalesce(letter -> 'attempts', '[]'))
        as a (attempt int, outcome text, error_code text, error text, status int, started_at timestamptz, duration_ms real, relay uuid, detail jsonb);
    end if;
    path := 'delivery';
    insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, parked, attempts, forgiven, error_code, error, status, since, first_tried_at)
    values (
      target.name, postrider.lane_of(stored.bucket, target.lanes), stored.position, stored.slot, stored.id, stored.key, 'dead', true,
      coalesce((delivery ->> 'attempts')::int, 0), coalesce((delivery ->> 'forgiven')::int, 0), delivery ->> 'error_code', delivery ->> 'error',
      (delivery ->> 'status')::int, clock_timestamp(), (delivery ->> 'first_tried_at')::timestamptz)
    on conflict (sink, position) do nothing;
    if found then
      imported := imported + 1;
    end if;
  end loop;
  return imported;
exception when data_exception or integrity_constraint_violation or sqlstate 'PR004' then
  raise exception using
    errcode = 'PR001',
    message = format('line %s: %s', first_line + at_line - 1, sqlerrm),
    detail = jsonb_strip_nulls(jsonb_build_object('index', first_line + at_line - 2, 'path', path)),
    hint = 'Nothing was imported. Mend the line, or leave it out.';
end
$$;
