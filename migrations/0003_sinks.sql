-- Who follows the log, and how far each has come.

-- Filters on event types: segments joined by dots, where * is any one segment, and ** at the end one or more of the rest.
create function postrider.are_type_filters(types text[]) returns boolean
  language sql immutable strict
  return cardinality(types) > 0 and not exists (
    select from unnest(types) as one (filter)
    where filter is null or filter !~ '^(\*\*|([A-Za-z0-9_]+|\*)(\.([A-Za-z0-9_]+|\*))*(\.\*\*)?)$');

-- The filters as one regular expression; null takes all. The relay and every view use this and nothing else. An endpoint gets
-- the notices about endpoints only when a filter names them, so there a wildcard in front does not stand for their first
-- segment. (In brackets, because the name of the schema is put in wherever it stands whole.)
create function postrider.type_filter(types text[], of_endpoint boolean default false) returns text
  language sql immutable
  return case
    when types is null and of_endpoint then '^(?!p[o]strider\.)'
    else (
      select '^(' || string_agg(
        case when of_endpoint and filter like '*%' then '(?!p[o]strider\.)' else '' end
        || replace(replace(replace(filter, '.', '\.'), '*', '[^.]+'), '[^.]+[^.]+', '.+'), '|') || ')$'
      from unnest(types) as one (filter))
  end;

create table postrider.sinks (
  name         text        primary key constraint sinks_name check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}(/[a-z0-9][a-z0-9_-]{0,62})?$'),
  kind         text        not null,
  state        text        not null default 'active'
    constraint sinks_state check (state in ('pending', 'active', 'paused', 'disabled', 'gone')),
  state_since  timestamptz not null default clock_timestamp(),
  state_until  timestamptz,
  state_by     text,
  state_reason text,
  lanes        smallint    not null constraint sinks_lanes check (lanes between 1 and 64),
  types        text[]      constraint sinks_types check (postrider.are_type_filters(types)),
  filter       text        generated always as (postrider.type_filter(types, family is not null)) stored,
  tenant       text,
  ordering     text        not null default 'key' constraint sinks_ordering check (ordering in ('key', 'none')),
  on_dead      text        not null default 'block' constraint sinks_on_dead check (on_dead in ('block', 'park', 'skip')),
  audit        text        not null default 'all' constraint sinks_audit check (audit in ('all', 'failures', 'none')),
  concurrency  int         not null default 32 constraint sinks_concurrency check (concurrency between 1 and 10000),
  rate         real        constraint sinks_rate check (rate > 0),
  live_concurrency int     constraint sinks_live_concurrency check (live_concurrency between 1 and 10000),
  live_rate    real        constraint sinks_live_rate check (live_rate > 0),
  family       text        references postrider.sinks on delete cascade,
  fans_out     boolean     not null default false,
  origin       pg_snapshot not null default '1:1:',
  origin_from  bigint      not null default 0,
  origin_to    bigint,
  created_at   timestamptz not null default clock_timestamp(),
  changed_at   timestamptz not null default clock_timestamp(),
  constraint sinks_until check (state = 'paused' or state_until is null),
  constraint sinks_family check ((family is null) = (name !~ '/'))
);
comment on table postrider.sinks is 'Named destinations, each with its own progress. Written by relays from their configuration when they start; an endpoint of a sink that fans out has a row of its own, and is a sink in every respect.';
comment on column postrider.sinks.state is 'Only an active sink is carried; the cursor of any other stands still. degraded is an active one whose circuit is open.';
comment on column postrider.sinks.state_until is 'A pause ends by itself at this time.';
comment on column postrider.sinks.types is 'Filters on event types (segments, * for one, ** at the end for the rest); null takes all.';
comment on column postrider.sinks.filter is 'The filters as one regular expression.';
comment on column postrider.sinks.tenant is 'Only events of this tenant; null takes all.';
comment on column postrider.sinks.on_dead is 'What becomes of an event that cannot be delivered: block makes later events of its key wait, park lets them pass, skip gives it up.';
comment on column postrider.sinks.concurrency is 'Deliveries in flight at most, over all relays, as configured; live_concurrency, set by an operator, outweighs it.';
comment on column postrider.sinks.rate is 'Deliveries begun in a second at most, over all relays, as configured; null is no limit. live_rate, set by an operator, outweighs it; infinity lifts it.';
comment on column postrider.sinks.family is 'For an endpoint: the sink that it belongs to.';
comment on column postrider.sinks.fans_out is 'It has endpoints, which carry its events; itself it has no lanes.';
comment on column postrider.sinks.origin is 'Events visible in this snapshot were written before the sink began, and are not for it.';
comment on column postrider.sinks.origin_from is 'So were those at or below this position: they had been restored from elsewhere by then.';
comment on column postrider.sinks.origin_to is 'Events above this position were written after the sink began, whatever origin says: it was restored from elsewhere with them. Null: never.';
create index sinks_family on postrider.sinks (family) where family is not null;

