-- Optional: least-privilege roles. `postrider migrate up --roles` applies this file; it may run any number of times.
-- Grant them to your own login roles: `grant postrider_writer to orders_service`.

do $$ begin
  if not exists (select from pg_roles where rolname = 'postrider_writer') then create role postrider_writer nologin; end if;
  if not exists (select from pg_roles where rolname = 'postrider_relay') then create role postrider_relay nologin; end if;
  if not exists (select from pg_roles where rolname = 'postrider_viewer') then create role postrider_viewer nologin; end if;
end $$;

-- A writer can emit, and nothing else.
grant usage on schema postrider to postrider_writer, postrider_relay, postrider_viewer;
grant execute on function postrider.emit(jsonb) to postrider_writer, postrider_relay;

-- A relay reads the log and writes its own progress; it can't write an event but through emit.
grant select on all tables in schema postrider to postrider_relay, postrider_viewer;
grant insert, update on postrider.sinks, postrider.lanes, postrider.relays, postrider.deliveries to postrider_relay;
grant delete on postrider.relays, postrider.deliveries, postrider.checkpoints to postrider_relay;
grant insert on postrider.lanes, postrider.checkpoints, postrider.attempts to postrider_relay;
