-- Who follows the log, and how far each has come.

-- Filters on event types: segments joined by dots, where * is any one segment, and ** at the end one or more of the rest.
create function postrider.are_type_filters(types text[]) returns boolean
  language sql immutable strict
  return cardinality(types) > 0 and not exists (
    select from unnest(types) as one (filter)
    where filter is null or filter !~ '^(\*\*|([A-Za-z0-9_]+|\*)(\.([A-Za-z0-9_]+|\*))*(\.\*\*)?)$');

-- The filters as one regular expression; null takes all. The relay and every view use this and nothing else.
create function postrider.type_filter(types text[]) returns text
  language sql immutable
  return (
    select '^(' || string_agg(replace(replace(replace(filter, '.', '\.'), '*', '[^.]+'), '[^.]+[^.]+', '.+'), '|') || ')$'
    from unnest(types) as one (filter));

create table postrider.sinks (
  name       text        primary key constraint sinks_name check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  kind       text        not null,
  state      text        not null default 'active' constraint sinks_state check (state in ('active', 'paused')),
  lanes      smallint    not null constraint sinks_lanes check (lanes between 1 and 64),
  types      text[]      constraint sinks_types check (postrider.are_type_filters(types)),
  filter     text        generated always as (postrider.type_filter(types)) stored,
  ordering   text        not null default 'key' constraint sinks_ordering check (ordering in ('key', 'none')),
  on_dead    text        not null default 'block' constraint sinks_on_dead check (on_dead in ('block', 'skip')),
  audit      text        not null default 'all' constraint sinks_audit check (audit in ('all', 'failures', 'none')),
  origin     pg_snapshot not null default '1:1:',
  created_at timestamptz not null default clock_timestamp()
);
comment on table postrider.sinks is 'Named destinations, each with its own progress. Written by relays from their configuration when they start.';
comment on column postrider.sinks.types is 'Filters on event types (segments, * for one, ** at the end for the rest); null takes all.';
comment on column postrider.sinks.filter is 'The filters as one regular expression.';
comment on column postrider.sinks.on_dead is 'What a dead head does to later events of its key: block them, or let them pass.';
comment on column postrider.sinks.origin is 'Events visible in this snapshot were written before the sink began, and are not for it.';

create table postrider.lanes (
  sink         text        not null references postrider.sinks on delete cascade,
  lane         smallint    not null,
  relay        uuid,
  leased_until timestamptz not null default '-infinity',
  anchor       bigint      not null default 0,
  primary key (sink, lane)
) with (fillfactor = 50);
comment on table postrider.lanes is 'A lane is an ordered share of a sink''s stream: the unit that relays claim. Leases run by the clock of the database.';
comment on column postrider.lanes.anchor is 'Events at or below this position are not read from the log by this lane.';

-- A journal: the newest row of a lane is its cursor. Its primary key is the fence: a relay that has lost its lane
-- collides here, and its whole settle rolls back.
create table postrider.checkpoints (
  sink     text        not null,
  lane     smallint    not null,
  fence    bigint      not null,
  done     pg_snapshot not null,
  target   pg_snapshot,
  position bigint      not null default 0,
  horizon  xid8,
  relay    uuid,
  at       timestamptz not null default clock_timestamp(),
  primary key (sink, lane, fence)
);
comment on table postrider.checkpoints is 'Journal of cursors: the row with the highest fence counts, older ones are pruned.';
comment on column postrider.checkpoints.done is 'Every event visible in this snapshot is finished: delivered, filtered out, or a row of deliveries.';
comment on column postrider.checkpoints.target is 'An open window: events visible in target and not in done, up to position, are finished too.';
comment on column postrider.checkpoints.position is 'With a window open, how far it is finished; else a position that was visible in done.';
comment on column postrider.checkpoints.horizon is 'Drawn after done was taken: a transaction from here on had not begun then, so its positions are above position.';

-- Relays that live, and the sinks they have: those share the lanes of a sink. A relay deletes its row when it stops.
create table postrider.relays (
  id         uuid        primary key,
  name       text        not null,
  version    text        not null,
  sinks      text[]      not null default '{}',
  started_at timestamptz not null default clock_timestamp(),
  seen_at    timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- Adds a sink, or brings its settings up to date; lanes and cursors of a known sink stay as they are.
-- `beginning` reads the log from its first event, `now` from the transactions that are not yet finished.
create function postrider.put_sink(
  sink text, kind text, lanes smallint, types text[], ordering text, on_dead text, audit text, starts text default 'now'
) returns postrider.sinks
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  stored postrider.sinks;
  was postrider.sinks;
  -- In this order: what was visible before the snapshot is visible in it, and a transaction id that is drawn after it
  -- is above all that had begun.
  newest constant bigint := (select max(e.position) from postrider.events as e);
  had_begun constant boolean := pg_current_xact_id_if_assigned() is not null;
  origin constant pg_snapshot := case starts when 'beginning' then '1:1:' when 'now' then pg_current_snapshot() end;
begin
  if origin is null then
    raise exception using errcode = 'invalid_parameter_value', message = format('starts is %L: give beginning or now', starts);
  end if;
  insert into postrider.sinks (name, kind, lanes, types, ordering, on_dead, audit, origin)
  values (sink, put_sink.kind, put_sink.lanes, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit, origin)
  on conflict (name) do nothing
  returning * into stored;
  if found then
    insert into postrider.lanes (sink, lane) select put_sink.sink, nr from generate_series(0, put_sink.lanes - 1) as nr;
    insert into postrider.checkpoints (sink, lane, fence, done, position, horizon)
    select put_sink.sink, nr, 1, origin,
      case starts when 'now' then coalesce(newest, 0) else 0 end,
      case when starts = 'beginning' then '1' when not had_begun then pg_current_xact_id() end
    from generate_series(0, put_sink.lanes - 1) as nr;
    return stored;
  end if;

  select * into strict was from postrider.sinks as s where s.name = put_sink.sink;
  if (was.kind, was.types, was.ordering, was.on_dead, was.audit)
     is not distinct from (put_sink.kind, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit) then
    return was;
  end if;
  update postrider.sinks as s
  set kind = put_sink.kind, types = put_sink.types, ordering = put_sink.ordering, on_dead = put_sink.on_dead, audit = put_sink.audit
  where s.name = put_sink.sink
  returning * into strict stored;

  if (was.ordering, was.on_dead) is distinct from (stored.ordering, stored.on_dead) then
    perform postrider.release_needless(stored);
  end if;
  return stored;
end
$$;