create table postrider.lanes (
  sink         text        not null references postrider.sinks on delete cascade,
  lane         smallint    not null,
  relay        uuid,
  leased_until timestamptz not null default '-infinity',
  anchor       bigint      not null default 0,
  careful      int         not null default 0,
  suspect      bigint,
  strikes      smallint    not null default 0,
  at_risk      boolean     not null default false,
  doubt_until  bigint,
  primary key (sink, lane)
) with (fillfactor = 50);
comment on table postrider.lanes is 'A lane is an ordered share of a sink''s stream: the unit that relays claim. Leases run by the clock of the database.';
comment on column postrider.lanes.anchor is 'Events at or below this position are not read from the log by this lane.';
comment on column postrider.lanes.careful is 'Events carried at once, since a relay died with the lane in hand; 0 when all is well.';
comment on column postrider.lanes.suspect is 'The event that is carried alone, because relays have died here; with strikes, how many did so while they carried just this.';
comment on column postrider.lanes.doubt_until is 'Events up to here may have been sent by the relay that gave the lane back, which could not wait for their ends.';
comment on column postrider.lanes.at_risk is 'The suspect is in flight: whoever dies now seems to die of it.';

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
  seen_at    timestamptz not null default clock_timestamp(),
  saw        pg_snapshot not null default pg_current_snapshot()
) with (fillfactor = 50);
comment on column postrider.relays.saw is 'What was visible to its last beat: it knows of the changes in there.';

-- What people did to the running system: who, what, why.
create table postrider.actions (
  id     bigint      generated always as identity primary key,
  at     timestamptz not null default clock_timestamp(),
  actor  text        not null,
  action text        not null,
  sink   text,
  reason text,
  detail jsonb       not null default '{}'
);
comment on table postrider.actions is 'What operators did (paused, resumed, limited, released …), and what relays decided for them (disabled, gone).';

-- The snapshot of this statement, in which this very transaction is one that has not committed. (PostgreSQL leaves it out of the
-- list of those, so that it would count as committed as soon as a later one is.)
create function postrider.snapshot_without_own() returns pg_snapshot
  language sql volatile
  return (
    select case when own.xid is null or own.xid >= pg_snapshot_xmax(seen) then seen else format('%s:%s:%s',
        least(own.xid, pg_snapshot_xmin(seen)), pg_snapshot_xmax(seen),
        (select string_agg(x.xid::text, ',' order by x.xid) from (select pg_snapshot_xip(seen) union select own.xid) as x (xid)))::pg_snapshot end
    from (select pg_current_snapshot() as seen) as s, (select pg_current_xact_id_if_assigned() as xid) as own);

-- Where a stream begins: `beginning` is the first event of the log, `now` the transactions that are not yet finished.
-- To be asked before anything is written, and in this order: what was visible before the snapshot is visible in it, and a
-- transaction id that is drawn after it is above all that had begun.
create type postrider.start as (origin pg_snapshot, "position" bigint, had_begun boolean);

create function postrider.start_of(starts text) returns postrider.start
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  newest constant bigint := (select max(e.position) from postrider.events as e);
  had_begun constant boolean := pg_current_xact_id_if_assigned() is not null;
begin
  if starts is null or starts not in ('beginning', 'now') then
    raise exception using errcode = 'invalid_parameter_value', message = format('starts is %L: give beginning or now', starts);
  end if;
  if postrider.is_moved() then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'this database was restored from elsewhere, and its cursors have not been anchored yet',
      hint = 'Start a relay first, or select postrider.anchor_cursors().';
  end if;
  if starts = 'beginning' then
    return row('1:1:'::pg_snapshot, 0::bigint, false);
  end if;
  return row(postrider.snapshot_without_own(), coalesce(newest, 0::bigint), had_begun);
