-- A database that was restored. Cursors are snapshots, and events carry the ids of their transactions; in another cluster
-- neither means anything. So this is done once there: what the cursors had not passed becomes rows of deliveries, a position
-- (the anchor) marks off all that was restored, and the cursors begin anew. How a stored cursor relates to the stored events
-- can still be computed: pg_visible_in_snapshot compares numbers and asks nobody.

-- True in a copy that a logical restore has made, and in another cluster.
create function postrider.is_moved() returns boolean
  language sql stable
  return (
    select m.system_identifier <> (select c.system_identifier from pg_control_system() as c) or not (m.table_id = m.tableoid and m.xid::xid = m.xmin)
    from postrider.meta as m);

-- The id of the transaction that wrote a row, from its system column xmin, which holds the lower half.
create function postrider.full_xid(xmin xid) returns xid8
  language sql volatile
  return (
    select (newest.id - ((newest.id - xmin::text::bigint) & 4294967295))::text::xid8
    from (select greatest(pg_current_xact_id(), pg_snapshot_xmax(pg_current_snapshot()))::text::bigint as id) as newest);

-- What the cursor of a sink has not passed, up to a position, becomes rows of deliveries, and its lanes read only what is
-- above. Returns how many rows.
create function postrider.set_aside(sink text, up_to bigint) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as
$$
declare
  added bigint;
begin
  perform postrider.lock_trouble(l.sink, l.lane)
  from (select * from postrider.lanes as l where l.sink = set_aside.sink order by l.lane) as l;
  added := postrider.put_aside(sink, array(
    select e.position
    from (
      select k.*, ((k.lane * 256 + k.lanes - 1) / k.lanes)::smallint as first_bucket, (((k.lane + 1) * 256 + k.lanes - 1) / k.lanes - 1)::smallint as last_bucket
      from postrider.cursors as k where k.sink = set_aside.sink
    ) as c
    cross join lateral (
      -- As look_ahead, but for the one bound that holds in its own cluster only. (+ 0: these are found by xid.)
      (select l.* from postrider.events as l
       where l.xid >= pg_snapshot_xmax(c.seen)
         and l.position + 0 between c.anchor + 1 and up_to and l.bucket between c.first_bucket and c.last_bucket)
      union all
      (select l.* from postrider.events as l
       where l.xid = any(array(select pg_snapshot_xip(c.seen)))
         and l.position + 0 between c.anchor + 1 and up_to and l.bucket between c.first_bucket and c.last_bucket)
      union all
      (select l.* from postrider.events as l
       where c.target is not null and l.position between greatest(c.position, c.anchor) + 1 and up_to and l.bucket between c.first_bucket and c.last_bucket
         and pg_visible_in_snapshot(l.xid, c.target) and not pg_visible_in_snapshot(l.xid, c.done))
    ) as e
    where (c.filter is null or e.type ~ c.filter) and (c.tenant is null or e.tenant = c.tenant)
      and postrider.cutover_of(c.sink, e.type, e.xid) is null));
  update postrider.lanes as l set anchor = greatest(l.anchor, up_to) where l.sink = set_aside.sink;
  return added;
end
$$;

-- Deliveries whose events were not restored cannot be made: they are dead letters from now on. Returns how many.
create function postrider.bury_missing(sink postrider.sinks) returns bigint
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  buried bigint;
  keys text[];
begin
  with missing as (
    update postrider.deliveries as d
    set state = 'dead', parked = sink.on_dead <> 'block', since = clock_timestamp(), error_code = 'event_missing', status = null,
      error = 'the event is not in the log: its segment was not restored'
    where d.sink = bury_missing.sink.name and d.state <> 'dead'
      and not exists (select from postrider.events as e where e.position = d.position and e.slot = d.slot)
    returning d.key, d.parked
  )
  select count(*), array_agg(distinct m.key) filter (where m.parked and m.key is not null) into buried, keys from missing as m;
  if keys is not null then
    perform postrider.release_heads(sink.name, keys);
  end if;
  return buried;
end
$$;

-- Makes a restored database one that relays can carry from. The first relay that starts on it does this; in one that was
-- not moved it does nothing and returns null, so it may be asked at any time, by many at once. Returns the record that it
-- leaves in actions. Producers may write meanwhile.
create function postrider.anchor_cursors(actor text default current_user) returns jsonb
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  here constant bigint := (select c.system_identifier from pg_control_system() as c);
  events_positions constant regclass := pg_get_serial_sequence('postrider.events', 'position');
  lock_timeout constant text := current_setting('lock_timeout');
  was record;
  restored_by xid8; -- restored rows are from this transaction or those before, what is written here is from later ones
  up_to bigint;
  misplaced record;
  moved bigint := 0;
  target postrider.sinks;
  rows_added bigint := 0;
  missing bigint := 0;
  entry jsonb;
