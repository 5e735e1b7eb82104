-- Who follows the log, and how far each has come.

create table postrider.sinks (
  name       text        primary key constraint sinks_name check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  kind       text        not null,
  state      text        not null default 'active' constraint sinks_state check (state in ('active', 'paused')),
  lanes      smallint    not null constraint sinks_lanes check (lanes between 1 and 64),
  types      text[],
  ordering   text        not null default 'key' constraint sinks_ordering check (ordering in ('key', 'none')),
  on_dead    text        not null default 'block' constraint sinks_on_dead check (on_dead in ('block', 'skip')),
  audit      text        not null default 'all' constraint sinks_audit check (audit in ('all', 'failures', 'none')),
  created_at timestamptz not null default clock_timestamp()
);
comment on table postrider.sinks is 'Named destinations, each with its own progress. Written by relays from their configuration when they start.';
comment on column postrider.sinks.types is 'Filter on event types (segments, * for one, ** for the rest); null takes all.';
comment on column postrider.sinks.on_dead is 'What a dead head does to later events of its key: block them, or let them pass.';

-- A filter as one regular expression; the relay and every view use this and nothing else.
create function postrider.type_filter(types text[]) returns text
  language sql immutable parallel safe
  return (
    select '^(' || string_agg(
      replace(replace(replace(replace(filter, '.', '\.'), '**', '§'), '*', '[^.]+'), '§', '.+'), '|') || ')$'
    from unnest(types) as filter);

-- Who carries what. Touched at claims and renewals, never for a page.
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

-- Relays that live; a relay deletes its row when it stops.
create table postrider.relays (
  id         uuid        primary key,
  name       text        not null,
  version    text        not null,
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
begin
  insert into postrider.sinks as s (name, kind, lanes, types, ordering, on_dead, audit)
  values (sink, put_sink.kind, put_sink.lanes, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit)
  on conflict (name) do nothing
  returning * into stored;
  if found then
    insert into postrider.lanes (sink, lane) select put_sink.sink, nr from generate_series(0, put_sink.lanes - 1) as nr;
    insert into postrider.checkpoints (sink, lane, fence, done)
    select put_sink.sink, nr, 1, case starts when 'beginning' then '1:1:' else pg_current_snapshot() end
    from generate_series(0, put_sink.lanes - 1) as nr;
  else
    update postrider.sinks as s
    set kind = put_sink.kind, types = put_sink.types, ordering = put_sink.ordering, on_dead = put_sink.on_dead, audit = put_sink.audit
    where s.name = put_sink.sink
      and (s.kind, s.types, s.ordering, s.on_dead, s.audit)
          is distinct from (put_sink.kind, put_sink.types, put_sink.ordering, put_sink.on_dead, put_sink.audit);
    select * into strict stored from postrider.sinks as s where s.name = put_sink.sink;
  end if;
  return stored;
end
$$;