end
$$;

-- Lanes and cursors of a sink that begins. Of events that were restored from elsewhere no cursor can tell whether it has
-- passed them: a sink that wants them gets a row of deliveries for each.
create function postrider.begin_sink(sink postrider.sinks, start postrider.start) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  from_beginning constant boolean := start.origin::text = '1:1:';
  horizon constant xid8 := case when from_beginning then '1' when not start.had_begun then pg_current_xact_id() end;
  restored constant bigint := (select m.restored_position from postrider.meta as m);
begin
  insert into postrider.lanes (sink, lane, anchor)
  select sink.name, nr, case when from_beginning then 0 else restored end from generate_series(0, sink.lanes - 1) as nr;
  insert into postrider.checkpoints (sink, lane, fence, done, position, horizon)
  select sink.name, nr,
    -- One of the same name may have been here before.
    coalesce((select max(k.fence) from postrider.checkpoints as k where k.sink = begin_sink.sink.name and k.lane = nr), 0) + 1,
    start.origin, greatest(start.position, restored), horizon
  from generate_series(0, sink.lanes - 1) as nr;
  if restored > 0 and from_beginning then
    perform postrider.set_aside(sink.name, restored);
  elsif restored > 0 then
    update postrider.sinks as s set origin_from = restored where s.name = begin_sink.sink.name;
  end if;
end
$$;

-- Whether an event was written before a sink began.
create function postrider.is_before(sink postrider.sinks, xid xid8, "position" bigint) returns boolean
  language sql immutable
  return "position" <= sink.origin_from
    or ("position" <= coalesce(sink.origin_to, "position") and pg_visible_in_snapshot(xid, sink.origin));

-- Adds a sink, or brings its settings up to date; lanes and cursors of a known sink stay as they are. The endpoints of a
-- sink that fans out follow its settings.
create function postrider.put_sink(
  sink text, kind text, lanes smallint, types text[], ordering text, on_dead text, audit text, starts text default 'now',
  concurrency int default 32, rate real default null, fans_out boolean default false
) returns postrider.sinks
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  start constant postrider.start := postrider.start_of(starts);
  stored postrider.sinks;
  was postrider.sinks;
begin
  insert into postrider.sinks (name, kind, lanes, types, ordering, on_dead, audit, concurrency, rate, fans_out, origin)
  values (sink, put_sink.kind, put_sink.lanes, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit,
    put_sink.concurrency, put_sink.rate, put_sink.fans_out, start.origin)
  on conflict (name) do nothing
  returning * into stored;
  if found then
    if not fans_out then
      perform postrider.begin_sink(stored, start);
    end if;
    return stored;
  end if;

  select * into strict was from postrider.sinks as s where s.name = put_sink.sink;
  if was.fans_out <> put_sink.fans_out then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('sink %s %s', sink, case when was.fans_out then 'has endpoints: it cannot become a single destination' else 'is a single destination: it cannot have endpoints' end),
      hint = 'Give the new one another name.';
  end if;
  if (was.kind, was.types, was.ordering, was.on_dead, was.audit, was.concurrency, was.rate)
     is not distinct from (put_sink.kind, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit, put_sink.concurrency, put_sink.rate) then
    return was;
  end if;
  for stored in
    update postrider.sinks as s
    set kind = put_sink.kind, ordering = put_sink.ordering, on_dead = put_sink.on_dead, audit = put_sink.audit,
      concurrency = put_sink.concurrency, rate = put_sink.rate, changed_at = clock_timestamp(),
      -- An endpoint has filters of its own.
      types = case when s.name = put_sink.sink then put_sink.types else s.types end
    where s.name = put_sink.sink or s.family = put_sink.sink
    returning *
  loop
    if (was.ordering, was.on_dead) is distinct from (stored.ordering, stored.on_dead) then
      perform postrider.release_needless(stored);
    end if;
  end loop;
  select * into strict stored from postrider.sinks as s where s.name = put_sink.sink;
  return stored;
end
$$;