begin
  -- Whoever comes second waits for the first, and then finds nothing to do.
  select m.system_identifier, m.xid, m.table_id, m.xmin, m.tableoid into strict was from postrider.meta as m for update;
  if not postrider.is_moved() then
    return null;
  end if;
  -- A restore ends with its foreign keys.
  if not exists (select from pg_constraint as c where c.conrelid = 'postrider.lanes'::regclass and c.contype = 'f') then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'the restore of this database has not ended: its foreign keys are not there',
      hint = 'Wait for its end, and ask again.';
  end if;
  restored_by := postrider.full_xid(was.xmin);

  if was.table_id = was.tableoid and was.xid = restored_by then
    -- Nothing was copied row by row: this cluster goes on where the other was (pg_upgrade), with its transaction ids.
    entry := jsonb_build_object('from', was.system_identifier::text, 'to', here::text, 'continued', true);
    update postrider.meta set system_identifier = here, xid = pg_current_xact_id();
    insert into postrider.actions (actor, action, detail) values (anchor_cursors.actor, 'anchored', entry);
    return entry;
  end if;

  up_to := greatest(
    0,
    -- Of what was restored. Transactions that have written here already (after the restore, so with later ids) are read as
    -- usual; imported letters, with the id 0, are not read at all.
    (select e.position from postrider.events as e
     where e.xid > '0' and not (e.xid > restored_by and e.xid <= postrider.full_xid(e.xmin)) order by e.position desc limit 1),
    -- Of what refers to events that may not have been restored: their positions must not be given out a second time.
    (select max(d.position) from postrider.deliveries as d),
    (select max(a.position) from postrider.attempts as a),
    (select max(l.anchor) from postrider.lanes as l),
    (select max(k.position) from postrider.checkpoints as k));

  -- The sequence may have been left behind (logical replication does not carry it). What was written here with positions that
  -- are taken gets others, in the same order; nobody has read it yet.
  if nextval(events_positions) <= up_to
     or exists (
       select from postrider.events as e
       where e.xid > restored_by and e.xid < pg_snapshot_xmax(pg_current_snapshot()) and e.position <= up_to and e.xid <= postrider.full_xid(e.xmin)) then
    set local lock_timeout = '2s';
    lock table postrider.events in share row exclusive mode;
    perform set_config('lock_timeout', lock_timeout, true);
    perform setval(events_positions, greatest(up_to, nextval(events_positions)));
    for misplaced in
      select e.tableoid, e.ctid from postrider.events as e
      where e.xid > restored_by and e.xid < pg_snapshot_xmax(pg_current_snapshot()) and e.position <= up_to and e.xid <= postrider.full_xid(e.xmin)
      order by e.position
    loop
      update postrider.events as e set position = default where e.tableoid = misplaced.tableoid and e.ctid = misplaced.ctid;
      moved := moved + 1;
    end loop;
  end if;

  for target in select * from postrider.sinks as s where not s.fans_out order by s.name loop
    missing := missing + postrider.bury_missing(target);
    rows_added := rows_added + postrider.set_aside(target.name, up_to);
  end loop;
  -- Done is what was restored; everything written since has a later transaction id, and a position above the anchor.
  insert into postrider.checkpoints (sink, lane, fence, done, position, horizon)
  select c.sink, c.lane, c.fence + 1, format('%1$s:%1$s:', restored_by::text::bigint + 1)::pg_snapshot, up_to, (restored_by::text::bigint + 1)::text::xid8
  from postrider.cursors as c;
  -- Everything of those that have ended lies below the anchor; all that is still to come belongs to the others.
  delete from postrider.cutovers where until is not null;
  update postrider.cutovers set after = format('%1$s:%1$s:', restored_by::text::bigint + 1)::pg_snapshot;
  update postrider.lanes set relay = null, leased_until = '-infinity' where relay is not null;
  delete from postrider.relays;
  update postrider.sinks set origin_to = up_to where origin_to is null;
  update postrider.meta as m
  set system_identifier = here, xid = pg_current_xact_id(), table_id = m.tableoid, restored_position = up_to;

  entry := jsonb_build_object(
    'from', was.system_identifier::text, 'to', here::text, 'position', up_to, 'set_aside', rows_added, 'missing', missing, 'moved', moved);
  insert into postrider.actions (actor, action, detail) values (anchor_cursors.actor, 'anchored', entry);
  return entry;
end
$$;
