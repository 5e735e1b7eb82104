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

-- A viewer reads everything, also the payloads; but where endpoints send, and their secrets, only as endpoint_status shows them.
grant select on all tables in schema postrider to postrider_viewer;
revoke select on postrider.endpoints from postrider_viewer;
grant execute on function
  postrider.lane_of(smallint, smallint),
  postrider.has_passed(xid8, bigint, pg_snapshot, pg_snapshot, bigint, bigint),
  postrider.is_before(postrider.sinks, xid8, bigint),
  postrider.look_ahead(text, bigint, smallint),
  postrider.position_at(timestamptz),
  postrider.cutover_of(text, text, xid8), postrider.filters_overlap(text, text),
  postrider.origin_of(text),
  postrider.why_still(postrider.sinks, postrider.circuits),
  postrider.who_carries(postrider.cursors, text, postrider.sinks, bigint),
  postrider.explain(uuid),
  postrider.segment_state(int), postrider.lanes_behind(int, bigint, bigint), postrider.current_slot(), postrider.is_moved(),
  postrider.under_way(bigint),
  postrider.letter_of(text, bigint)
  to postrider_viewer;
-- It may also ask what an operation would do.
grant execute on function
  postrider.preview_operation(text, jsonb, text), postrider.check_operation(text, jsonb, text), postrider.count_matching(text, jsonb, text),
  postrider.check_filter(jsonb, text), postrider.refuse(text, text, text, boolean), postrider.known_sinks(), postrider.is_time(text),
  postrider.words_of(jsonb), postrider.states_of(text, jsonb), postrider.are_type_filters(text[]), postrider.type_filter(text[], boolean),
  postrider.delivery_conditions(jsonb, text[]), postrider.event_conditions(jsonb), postrider.bounds_of(jsonb),
  postrider.find_deliveries(jsonb, text[], int, text, bigint, boolean, timestamptz, bigint),
  postrider.find_events(jsonb, postrider.sinks, int, bigint, bigint)
  to postrider_viewer;

-- A relay reads everything and writes its own progress; it can't write an event but through emit.
grant select on all tables in schema postrider to postrider_relay;
grant execute on all functions in schema postrider to postrider_relay;
grant insert, update on postrider.sinks, postrider.lanes, postrider.relays, postrider.deliveries, postrider.circuits, postrider.operations to postrider_relay;
grant delete on postrider.relays, postrider.deliveries, postrider.checkpoints to postrider_relay;
grant insert on postrider.checkpoints, postrider.attempts, postrider.appends, postrider.actions to postrider_relay;
grant insert, update on postrider.endpoints, postrider.chores, postrider.cutovers to postrider_relay;
grant insert on postrider.verifications to postrider_relay;
