-- Graduation: consumers of a sink move over to a destination that keeps a log of its own, and back. The sink that leads there
-- has carried the same events all the while (it is a sink as any other); what is kept here is which events of the first sink
-- are no longer its own.

create table postrider.cutovers (
  id             bigint      generated always as identity primary key,
  sink           text        not null references postrider.sinks on delete cascade,
  types          text[]      not null constraint cutovers_types check (postrider.are_type_filters(types)),
  filter         text        generated always as (postrider.type_filter(types)) stored,
  to_sink        text        not null references postrider.sinks on delete cascade,
  consumer       text        not null,
  state          text        not null default 'switching' constraint cutovers_state check (state in ('switching', 'switched', 'rolled_back', 'finished')),
  after          pg_snapshot not null,
  after_position bigint      not null,
  until          pg_snapshot,
  until_position bigint,
  begun_at       timestamptz not null default clock_timestamp(),
  begun_by       xid8        not null default pg_current_xact_id(),
  switched_at    timestamptz,
  ended_at       timestamptz,
  offsets        jsonb,
  constraint cutovers_until check ((state = 'rolled_back') = (until is not null))
);
comment on table postrider.cutovers is 'Event types of a sink whose consumer reads them elsewhere: what is not visible in `after`, and visible in `until` if it has ended, is not carried to the sink any more.';
comment on column postrider.cutovers.consumer is 'The group that reads there.';
comment on column postrider.cutovers.after_position is 'The newest event that was visible then; for people.';
comment on column postrider.cutovers.offsets is 'Where the consumer began to read: {topic: {partition: offset}}.';
create index cutovers_sink on postrider.cutovers (sink);

-- The cutover that has taken an event from a sink; null when it is the sink's own. What counts is in which snapshots its
-- transaction is visible: only a snapshot cuts a stream so that of every key an end is cut off.
create function postrider.cutover_of(sink text, type text, xid xid8) returns bigint
  language sql stable
  return (
    select c.id from postrider.cutovers as c
    where c.sink = cutover_of.sink and cutover_of.type ~ c.filter and not pg_visible_in_snapshot(cutover_of.xid, c.after)
      and (c.until is null or pg_visible_in_snapshot(cutover_of.xid, c.until))
    order by c.id desc limit 1);

create table postrider.verifications (
  id            bigint      generated always as identity primary key,
  at            timestamptz not null default clock_timestamp(),
  to_sink       text        not null references postrider.sinks on delete cascade,
  sink          text        references postrider.sinks on delete cascade,
  from_position bigint      not null,
  to_position   bigint      not null,
  from_time     timestamptz,
  to_time       timestamptz,
  events        bigint      not null,
  equal         boolean     not null,
  result        jsonb       not null,
  actor         text        not null default current_user
);
comment on table postrider.verifications is 'What comparisons of the log with a destination came to: `equal` when nothing is missing, added, altered or out of order. Of positions from_position (included) to to_position (not included).';
create index verifications_of on postrider.verifications (to_sink, sink, id);

-- Makes rows of deliveries of events that a cursor will not carry: of each key the first is due and the others wait behind it,
-- and that one for a head that is there already. What has a row is left alone. The lanes of the sink must be locked
-- (lock_trouble). Returns how many rows were added.
create function postrider.put_aside(sink text, positions bigint[]) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as
$$
declare
  now constant timestamptz := clock_timestamp();
  by_key constant boolean := (select s.ordering = 'key' from postrider.sinks as s where s.name = put_aside.sink);
  lane_count constant smallint := (select s.lanes from postrider.sinks as s where s.name = put_aside.sink);
  added bigint;
  unheaded text[]; -- keys that waited for nothing
begin
  with undone as (
    select postrider.lane_of(e.bucket, lane_count) as lane, e.position, e.slot, e.id, e.key, e.deliver_at
    from unnest(positions) as wanted (position)
    cross join lateral (select * from postrider.events as e where e.position = wanted.position limit 1) as e
  ), placed as (
    select u.*, u.in_order and row_number() over (partition by u.in_order, u.key order by u.position) = 1 as first_of_key
    from (
      select u.*, coalesce(u.deliver_at > now, false) as later, by_key and u.key is not null and not coalesce(u.deliver_at > now, false) as in_order
      from undone as u
    ) as u
    -- What has a row was handled before the cursor could pass it.
    where not exists (select from postrider.deliveries as d where d.sink = put_aside.sink and d.position = u.position)
  ), judged as materialized (
    select p.*,
      case when p.first_of_key then exists (
        select from postrider.deliveries as d
        where d.sink = put_aside.sink and d.key = p.key and d.state in ('retrying', 'dead') and not d.parked
          and d.position < p.position) end as headed,
      case when p.first_of_key then exists (
        select from postrider.deliveries as d
        where d.sink = put_aside.sink and d.key = p.key and d.state = 'blocked' and d.position < p.position) end as waited_for
    from placed as p
  ), added as (
    insert into postrider.deliveries (sink, lane, position, slot, event_id, key, state, available_at)
    select put_aside.sink, j.lane, j.position, j.slot, j.id, j.key,
      case when j.later then 'scheduled' when not j.in_order or (j.first_of_key and not (j.headed or j.waited_for)) then 'retrying' else 'blocked' end,
      greatest(j.deliver_at, clock_timestamp())
    from judged as j
    order by j.position
    returning key
  )
  select (select count(*) from added), array(select j.key from judged as j where j.waited_for and not j.headed) into added, unheaded;
  perform postrider.release_heads(sink, unheaded);
  return added;
end
$$;
