-- Optional: least-privilege roles. `postrider migrate up --roles` applies this file; it may run any number of times.
-- Grant them to your own login roles: `grant postrider_writer to orders_service`. Operators are given the relay's role.

do $$
declare
  role text;
begin
  foreach role in array array['postrider_writer', 'postrider_relay', 'postrider_viewer'] loop
    if not exists (select from pg_roles where rolname = role) then
      begin
        execute format('create role %I nologin', role);
      exception when duplicate_object or unique_violation then
        null; -- roles belong to the whole cluster: another database was quicker
      end;
    end if;
  end loop;
end $$;

grant usage on schema postrider to postrider_writer, postrider_relay, postrider_viewer;

-- A writer can emit, and nothing else.
grant execute on function postrider.emit(jsonb) to postrider_writer;

-- A viewer reads everything, also the payloads.
grant select on all tables in schema postrider to postrider_viewer;
grant execute on function
  postrider.lane_of(smallint, smallint),
  postrider.has_passed(xid8, bigint, pg_snapshot, pg_snapshot, bigint, bigint),
  postrider.look_ahead(text, bigint),
  postrider.explain(uuid)
  to postrider_viewer;

-- A relay reads everything and writes its own progress; it can't write an event but through emit.
grant select on all tables in schema postrider to postrider_relay;
grant execute on all functions in schema postrider to postrider_relay;
grant insert, update on postrider.sinks, postrider.lanes, postrider.relays, postrider.deliveries to postrider_relay;
grant delete on postrider.relays, postrider.deliveries, postrider.checkpoints to postrider_relay;
grant insert on postrider.checkpoints, postrider.attempts to postrider_relay;
